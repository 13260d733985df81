"""``callctl dead``: nothing is lost by looking, by replaying twice, or by crashing meanwhile."""

import asyncio
import json
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
from typer.testing import CliRunner

from tests.harness import Installation, eventually
from tests.integration.test_cli import start_callctl
from worker.broker import connection as broker
from worker.broker.browsing import PAGE
from worker.broker.topology import establish, topology
from worker.cli.app import app

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}
PIN = "5309817264"


@pytest.fixture
async def idle(empty: Installation) -> Installation:
    """An installation without a worker at the moment."""
    connection = await broker.connect(empty.services.amqp_url, "setting up")
    await establish(connection, topology(empty.names, empty.settings.partitions))
    await broker.close(connection)
    await empty.subscribe()
    return empty


async def callctl(calls: Installation, *arguments: str, columns: int = 200) -> tuple[int, str, str]:
    """Run ``callctl`` in this process; return its exit code, its output and its errors."""
    environment = {**calls.environment, "COLUMNS": str(columns)}
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


async def listed(calls: Installation, *filters: str) -> list[dict[str, Any]]:
    """What ``callctl dead list`` says."""
    code, output, errors = await callctl(calls, "dead", "list", "--json", *filters)
    letters = [json.loads(line) for line in output.splitlines()]
    assert code == (0 if letters else 1), errors
    return letters


async def expire(calls: Installation, request_id: str, body: Any, **properties: Any) -> str:
    """Publish a command that nobody takes in time; return its ``message_id``."""
    count = len(calls.dead)
    published = await calls.publish(request_id, body, expiration=0.01, **properties)
    await calls.until_dead(count + 1)
    return published.message_id


async def put(calls: Installation, body: bytes, **properties: Any) -> None:
    """Put a message among the dead letters by hand."""
    exchange = await calls.producer.get_exchange(calls.names.dead_letters, ensure=False)
    await exchange.publish(aio_pika.Message(body, **properties), "123XYZ")


async def put_many(calls: Installation, count: int) -> list[str]:
    """Put commands among the dead letters as a worker does; return their ``message_id``s."""
    ids = [f"m-{number:06}" for number in range(count)]
    headers = {
        "status": 500,
        "reason": "Internal Error: the stored call cannot be read",
        "original_exchange": calls.names.commands,
        "original_routing_key": "123XYZ",
    }
    body = json.dumps({"call_control": "hold", "request_id": "123XYZ"}).encode()
    for start in range(0, count, 500):
        await asyncio.gather(
            *(put(calls, body, message_id=each, headers=headers) for each in ids[start:][:500])
        )
    return ids


async def test_both_kinds_of_dead_letters_say_what_they_were_and_why_they_are_here(
    calls: Installation,
) -> None:
    """The worker's own by their headers, RabbitMQ's by its."""
    before = time.time()
    malformed = await calls.publish("123XYZ", {"call_control": "park", "request_id": "123XYZ"})
    await calls.until_dead(1)
    await calls.workers[0].terminate()
    expired = await expire(calls, "456", {"call_control": "hold", "request_id": "456"})

    by_worker, by_rabbitmq = await listed(calls)
    assert by_worker["status"] == 400
    assert by_worker["reason"].startswith("Bad Request: call_control: ")
    assert (by_rabbitmq["status"], by_rabbitmq["reason"]) == (None, "expired")
    wanted = (("123XYZ", malformed.message_id, by_worker), ("456", expired, by_rabbitmq))
    for call, message_id, letter in wanted:
        assert (letter["call"], letter["routing_key"]) == (call, call)
        assert letter["message_id"] == message_id
        assert letter["exchange"] == calls.names.commands
        assert letter["queue"].startswith(f"{calls.names.commands}.0")
        failed_at = datetime.fromisoformat(letter["failed_at"]).timestamp()
        assert int(before) <= failed_at <= time.time()
        assert letter["first_failed_at"] == letter["failed_at"]

    code, table, _ = await callctl(calls, "dead", "list", columns=250)
    assert code == 0
    for letter in (by_worker, by_rabbitmq):
        (line,) = (line for line in table.splitlines() if letter["id"] in line)
        for part in ("reason", "call", "queue", "message_id"):
            assert letter[part] in line


async def test_dead_letters_are_found_by_id_reason_call_and_time(idle: Installation) -> None:
    """Filters narrow down together; an id may be begun, and a message_id names all its copies."""
    command = {"call_control": "hold", "request_id": "1"}
    first = await expire(idle, "1", command)
    await put_many(idle, 2)
    everything = await listed(idle)
    assert [letter["message_id"] for letter in everything] == [first, "m-000000", "m-000001"]

    by_id = everything[0]["id"]
    assert await listed(idle, by_id) == await listed(idle, by_id[:6].upper()) == everything[:1]
    assert await listed(idle, "m-000001", first) == [everything[0], everything[2]]
    assert await listed(idle, "--reason", "EXPIRED") == everything[:1]
    assert await listed(idle, "--reason", "500 internal") == everything[1:]
    assert await listed(idle, "--call", "1") == everything[:1]
    assert await listed(idle, "--call", "1", "--reason", "500") == []
    assert await listed(idle, "--since", "1h", "--call", "1") == everything[:1]
    assert await listed(idle, "--since", "2100-01-01", "--call", "1") == []
    assert await listed(idle, "--limit", "2") == everything[:2]
    code, _, errors = await callctl(idle, "dead", "list", by_id[:3])
    assert (code, errors) == (1, f"no dead letter is called {by_id[:3]}\n")


