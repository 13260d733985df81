"""Bad input: a 400 that names the field, a dead letter that says why, and the partition goes on."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage

from tests.harness import Installation, eventually
from tests.listening import asked, journal

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}

#: What is wrong, the body, and the field that the 400 has to name. All name a call.
ANSWERABLE: list[tuple[str, object, str]] = [
    ("no command", {"request_id": "1"}, "call_control"),
    ("unknown command", {"call_control": "holdd", "request_id": "1"}, "call_control"),
    ("command not a string", {"call_control": 7, "request_id": "1"}, "call_control"),
    ("field missing", {"call_control": "call", "request_id": "1"}, "origin"),
    (
        "local number",
        {"call_control": "call", "request_id": "1", "origin": "tel:911", "destination": "tel:+1"},
        "origin",
    ),
    (
        "not an address",
        {"content": {"call_control": "transfer", "request_id": "1", "endpoint": "Bob"}},
        "endpoint",
    ),
    (
        "password in address",
        {"call_control": "accept", "request_id": "1", "endpoint": "sip:bob:secret@example.org"},
        "endpoint",
    ),
    ("wrong digit", {"call_control": "dial", "request_id": "1", "digits": "5X5"}, "digits"),
    ("no digits", {"call_control": "dial", "request_id": "1", "digits": ""}, "digits"),
    ("too many digits", {"call_control": "dial", "request_id": "1", "digits": "1" * 65}, "digits"),
]

#: What is wrong, the bytes, and the field that the dead letter has to name. None names a call.
UNANSWERABLE: list[tuple[str, bytes, str]] = [
    ("not JSON", b"hold the line", "body"),
    ("not UTF-8", b'{"request_id": "\xff"}', "body"),
    ("cut off", b'{"call_control": "dial", "request_id": "1", "digits": "5551', "body"),
    ("not an object", b"[1, 2, 3]", "body"),
    ("empty", b"", "body"),
    ("too long", b'{"request_id": "1", "x": "' + b"x" * 70_000 + b'"}', "body"),
    ("too deep", b"[" * 10_000, "body"),
    ("no request_id", b'{"call_control": "hold"}', "request_id"),
    ("request_id not a string", b'{"call_control": "hold", "request_id": 7}', "request_id"),
    (
        "request_id too long",
        b'{"call_control":"hold","request_id":"%s"}' % (b"x" * 129),
        "request_id",
    ),
    ("request_id not ASCII", '{"call_control":"hold","request_id":"é"}'.encode(), "request_id"),
    ("malformed report", b'{"network_report": "rang", "request_id": "1"}', "network_report"),
]


async def test_malformed_commands_get_a_400_that_names_the_field_and_a_dead_letter(
    calls: Installation,
) -> None:
    """Each kind in turn, on one partition, which goes on afterwards."""
    for number, (what, body, field) in enumerate(ANSWERABLE, start=1):
        event = await calls.answer(await calls.publish("1", body))
        assert event.content["status"] == 400, what
        assert event.content["event"] == "call_control_failed", what
        assert event.content["reason"].startswith(f"Bad Request: {field}: "), what
        assert event.sequence == number, what
        await calls.until_dead(number)
        dead = calls.dead[-1]
        assert dead.headers["reason"] == event.content["reason"], what
        assert dead.headers["original_routing_key"] == "1", what
        assert dead.message_id == event.correlation_id, what
    assert (await calls.ask("1", "call", **CALL)).sequence == len(ANSWERABLE) + 1


async def test_a_body_that_names_no_call_goes_to_the_dead_letters_and_nowhere_else(
    calls: Installation,
) -> None:
    """Each kind in turn; nobody can be answered, so there is no event."""
    for number, (what, body, field) in enumerate(UNANSWERABLE, start=1):
        await calls.publish_bytes("1", body, message_id=f"bad-{number}")
        await calls.until_dead(number)
        dead = calls.dead[-1]
        assert str(dead.headers["reason"]).startswith(f"Bad Request: {field}: "), what
        assert dead.message_id == f"bad-{number}", what
    await calls.ask("1", "call", **CALL)
    assert len(calls.events) == 1


#: Every third of these is no decimal digit, so that no number that happens to be in a log or an id
#: has even three of them in a row.
DIGITS = "5*3#0*9#8*1#7*2#"
PIECES = {DIGITS[at : at + 3] for at in range(len(DIGITS) - 2)}


@pytest.mark.parametrize(
    "body",
    [
        '{"call_control": "dial", "request_id": "1", "digits": "%sX"}',
        '{"call_control": "dial", "request_id": "1", "digits": "%s',
        '{"content": {"call_control": "dial", "request_id": "1", "digits": "%sx"}}',
    ],
    ids=["refused", "cut off", "in content"],
)
async def test_digits_are_nowhere_but_in_the_command(empty: Installation, body: str) -> None:
    """In nothing that leaves the worker or that it stores, not even when they are wrong."""
    calls = empty
    (worker,) = await calls.start(log_level="debug")
    await calls.subscribe()
    await calls.ask("1", "call", **CALL)
    dial = {"call_control": "dial", "request_id": "1", "digits": DIGITS}
    async with asked(calls) as (queue, replies):
        for seen in (2, 3):
            await calls.publish("1", dial, message_id="good", reply_to=queue)
            await calls.until_seen(seen)
        await calls.publish_bytes("1", (body % DIGITS).encode(), message_id="bad", reply_to=queue)
        await calls.until_dead(1)
        mute = {"call_control": "mute", "request_id": "1"}
        last = await calls.answer(await calls.publish("1", mute, reply_to=queue))
        await eventually(lambda: last.message_id in ids(replies), "the last reply arrives")
    assert [event.content["status"] for event in calls.answers("good")] == [200, 200]
    assert ids(replies) == ids([event.raw for event in calls.events[1:]])
    entries = await journal(calls, until=last.message_id)
    assert ids(entries) == ids([event.raw for event in calls.events])
    stored = await everything_stored(calls)
    assert calls.names.call_prefix + "1" in stored

    messages = [*replies, *entries, *calls.dead, *[event.raw for event in calls.events]]
    places = {
        "messages": [f"{message.body.decode()} {message.info()}" for message in messages],
        "Redis": [str(stored)],
        "the log": [worker.log.read_text()],
        "the metrics": [(await worker.get("/metrics"))[1]],
    }
    for place, texts in places.items():
        assert not [text for text in texts if any(piece in text for piece in PIECES)], place


def ids(messages: Iterable[AbstractIncomingMessage]) -> list[str | None]:
    """Return the ``message_id`` of each message."""
    return [message.message_id for message in messages]


async def everything_stored(calls: Installation) -> dict[str, Any]:
    """Return every key of an installation with its value, of whatever type it is."""
    redis: Any = calls.redis
    reading: dict[bytes, Callable[[bytes], Awaitable[Any]]] = {
        b"string": redis.get,
        b"hash": redis.hgetall,
        b"set": redis.smembers,
        b"zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"stream": redis.xrange,
    }
    keys = [key async for key in redis.scan_iter(f"{calls.names.base}*", count=1000)]
    return {key.decode(): await reading[await redis.type(key)](key) for key in keys}


async def test_hostile_properties_stop_nobody(calls: Installation) -> None:
    """Odd headers and ids of the longest kind are taken for what they are."""
    body = {"call_control": "call", "request_id": "1", **CALL}
    published = await calls.publish(
        "1",
        body,
        message_id="m" * 255,
        headers={"traceparent": 7, "x": {"nested": [1, None, 2.5, True]}},
        correlation_id="c" * 255,
        expiration=60,
    )
    await calls.until_seen(1)
    assert calls.events[0].correlation_id == "c" * 255
    assert "traceparent" not in calls.events[0].headers
    await calls.publish("1", body, message_id=published.message_id)
    await calls.until_seen(2)
    assert calls.events[0].message_id == calls.events[1].message_id
