"""``callctl dead replay`` and ``drop``: nothing is lost by doing it twice, or by a crash."""

import asyncio
import os
import pty
import secrets
import sys
import time
from contextlib import suppress
from datetime import datetime
from typing import Any

import aio_pika
import pytest

from tests.dead_letters import dead, expire, listed, put, put_many
from tests.harness import Installation, eventually
from tests.integration.test_cli import start_callctl

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}
PIN = "5309817264"


async def test_a_replayed_command_is_the_command_it_was(idle: Installation) -> None:
    """Same ids, key, body and trace; no trace of having been dead; gone once it is published."""
    channel = await idle.connection.channel()
    answers = await channel.declare_queue(exclusive=True)
    replies: list[str | None] = []

    async def on_reply(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        replies.append(message.message_id)

    await answers.consume(on_reply, no_ack=True)
    body = {"call_control": "call", "request_id": "123XYZ", **CALL}
    trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    message_id = await expire(
        idle,
        "123XYZ",
        body,
        correlation_id="c-1",
        reply_to=answers.name,
        headers={"traceparent": trace},
    )
    code, output, errors = await dead(idle, "replay", message_id)
    assert (code, output, errors) == (0, "replayed 1\n", "")
    assert await listed(idle) == []

    await idle.start()
    event = await idle.answer_to("c-1")
    assert (event.content["status"], event.request_id) == (200, "123XYZ")
    assert event.headers["traceparent"].split("-")[1] == trace.split("-")[1]
    await eventually(lambda: replies == [event.message_id], "the reply arrives")


async def test_a_command_that_fails_again_after_its_replay_tells_its_first_failure(
    idle: Installation,
) -> None:
    """By RabbitMQ or by a worker; and the second failure is no cycle to RabbitMQ."""
    message_id = await expire(idle, "1", {"call_control": "park", "request_id": "1"})
    (first,) = await listed(idle)
    await eventually(lambda: time.time() > first_second(first) + 1, "a second passes")
    await idle.start()
    code, _, _ = await dead(idle, "replay", first["id"])
    await idle.until_dead(2)
    (second,) = await listed(idle)
    assert (code, second["message_id"], second["status"]) == (0, message_id, 400)
    assert second["id"] != first["id"]
    assert second["first_failed_at"] == first["first_failed_at"] < second["failed_at"]

    code, _, errors = await dead(idle, "replay", "--all")
    await idle.until_dead(3)
    assert (code, "they come back" in errors) == (0, True)
    (third,) = await listed(idle)
    assert third["first_failed_at"] == first["first_failed_at"]


def first_second(letter: dict[str, Any]) -> float:
    """When a dead letter failed first, in seconds since the epoch."""
    return datetime.fromisoformat(letter["first_failed_at"]).timestamp()


async def test_a_replay_of_what_was_done_is_answered_as_before(calls: Installation) -> None:
    """By its record, with a copy of the same event; so a replay too many is harmless."""
    call = await calls.command("123XYZ", "call", **CALL)
    hold = await calls.command("123XYZ", "hold")
    events = [await calls.answer(call), await calls.answer(hold)]
    await calls.workers[0].terminate()
    body = {"call_control": "hold", "request_id": "123XYZ"}
    await expire(calls, "123XYZ", body, message_id=hold.message_id)

    await calls.start()
    assert (await dead(calls, "replay", "--all"))[0] == 0
    await calls.until_seen(3)
    assert calls.events[2].message_id == events[1].message_id
    assert calls.events[2].body == events[1].body


async def test_a_command_whose_digits_were_replaced_is_not_replayed(calls: Installation) -> None:
    """It is named and stays; the others go. RabbitMQ's own have their digits still."""
    wrong = {"call_control": "dial", "request_id": "123XYZ", "digits": f"{PIN}x"}
    await calls.publish("123XYZ", wrong)
    await calls.until_dead(1)
    await calls.ask("123XYZ", "call", **CALL)
    await calls.workers[0].terminate()
    right = {"call_control": "dial", "request_id": "123XYZ", "digits": PIN}
    message_id = await expire(calls, "123XYZ", right)

    redacted, _ = await listed(calls)
    code, output, errors = await dead(calls, "replay", "--all", "--yes")
    assert (code, output) == (1, "replayed 1\n")
    assert f"not replayed: {redacted['id']}: its body is not the command's" in errors
    assert await listed(calls) == [redacted]
    await calls.start()
    assert (await calls.answer_to(message_id)).content["status"] == 200


async def test_what_is_refused_stays_a_dead_letter(idle: Installation) -> None:
    """An exchange that leads nowhere, one that is not there, and a message that names none."""
    channel = await idle.connection.channel()
    nowhere = f"{idle.names.base}.nowhere"
    await channel.declare_exchange(nowhere, "fanout", auto_delete=False)
    for body in (b"{}", b"[]"):
        await put(idle, body, message_id="a", headers={"original_exchange": nowhere})
    await put(idle, b"{}", message_id="b")
    code, output, errors = await dead(idle, "replay", "--all", "--yes")
    assert (code, output) == (1, "replayed 0\n")
    assert errors.count("no queue takes it") == 2
    assert "does not say where it was published" in errors
    await channel.exchange_delete(nowhere)
    code, _, errors = await dead(idle, "replay", "a", "--yes")
    assert (code, errors) == (2, f"callctl: there is no exchange {nowhere}\n")
    assert [letter["message_id"] for letter in await listed(idle)] == ["a", "a", "b"]


@pytest.mark.parametrize("verb", ["replay", "drop"])
async def test_many_are_acted_on_only_when_somebody_agrees(idle: Installation, verb: str) -> None:
    """Without a terminal, by ``--yes``; one alone needs none."""
    await put_many(idle, 3)
    code, output, errors = await dead(idle, verb, "--all")
    assert (code, output, "--yes" in errors) == (1, "", True)
    assert len(await listed(idle)) == 3
    code, output, _ = await dead(idle, verb, "m-000001")
    assert (code, len(await listed(idle))) == (0, 2)
    code, output, _ = await dead(idle, verb, "--call", "123XYZ", "--yes")
    assert (code, await listed(idle)) == (0, [])
    code, _, errors = await dead(idle, verb, "--all")
    assert (code, errors) == (1, "no dead letters\n")


async def test_what_is_asked_on_a_terminal_is_answered_there(idle: Installation) -> None:
    """And no is no."""
    await put_many(idle, 2)
    assert await answered(idle, "n", "dead", "drop", "--all") == 1
    assert len(await listed(idle)) == 2
    assert await answered(idle, "y", "dead", "drop", "--all") == 0
    assert await listed(idle) == []


async def answered(calls: Installation, answer: str, *arguments: str) -> int:
    """Run ``callctl`` on a terminal, give an answer, and return the exit code."""
    controller, terminal = pty.openpty()
    try:
        os.write(controller, f"{answer}\n".encode())
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "worker", *arguments),
            env={**os.environ, **calls.environment},
            stdin=terminal,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        await asyncio.wait_for(process.communicate(), 60)
        return process.returncode or 0
    finally:
        os.close(controller)
        os.close(terminal)