async def test_looking_loses_nothing_and_keeps_the_order(idle: Installation) -> None:
    """As often as one likes, and over several pages; what is looked at stands where it stood."""
    ids = await put_many(idle, 2 * PAGE + 10)
    for _ in range(25):
        assert len(await listed(idle, "--limit", "3")) == 3
    for _ in range(2):
        found = await listed(idle, "--limit", "1000000")
        assert [letter["message_id"] for letter in found] == ids


async def test_show_tells_everything_but_the_digits(idle: Installation) -> None:
    """RabbitMQ dead-letters a command verbatim."""
    body = {"content": {"call_control": "dial", "request_id": "123XYZ", "digits": PIN}}
    headers = {"traceparent": "t", "odd": [PIN, {"digits": PIN}], "number": 1.5}
    message_id = await expire(
        idle, "123XYZ", body, reply_to="answers", correlation_id="c-1", headers=headers
    )
    code, output, _ = await callctl(idle, "dead", "show", message_id)
    letter = json.loads(output)
    assert code == 0
    assert letter["body"]["content"]["call_control"] == "dial"
    assert letter["call"] == "123XYZ"
    assert (letter["reply_to"], letter["correlation_id"]) == ("answers", "c-1")
    assert letter["headers"]["x-death"][0]["reason"] == "expired"
    assert letter["headers"]["odd"][1] == {"digits": "(redacted)"}
    assert PIN not in json.dumps([letter["body"], letter["headers"]["odd"][1]])


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
    code, output, errors = await callctl(idle, "dead", "replay", message_id)
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
    code, _, _ = await callctl(idle, "dead", "replay", first["id"])
    await idle.until_dead(2)
    (second,) = await listed(idle)
    assert (code, second["message_id"], second["status"]) == (0, message_id, 400)
    assert second["id"] != first["id"]
    assert second["first_failed_at"] == first["first_failed_at"] < second["failed_at"]

    code, _, errors = await callctl(idle, "dead", "replay", "--all")
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
    assert (await callctl(calls, "dead", "replay", "--all"))[0] == 0
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
    code, output, errors = await callctl(calls, "dead", "replay", "--all", "--yes")
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
    code, output, errors = await callctl(idle, "dead", "replay", "--all", "--yes")
    assert (code, output) == (1, "replayed 0\n")
    assert errors.count("no queue takes it") == 2
    assert "does not say where it was published" in errors
    await channel.exchange_delete(nowhere)
    code, _, errors = await callctl(idle, "dead", "replay", "a", "--yes")
    assert (code, errors) == (1, f"callctl: there is no exchange {nowhere}\n")
    assert [letter["message_id"] for letter in await listed(idle)] == ["a", "a", "b"]


@pytest.mark.parametrize("verb", ["replay", "drop"])
async def test_many_are_acted_on_only_when_somebody_agrees(idle: Installation, verb: str) -> None:
    """Without a terminal, by ``--yes``; one alone needs none."""
    await put_many(idle, 3)
    code, output, errors = await callctl(idle, "dead", verb, "--all")
    assert (code, output, "--yes" in errors) == (1, "", True)
    assert len(await listed(idle)) == 3
    code, output, _ = await callctl(idle, "dead", verb, "m-000001")
    assert (code, len(await listed(idle))) == (0, 2)
    code, output, _ = await callctl(idle, "dead", verb, "--call", "123XYZ", "--yes")
    assert (code, await listed(idle)) == (0, [])
    code, _, errors = await callctl(idle, "dead", verb, "--all")
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
    code, output, _ = await callctl(idle, "dead", "drop", "--all", "--yes")
    assert (code, output) == (0, "dropped 5000\n")
    assert await listed(idle) == []


@pytest.mark.parametrize("arguments", [(), ("--all", "m-000000")])
async def test_nothing_is_acted_on_that_was_not_clearly_meant(
    idle: Installation, arguments: tuple[str, ...]
) -> None:
    """Neither by saying nothing, nor by saying all and something."""
    await put_many(idle, 1)
    for verb in ("replay", "drop"):
        code, _, errors = await callctl(idle, "dead", verb, *arguments, "--yes")
        assert (code, errors.startswith("callctl: which dead letters?")) == (1, True)
    assert len(await listed(idle)) == 1


async def test_an_operator_is_told_that_another_one_has_the_dead_letters(
    idle: Installation,
) -> None:
    """A list that lacks what the other has in hand would look complete."""
    await put_many(idle, 1)
    channel = await idle.connection.channel()
    queue = await channel.get_queue(idle.names.dead_letters, ensure=False)
    consumed: asyncio.Queue[Any] = asyncio.Queue()
    await queue.consume(consumed.put)
    await consumed.get()
    code, _, errors = await callctl(idle, "dead", "list")
    assert (code, "somebody else is reading" in errors) == (1, True)
    await channel.close()
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
    code, _, errors = await callctl(idle, "dead", "replay", "--all", "--yes")
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
    await callctl(idle, "dead", "replay", "--all", "--yes")
    assert await listed(idle) == []
    await eventually(lambda: seen == set(ids), "every command has been published")


async def test_an_installation_that_never_was_has_no_dead_letters_to_list(
    empty: Installation,
) -> None:
    """It is one line."""
    code, _, errors = await callctl(empty, "dead", "list")
    assert (code, errors.count("\n")) == (1, 1)
    assert "has a worker ever run?" in errors
