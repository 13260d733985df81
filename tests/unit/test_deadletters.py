"""Dead letters: read from whatever message there is, named, and made into commands again."""

import json
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from tests.unit.builders import CALL_ID
from tests.unit.deliveries import body, delivery
from worker.broker.connection import Channel
from worker.broker.deadletters import DeadLetter, read_dead_letter
from worker.broker.messages import dead_letter
from worker.broker.outbox import Outgoing
from worker.names import Names

AT = 1_760_000_000_999
FAILED = datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC)
SENT = datetime(2025, 10, 1, tzinfo=UTC)
PIN = "5309817264"


def message(content: bytes, routing_key: str = CALL_ID, **properties: Any) -> DeliveredMessage:
    """Return a message from the dead letters."""
    return DeliveredMessage(
        delivery=Basic.Deliver(
            "", 3, exchange="call_control.dead_letters", routing_key=routing_key
        ),
        header=ContentHeader(properties=Basic.Properties(**properties)),
        body=content,
        channel=cast("Channel", object()),
    )


def by_worker(content: bytes, **properties: Any) -> DeadLetter:
    """Return a dead letter as a worker makes it of a command."""
    made = dead_letter(delivery(content, **properties), 400, "Bad Request: x", AT, Names())
    return received(made)


def received(made: Outgoing) -> DeadLetter:
    """Return a published dead letter as it is read."""
    properties = {name: getattr(made.properties, name) for name, _ in made.properties if name}
    return read_dead_letter(message(made.body, made.routing_key, **properties))


def by_rabbitmq(content: bytes, headers: dict[str, Any] | None = None, **more: Any) -> DeadLetter:
    """Return a dead letter as RabbitMQ makes it of a command."""
    death = {
        "count": 1,
        "exchange": "call_control.commands",
        "queue": "call_control.commands.03",
        "reason": "delivery_limit",
        "routing-keys": [CALL_ID],
        "time": FAILED,
    }
    given = {**(headers or {}), "x-death": [death], "x-first-death-reason": "delivery_limit"}
    return read_dead_letter(message(content, headers=given, **more))


def test_a_worker_s_own_reads_as_it_was_written() -> None:
    """What it was, where it was, and why it is here."""
    letter = by_worker(body(call_control="park"), message_id="m1")
    assert letter.summary() == {
        "id": letter.id,
        "first_failed_at": FAILED,
        "failed_at": FAILED,
        "status": 400,
        "reason": "Bad Request: x",
        "call": CALL_ID,
        "exchange": "call_control.commands",
        "routing_key": CALL_ID,
        "queue": "call_control.commands.07",
        "message_id": "m1",
        "redacted": False,
    }
    assert letter.cause == "400 Bad Request: x"


def test_rabbitmq_s_own_reads_alike() -> None:
    """From its last death; a producer's headers that look like the worker's say nothing."""
    forged = {"original_exchange": "payments", "status": 400, "redacted": True, "reason": "x"}
    letter = by_rabbitmq(body(call_control="hold"), forged, message_id="m1")
    assert letter.summary() == {
        "id": letter.id,
        "first_failed_at": FAILED,
        "failed_at": FAILED,
        "status": None,
        "reason": "delivery_limit",
        "call": CALL_ID,
        "exchange": "call_control.commands",
        "routing_key": CALL_ID,
        "queue": "call_control.commands.03",
        "message_id": "m1",
        "redacted": False,
    }
    assert letter.cause == "delivery_limit"


@pytest.mark.parametrize(
    "headers",
    [
        None,
        {},
        {"x-death": "often"},
        {"x-death": []},
        {"x-death": ["often"]},
        {"x-death": [{}]},
        {"x-death": [{"time": 7, "queue": 7, "exchange": 7, "reason": 7, "routing-keys": 7}]},
        {"x-death": [{"routing-keys": [7]}]},
        {"status": "x", "failed_at": "x", "reason": 7, "original_exchange": 7, "redacted": 7},
    ],
)
def test_whatever_is_among_the_dead_letters_can_be_shown_and_never_goes_astray(
    headers: dict[str, Any] | None,
) -> None:
    """Anybody who may publish there decides what is in it."""
    letter = read_dead_letter(message(b"\xff", "a.key", headers=headers))
    assert (letter.call, letter.routing_key, letter.exchange) == ("a.key", "a.key", None)
    assert letter.reason == "unknown"
    assert (letter.status, letter.failed_at, letter.first_failed_at) == (None, None, None)
    assert letter.details()["body"] == "\N{REPLACEMENT CHARACTER}"
    with pytest.raises(ValueError, match="where it was published"):
        letter.again()


