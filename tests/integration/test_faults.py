"""Single faults beyond restarts: a paused worker, a full subscriber, a spoilt call."""

import asyncio
import json
import os
import signal

import aio_pika

from tests.harness import Installation, Worker, eventually
from tests.saboteur import LAST_WORDS
from tests.scraping import shared

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}


async def until_paused(worker: Worker) -> None:
    """Wait until a worker is paused at a step."""
    await eventually(lambda: LAST_WORDS in worker.log.read_text(), "it is paused")


async def wake(worker: Worker) -> None:
    """Wake a paused worker, and wait until it notices that RabbitMQ has dropped it."""
    os.kill(worker.pid, signal.SIGCONT)
    await eventually(lambda: worker.logged("session lost"), "it notices that it was dropped")


async def test_a_paused_worker_is_succeeded_and_spoils_nothing_when_it_wakes(
    empty: Installation,
) -> None:
    """The broker drops it, another goes on, and what it still has in hand is not its any more."""
    # RabbitMQ closes a connection after two silent heartbeats; the default would take longer.
    empty.environment["CALL_CONTROL_AMQP_URL"] += "?heartbeat=2"
    workers = await empty.start(2)
    await empty.subscribe()
    first = [await empty.command(f"call-{n}", "call", **CALL) for n in range(50)]
    for command in first:
        await empty.answer(command)

    # One that has no partition would be missed by nobody, and would wake before it is dropped.
    shares = await shared(workers, empty.settings.partitions)
    paused = max(workers, key=lambda worker: shares[worker.name])
    os.kill(paused.pid, signal.SIGSTOP)
    second = [await empty.command(f"call-{n}", "hold") for n in range(50)]
    for command in second:
        await empty.answer(command)
    os.kill(paused.pid, signal.SIGCONT)
    third = [await empty.command(f"call-{n}", "retrieve") for n in range(50)]
    for command in third:
        event = await empty.answer(command)
        assert (event.content["status"], event.sequence) == (200, 3)
    await eventually(
        lambda: paused.logged("session lost"),
        f"it notices that it was dropped: {paused.log.read_text()[-3000:]}",
    )
    assert len({event.message_id for event in empty.events}) == 150


async def test_a_worker_that_wakes_with_a_call_in_hand_cannot_commit_it(
    empty: Installation,
) -> None:
    """Another has committed it meanwhile: its version has moved on."""
    empty.environment["CALL_CONTROL_AMQP_URL"] += "?heartbeat=2"
    (first,) = await empty.start()
    await empty.subscribe()
    await empty.ask("123XYZ", "call", **CALL)
    await first.terminate()
    # So this one has to load the call.
    zombie = await empty.spawn(command=("-m", "tests.saboteur", "paused_before_commit"))
    await zombie.joined()
    command = await empty.command("123XYZ", "hold")
    await until_paused(zombie)
    await empty.start()
    assert (await empty.answer(command)).sequence == 2

    await wake(zombie)
    assert await zombie.metric("call_control_commit_conflicts_total") == 1
    assert (await empty.ask("123XYZ", "retrieve")).sequence == 3
    assert len({event.message_id for event in empty.events}) == 3


async def test_a_worker_that_wakes_with_a_new_call_in_hand_does_not_begin_it_again(
    empty: Installation,
) -> None:
    """It has presumed that nobody knows the call, which was so when it was paused."""
    empty.environment["CALL_CONTROL_AMQP_URL"] += "?heartbeat=2"
    zombie = await empty.spawn(command=("-m", "tests.saboteur", "paused_before_commit"))
    await zombie.joined()
    await empty.subscribe()
    command = await empty.command("123XYZ", "call", **CALL)
    await until_paused(zombie)
    await empty.start()
    assert (await empty.answer(command)).sequence == 1

    await wake(zombie)
    assert (await empty.ask("123XYZ", "hold")).sequence == 2
    assert len({event.message_id for event in empty.events}) == 2


async def test_a_full_queue_that_refuses_events_holds_them_until_it_takes_them(
    calls: Installation,
) -> None:
    """Nothing is acknowledged that has not been published; the order is kept."""
    channel = await calls.connection.channel()
    full = await channel.declare_queue(
        exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
    )
    await full.bind(calls.names.events, "call_held.#")
    await calls.ask("123XYZ", "call", **CALL)
    await calls.ask("123XYZ", "hold")
    held = await calls.command("123XYZ", "hold")
    last = await calls.command("123XYZ", "retrieve")
    (worker,) = calls.workers
    await eventually(lambda: worker.logged("event refused"), "the queue refuses")

    await full.delete(if_empty=False)
    await calls.answer(last)
    first_copies: dict[str, int] = {}
    for event in calls.events:
        first_copies.setdefault(event.message_id, event.sequence)
    assert list(first_copies.values()) == [1, 2, 3, 4]
    assert calls.answers(held.message_id)


async def test_a_call_that_cannot_be_read_costs_its_own_commands_and_no_others(
    calls: Installation,
) -> None:
    """They get a 500 outside the sequence, and a dead letter each."""
    await calls.redis.set(calls.names.call_prefix + "spoilt", "not a hash")
    event = await calls.ask("spoilt", "hold")
    assert (event.content["status"], event.sequence) == (500, 0)
    await calls.until_dead(1)
    assert json.loads(calls.dead[0].body) == {"call_control": "hold", "request_id": "spoilt"}
    assert calls.dead[0].headers["status"] == 500
    assert (await calls.ask("fine", "call", **CALL)).content["status"] == 200
    # One that begins is not loaded before it is committed.
    event = await calls.ask("spoilt", "call", **CALL)
    assert (event.content["status"], event.sequence) == (500, 0)
    (worker,) = calls.workers
    assert not worker.logged("holding commands")


async def test_connections_closed_by_an_operator_are_opened_again(calls: Installation) -> None:
    """The worker is back in a moment, by itself."""
    rabbitmq = calls.services.rabbitmq
    assert rabbitmq is not None, "connections are closed by rabbitmqctl"
    (worker,) = calls.workers
    await asyncio.to_thread(rabbitmq.ctl, "close_all_user_connections", "guest", "a test")
    await eventually(lambda: worker.logged("session lost"), "the session is lost")
    connection = await aio_pika.connect(calls.services.amqp_url)
    calls.connection, calls.producer = connection, await connection.channel()
    await calls.subscribe()
    assert (await calls.ask("123XYZ", "call", **CALL)).content["status"] == 200
