"""A command that a bug, or a crash, makes impossible to process costs itself and nothing else."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from yarl import URL

from deploy.local import Services
from tests.chaos.proxy import Proxy
from tests.harness import Installation, Worker, eventually, installation
from tests.messages import Published
from tests.saboteur import POISON
from worker.errors import StoreUnavailable
from worker.store import Suspects, close, connect

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}

#: Workers that may die of one poisoned command, with some to spare.
MOST_DEATHS = 16


@pytest.fixture
async def narrow(services: Services) -> AsyncIterator[Installation]:
    """An installation with one partition, so that all calls are neighbours."""
    async with installation(services, partitions=1) as made:
        yield made


async def test_a_bug_in_decide_costs_one_command_a_500_and_a_dead_letter(
    narrow: Installation,
) -> None:
    """Its call and its neighbours go on, in order."""
    worker = await narrow.spawn(command=("-m", "tests.saboteur", "bug_in_decide"))
    await worker.joined()
    await narrow.subscribe()
    commands = [
        await narrow.command(call, name, **(CALL if name == "call" else {}))
        for name in ("call", "mute", "hold")
        for call in ("before", POISON, "behind")
    ]
    answers = {
        (event.request_id, event.headers["call_control"]): event.content["status"]
        for event in [await narrow.answer(command) for command in commands]
    }
    assert answers.pop((POISON, "mute")) == 500
    assert set(answers.values()) == {200}
    await narrow.until_dead(1)
    (letter,) = narrow.dead
    assert letter.headers["reason"] == "Internal Error: RuntimeError"
    assert (await narrow.ask(POISON, "retrieve")).sequence == 4
    assert len(narrow.dead) == 1
    assert not worker.logged("session lost")


async def dies(worker: Worker, calls: Installation, poison: Published) -> bool:
    """Wait until a worker dies, or answers the poison; tell which."""
    death = asyncio.ensure_future(worker.process.wait())
    await eventually(
        lambda: death.done() or bool(calls.answers(poison.message_id)), "it dies or answers"
    )
    died = death.done()
    death.cancel()
    return died


async def test_a_command_that_kills_its_workers_gets_a_500_and_takes_no_neighbour_along(
    narrow: Installation,
) -> None:
    """Workers die of it one after the other; those around it are delivered as often as it is."""
    (first,) = await narrow.start()
    await first.terminate()
    await narrow.subscribe()
    neighbours = [await narrow.command(f"before-{n}", "call", **CALL) for n in range(20)]
    poison = await narrow.command(POISON, "call", **CALL)
    neighbours += [await narrow.command(f"behind-{n}", "call", **CALL) for n in range(20)]

    for _ in range(MOST_DEATHS):
        saboteur = await narrow.spawn(command=("-m", "tests.saboteur", "die_of_poison"))
        if not await dies(saboteur, narrow, poison):
            break

    event = await narrow.answer(poison)
    assert event.content["status"] == 500
    assert event.content["reason"] == "Internal Error: WorkersCrashed"
    for command in neighbours:
        assert (await narrow.answer(command)).content["status"] == 200
    await narrow.until_dead(1)
    assert [letter.message_id for letter in narrow.dead] == [poison.message_id]
    assert await saboteur.metric("call_control_poisoned_commands_total") == 1
    (line,) = (x for x in saboteur.lines() if x["event"] == "workers crash on a command")
    assert (line["request_id"], line["message_id"]) == (POISON, poison.message_id)
    assert await narrow.redis.keys(f"{narrow.names.suspect_prefix}*") == []


async def test_a_worker_that_only_lost_redis_does_not_count_as_dead(empty: Installation) -> None:
    """It cannot take its note back while Redis is away, and does before it works again."""
    url = URL(empty.services.redis_url)
    proxy = Proxy(str(url.host), int(url.port or 6379))
    await proxy.start()
    redis = connect(str(url.with_host("127.0.0.1").with_port(proxy.port)))
    prefix = empty.names.suspect_prefix
    try:
        lives = Suspects(redis, prefix=prefix, worker="lives")
        await lives.begin(0)
        async with proxy.cut():
            with pytest.raises(StoreUnavailable):
                await lives.withdraw()
        await Suspects(empty.redis, prefix=prefix, worker="dies").begin(0)
        await lives.withdraw()
        assert await Suspects(empty.redis, prefix=prefix, worker="next").begin(0) == 1
    finally:
        await close(redis)
        await proxy.close()
