"""``callctl dead list`` and ``show``: looking finds what is there, and loses nothing of it."""

import asyncio
import json
import time
from datetime import datetime
from typing import Any

from tests.dead_letters import dead, expire, listed, put_many
from tests.harness import Installation
from worker.broker.browsing import PAGE

PIN = "5309817264"


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

    code, table, _ = await dead(calls, "list", columns=250)
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
    code, _, errors = await dead(idle, "list", by_id[:3])
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
    code, output, _ = await dead(idle, "show", message_id)
    letter = json.loads(output)
    assert code == 0
    assert letter["body"]["content"]["call_control"] == "dial"
    assert letter["call"] == "123XYZ"
    assert (letter["reply_to"], letter["correlation_id"]) == ("answers", "c-1")
    assert letter["headers"]["x-death"][0]["reason"] == "expired"
    assert letter["headers"]["odd"][1] == {"digits": "(redacted)"}
    assert PIN not in json.dumps([letter["body"], letter["headers"]["odd"][1]])


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
    code, _, errors = await dead(idle, "list")
    assert (code, "somebody else is reading" in errors) == (3, True)
    await channel.close()
    assert len(await listed(idle)) == 1


async def test_an_installation_that_never_was_has_no_dead_letters_to_list(
    empty: Installation,
) -> None:
    """It is one line."""
    code, _, errors = await dead(empty, "list")
    assert (code, errors.count("\n")) == (2, 1)
    assert "has a worker ever run?" in errors