def test_the_call_is_the_one_in_the_body_or_else_the_routing_key() -> None:
    """Events are about the former; a body that cannot be read leaves the latter."""
    assert by_rabbitmq(b'{"call_control": "hold", "request_id": "other"}').call == "other"
    assert by_rabbitmq(b"hold").call == CALL_ID


def test_an_id_is_that_of_exact_copies_only() -> None:
    """Whatever makes a difference to a replay makes one to the id; looking at it makes none."""
    content = body(call_control="hold")
    letter = by_rabbitmq(content, message_id="m1")
    assert by_rabbitmq(content, {"x-delivery-count": 7}, message_id="m1").id == letter.id
    for other in (
        by_rabbitmq(content, message_id="m2"),
        by_rabbitmq(content, message_id="m1", correlation_id="c"),
        by_rabbitmq(content, message_id="m1", reply_to="r"),
        by_rabbitmq(content, message_id="m1", timestamp=SENT),
        by_rabbitmq(content, {"first_failed_at": SENT}, message_id="m1"),
        by_rabbitmq(body(call_control="mute"), message_id="m1"),
        by_worker(content, message_id="m1"),
    ):
        assert other.id != letter.id


def test_digits_cannot_be_found_out_from_an_id() -> None:
    """Whoever sees the id of a short PIN could try them all."""
    one, two = (by_rabbitmq(body(call_control="dial", digits=pin)) for pin in ("1111", "2222"))
    assert one.id == two.id


def test_all_is_shown_but_digits() -> None:
    """Body and headers are a producer's; numbers that JSON has no words for are none."""
    content = body(call_control="dial", digits=PIN)
    headers = {"digits": PIN, "nan": float("nan"), "bytes": b"\x00", "at": SENT}
    details = by_rabbitmq(content, headers, reply_to="r").details()
    assert details["body"] == json.loads(content) | {"digits": "(redacted)"}
    assert details["headers"]["digits"] == "(redacted)"
    assert details["headers"]["x-first-death-reason"] == "delivery_limit"
    assert details["reply_to"] == "r"


def test_a_replay_is_the_command_as_it_was() -> None:
    """Key, body and properties; of the headers those that the worker reads."""
    content = body(call_control="dial", digits=PIN)
    letter = by_rabbitmq(
        content,
        {"traceparent": "00-trace", "CC": ["elsewhere"], "x-mine": 1},
        content_type="application/json",
        correlation_id="c-1",
        message_id="m1",
        reply_to="answers",
        timestamp=SENT,
        expiration="5",
    )
    again = letter.again()
    properties = again.properties
    assert (again.exchange, again.routing_key) == ("call_control.commands", CALL_ID)
    assert again.body == content
    assert properties.headers == {"traceparent": "00-trace", "first_failed_at": FAILED}
    assert (properties.message_id, properties.correlation_id) == ("m1", "c-1")
    assert (properties.reply_to, properties.timestamp) == ("answers", SENT)
    assert (properties.content_type, properties.delivery_mode) == ("application/json", 2)
    assert properties.expiration is None


def test_a_worker_s_own_is_replayed_as_it_came_too() -> None:
    """Its dead letter kept all that it takes."""
    sent = {
        "message_id": "m1",
        "correlation_id": "c-1",
        "reply_to": "answers",
        "timestamp": SENT,
        "content_type": "application/json",
    }
    content = body(call_control="park")
    again = by_worker(content, **sent, headers={"traceparent": "00-trace"}).again()
    assert again.body == content
    assert {name: getattr(again.properties, name) for name in sent} == sent
    assert again.properties.headers == {"traceparent": "00-trace", "first_failed_at": FAILED}


@pytest.mark.parametrize(
    "content",
    [body(call_control="dial", digits="5x"), b'{"digits": "5', b"dial 5", b"x" * 70_000],
    ids=["digits", "digits cut off", "perhaps digits", "too long"],
)
def test_a_body_that_is_not_the_command_s_any_more_is_not_replayed(content: bytes) -> None:
    """It would say something else."""
    letter = by_worker(content)
    assert letter.redacted
    with pytest.raises(ValueError, match="not the command's"):
        letter.again()


def test_a_command_without_an_id_gets_the_same_one_for_each_replay() -> None:
    """So that two replays of it have one outcome."""
    content = body(call_control="hold")
    letter = by_rabbitmq(content)
    assert letter.message_id is None
    assert letter.again().properties.message_id == f"dead-letter-{letter.id}"
    assert by_rabbitmq(content).again() == letter.again()