async def test_what_was_removed_stays_away(idle: Installation) -> None:
    """RabbitMQ confirms no acknowledgement, and forgets those that it has not got round to."""
    await put_many(idle, 5000)
    code, output, _ = await dead(idle, "drop", "--all", "--yes")
    assert (code, output) == (0, "dropped 5000\n")
    assert await listed(idle) == []


@pytest.mark.parametrize("arguments", [(), ("--all", "m-000000")])
async def test_nothing_is_acted_on_that_was_not_clearly_meant(
    idle: Installation, arguments: tuple[str, ...]
) -> None:
    """Neither by saying nothing, nor by saying all and something."""
    await put_many(idle, 1)
    for verb in ("replay", "drop"):
        code, _, errors = await dead(idle, verb, *arguments, "--yes")
        assert (code, errors.startswith("callctl: which dead letters?")) == (2, True)
    assert len(await listed(idle)) == 1


async def test_a_replay_that_is_killed_loses_nothing(idle: Installation) -> None:
    """Each command is published or a dead letter, at worst both."""
    ids = await put_many(idle, 2000)
    seen = await commands_seen(idle)
    process = await start_callctl(idle, "dead", "replay", "--all", "--yes")
    await eventually(lambda: len(seen) > 100, "the replay has begun", 60)
    with suppress(ProcessLookupError):
        process.kill()
    await process.communicate()
    assert process.returncode == -9, "it was killed before its end"

    left = {letter["message_id"] for letter in await listed(idle, "--limit", "100000")}
    assert left | seen == set(ids)
    code, _, errors = await dead(idle, "replay", "--all", "--yes")
    assert code == 0, errors
    await eventually(lambda: seen == set(ids), "every command has been published")


async def commands_seen(calls: Installation) -> set[str]:
    """Take the place of the workers; return the ``message_id``s of what comes, as it comes."""
    seen: set[str] = set()
    channel = await calls.connection.channel()

    async def on_command(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        seen.add(message.message_id or "")

    for partition in range(calls.settings.partitions):
        queue = await channel.get_queue(calls.names.partition(partition), ensure=False)
        await queue.consume(on_command, no_ack=True)
    return seen


async def test_operators_who_replay_at_the_same_time_lose_nothing(idle: Installation) -> None:
    """One may be sent away, or find less than it chose; every command gets out."""
    ids = await put_many(idle, 300)
    seen = await commands_seen(idle)
    processes = [await start_callctl(idle, "dead", "replay", "--all", "--yes") for _ in range(2)]
    await asyncio.gather(*(process.communicate() for process in processes))
    await dead(idle, "replay", "--all", "--yes")
    assert await listed(idle) == []
    await eventually(lambda: seen == set(ids), "every command has been published")
