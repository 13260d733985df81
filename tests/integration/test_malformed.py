"""Bad input: a 400 that names the field, a dead letter that says why, and the partition goes on."""

import json

import pytest

from tests.harness import Installation

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


@pytest.mark.parametrize(
    "body",
    [
        b'{"call_control": "dial", "request_id": "1", "digits": "5551X"}',
        b'{"call_control": "dial", "request_id": "1", "digits": "5551',
        b'{"content": {"call_control": "dial", "request_id": "1", "digits": "5551x"}}',
    ],
    ids=["refused", "cut off", "in content"],
)
async def test_digits_are_nowhere_but_in_the_command(calls: Installation, body: bytes) -> None:
    """Not in events, dead letters, Redis or logs, not even when they are wrong."""
    await calls.ask("1", "call", **CALL)
    await calls.ask("1", "dial", digits="5551#")
    await calls.publish_bytes("1", body, message_id="bad")
    await calls.until_dead(1)

    stored = await calls.redis.hgetall(calls.names.call_prefix + "1")
    published = [json.dumps([event.body, str(event.headers)]) for event in calls.events]
    logs = [worker.log.read_text() for worker in calls.workers]
    for text in (
        *published,
        *logs,
        str(stored),
        calls.dead[0].body.decode(),
        str(calls.dead[0].headers),
    ):
        assert "5551" not in text


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
