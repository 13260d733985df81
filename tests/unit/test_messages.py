"""Events, replies and dead letters as AMQP messages."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.common import FieldValue

from schemas.contract import EventNames
from schemas.events import Event, Request
from schemas.wire import MAX_BODY_BYTES, event_headers, write_body
from tests.unit.builders import CALL_ID, after, command, only
from tests.unit.deliveries import body, delivery
from worker.broker.messages import dead_letter, event_message, reply_message, without_digits
from worker.core.messages import Message
from worker.gateways.loopback import decide_and_grant
from worker.names import Names
from worker.reading import read_delivery

NAMES = Names()
AT = 1_760_000_000_999
SENT = datetime(2025, 10, 1, tzinfo=UTC)
PIN = "5309817264"


def dialed(**request: str) -> Event:
    """Return the answer to a ``dial``."""
    asked = Request("m2", **{"call_control": "dial", **request})  # type: ignore[arg-type]  # a test names fields freely
    message = Message(asked, command("dial").body)
    return only(decide_and_grant(after(command("call")), message))


def test_an_event_is_published_as_the_contract_says() -> None:
    """Exchange, key, body, and every property."""
    event = dialed(correlation_id="c-1")
    record = ("m2", b'[1,"dial"]')
    message = event_message(event, AT, NAMES, EventNames.DOCUMENTED, record)
    properties = message.properties
    assert message.exchange == "call_control.events"
    assert message.routing_key == f"digits_dialed.{CALL_ID}"
    assert json.loads(message.body)["event"] == "call_retrieved"
    assert properties.message_type == "digits_dialed"
    assert properties.message_id == event.message_id
    assert properties.correlation_id == "c-1"
    assert properties.content_type == "application/json"
    assert properties.delivery_mode == 2
    assert properties.app_id == "call-control-worker"
    assert properties.timestamp == datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC)
    assert properties.headers == event_headers(event, AT, "call_control", record)
    assert properties.reply_to is None
    assert properties.expiration is None


def test_the_event_names_are_chosen_for_the_body_alone() -> None:
    """Key and ``type`` are canonical always."""
    event = dialed()
    documented = event_message(event, AT, NAMES, EventNames.DOCUMENTED)
    canonical = event_message(event, AT, NAMES, EventNames.CANONICAL)
    assert canonical.body == write_body(event, EventNames.CANONICAL) != documented.body
    assert canonical.routing_key == documented.routing_key
    assert canonical.properties.message_type == documented.properties.message_type


def test_an_event_that_answers_nothing_is_correlated_with_nothing() -> None:
    """The network did it."""
    event = dialed()._replace(answers=None)
    message = event_message(event, AT, NAMES, EventNames.DOCUMENTED)
    assert message.properties.correlation_id is None
    assert reply_message(event, message) is None


def test_a_calls_events_have_one_order() -> None:
    """They leave in sequence even when one is refused."""
    message = event_message(dialed(), AT, NAMES, EventNames.DOCUMENTED)
    assert message.order == CALL_ID


@pytest.mark.parametrize("queue", ["amq.rabbitmq.reply-to.g1.x", "answers", "call_controller", "x"])
def test_a_reply_is_a_copy_of_the_event(queue: str) -> None:
    """Through the default exchange, into the queue that was asked for."""
    event = dialed(reply_to=queue)
    message = event_message(event, AT, NAMES, EventNames.DOCUMENTED)
    reply = reply_message(event, message)
    assert reply == message._replace(exchange="", routing_key=queue)


FORBIDDEN_QUEUES = [
    "",
    "x" * 256,
    "\u00e9" * 128,
    "amq.rabbitmq.reply-to",
    "call_control",
    "call_control.commands.00",
    "call_control.dead_letters",
    "call_control.events.journal",
    "blue.call_control.commands.63",
    "blue.call_control.dead_letters",
]


@pytest.mark.parametrize("queue", FORBIDDEN_QUEUES)
@pytest.mark.parametrize("namespace", ["", "blue", "green"])
def test_no_reply_goes_into_the_queues_of_any_installation(namespace: str, queue: str) -> None:
    """Or a command could make the worker feed itself events, or its neighbour."""
    event = dialed(reply_to=queue)
    message = event_message(event, AT, Names(namespace), EventNames.DOCUMENTED)
    assert reply_message(event, message) is None


@pytest.mark.parametrize("queue", FORBIDDEN_QUEUES)
def test_a_dead_letter_does_not_carry_a_reply_to_that_would_not_be_served(queue: str) -> None:
    """It would be served when the letter is published again, or close the worker's channel."""
    letter = dead_letter(delivery(b"", reply_to=queue), 400, "Bad Request", AT, NAMES)
    assert letter.properties.reply_to is None


def test_neither_events_nor_dead_letters_carry_what_a_command_would_steer_rabbitmq_with() -> None:
    """Copied, these would route, expire or reorder messages, or be refused with the channel."""
    steering: dict[str, FieldValue] = {"CC": ["call_control.commands.00"], "BCC": ["answers"]}
    asked = delivery(
        body(call_control="hold"),
        headers={**steering, "x-delay": 5},
        expiration="1",
        priority=9,
        user_id="guest",
        app_id="somebody",
        delivery_mode=1,
        message_type="call_connected",
    )
    asked.properties.cluster_id = "x"
    letter = dead_letter(asked, 400, "Bad Request", AT, NAMES)
    decision = decide_and_grant(after(command("call")), read_delivery(asked).message)
    event = event_message(only(decision), AT, NAMES, EventNames.DOCUMENTED)
    for message in (letter, event):
        properties = message.properties
        assert steering.keys().isdisjoint(properties.headers or {})
        assert "x-delay" not in (properties.headers or {})
        assert properties.expiration is None
        assert properties.priority is None
        assert properties.user_id is None
        assert not properties.cluster_id
        assert properties.app_id == "call-control-worker"
        assert properties.delivery_mode == 2
        assert properties.message_type != "call_connected"


def test_a_dead_letter_says_what_it_was_and_why_it_is_here() -> None:
    """Enough to mend it and publish it again."""
    broken = delivery(
        body(call_control="park"),
        message_id="m1",
        correlation_id="c-1",
        content_type="application/json",
        reply_to="answers",
        timestamp=SENT,
        headers={"traceparent": "00-trace", "CC": ["elsewhere"]},
    )
    letter = dead_letter(broken, 400, "Bad Request: call_control: …", AT, NAMES)
    properties = letter.properties
    assert (letter.exchange, letter.routing_key) == ("call_control.dead_letters", CALL_ID)
    assert letter.body == broken.body
    assert properties.headers == {
        "status": 400,
        "reason": "Bad Request: call_control: …",
        "original_exchange": "call_control.commands",
        "original_routing_key": CALL_ID,
        "original_queue": "call_control.commands.07",
        "failed_at": datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC),
        "first_failed_at": datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC),
        "redacted": False,
        "traceparent": "00-trace",
    }
    assert (properties.message_id, properties.correlation_id) == ("m1", "c-1")
    assert properties.timestamp == SENT
    assert (properties.content_type, properties.reply_to) == ("application/json", "answers")
    assert (properties.delivery_mode, properties.app_id) == (2, "call-control-worker")


def test_a_command_that_failed_before_keeps_the_time_of_its_first_failure() -> None:
    """As long as that is a time; whatever else a producer puts there is not kept."""
    again = delivery(body(), headers={"first_failed_at": SENT, "traceparent": 7})
    headers = dead_letter(again, 400, "Bad Request", AT, NAMES).properties.headers or {}
    assert headers["first_failed_at"] == SENT
    assert headers["failed_at"] == datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC)
    assert "traceparent" not in headers
    odd = delivery(body(), headers={"first_failed_at": "yesterday"})
    headers = dead_letter(odd, 400, "Bad Request", AT, NAMES).properties.headers or {}
    assert headers["first_failed_at"] == headers["failed_at"]


def test_a_dead_letter_has_no_digits() -> None:
    """It is stored, and shown to whoever looks after the queue."""
    broken = delivery(body(call_control="dial", digits=PIN, request_id=5))
    letter = dead_letter(broken, 400, "Bad Request", AT, NAMES)
    assert json.loads(letter.body) == {
        "request_id": 5,
        "call_control": "dial",
        "digits": "(redacted)",
    }
    assert (letter.properties.headers or {})["redacted"] is True


def test_a_body_without_digits_is_kept_to_the_byte() -> None:
    """Whoever looks for the mistake has to see what was sent."""
    for untouched in (b'{ "call_control" : "hold" }', b"\xff\x00", b"", b"[, "):
        assert without_digits(untouched) == untouched


@pytest.mark.parametrize(
    "kept",
    [
        {"call_control": "dial", "digits": PIN},
        {"content": {"call_control": "dial", "digits": PIN}},
        {"digits": int(PIN)},
        {"digits": [PIN, {"more": PIN}]},
        {"digits": {"digits": PIN}},
        [{"a": [{"digits": PIN}]}],
    ],
)
def test_digits_are_taken_out_of_json_wherever_they_stand(kept: object) -> None:
    """Nested, wrongly typed, or in no command at all; what is left is still JSON."""
    cleaned = without_digits(json.dumps(kept).encode())
    assert PIN.encode() not in cleaned
    assert b"redacted" in cleaned
    assert type(json.loads(cleaned)) is type(kept)


@pytest.mark.parametrize(
    "broken",
    [
        f'{{"call_control": "dial", "digits": "{PIN}"',
        f'{{"call_control": "dial", "digits": "{PIN}',
        f'{{"call_control": "dial", "digits": "1 {PIN}',
        f'{{"digits" :\n\t"{PIN}", }}',
        f'{{"digits":"{PIN}","digits":"{PIN}",,}}',
        f'{{"digits": {PIN}, }}',
        f'{{"digits": "\\"{PIN}", }}',
        f'{{"digits": "{PIN}", "x": NaN}} x',
        f'{{"digits": "{PIN}", "x": "\\ud800"}}',
        f'{{"x": {{"digits": "{PIN}"}}, "x": 1}}',
        f'{{"x": {{"dig\\u0069ts": "{PIN}"}}, "x": 1}}',
        f'{{"call_control": "dial", "number": "{PIN}", "call_control": "hold"}}',
        f'{{"call_control": "dial", "call_control": "hold", "number": "{PIN}"}}',
    ],
)
def test_digits_are_taken_out_of_broken_json(broken: str) -> None:
    """What cannot be parsed is most likely to be looked at."""
    assert PIN not in without_digits(broken.encode()).decode()


@pytest.mark.parametrize(
    "disguised",
    [
        json.dumps(json.dumps({"call_control": "dial", "digits": PIN})),
        json.dumps({"content": json.dumps({"call_control": "dial", "digits": PIN})}),
        str({"call_control": "dial", "digits": PIN}),
        f'{{"digits": ["12", "{PIN}"], }}',
        f'{{"digits": {{"sent": "{PIN}"}}, }}',
        f"call_control=dial&digits={PIN}",
        f'{{"call_control": "dial", "digit": "{PIN}", "request_id": 5}}',
        f'{{"call_control": "dial", "number": "{PIN}", "request_id": 5}}',
        f'{{"call_control": "dial", "dig\\u0069ts": "{PIN}',
        f"dial {PIN}",
    ],
    ids=[
        "encoded twice",
        "content encoded twice",
        "a Python dict",
        "a list in broken JSON",
        "an object in broken JSON",
        "a form",
        "a misspelt field",
        "another field",
        "an escaped key in broken JSON",
        "prose",
    ],
)
def test_digits_are_taken_out_of_what_a_producers_mistake_makes_of_them(disguised: str) -> None:
    """They are never stored, in whatever clothes they come."""
    assert PIN not in without_digits(disguised.encode()).decode()


@given(
    before=st.text('xyz{}[]":, ', max_size=20),
    digits=st.text("0123456789ABCD*#wW", min_size=1, max_size=64),
    cut=st.integers(0, 40),
    behind=st.sampled_from(["", "}", ",}", " x", "\n"]),
)
def test_no_cut_through_a_command_leaves_its_digits(
    before: str, digits: str, cut: int, behind: str
) -> None:
    """A body may be cut off anywhere, with anything before and behind."""
    whole = json.dumps({"x": before, "call_control": "dial", "digits": digits, "y": "z"})
    cleaned = without_digits((whole[: len(whole) - cut] + behind).encode())
    # Nothing else in these bodies is made of what digits are made of.
    assert not set(cleaned.decode()) & set("0123456789ABCD*#wW")


def test_a_dead_letter_is_no_longer_than_a_body_may_be() -> None:
    """And digits that the cut goes through are taken out too."""
    command_bytes = f'{{"call_control": "dial", "digits": "{PIN}'.encode()
    room = MAX_BODY_BYTES - len(command_bytes)
    long = b" " * room + command_bytes + b'"}' + b" " * 100
    cleaned = without_digits(long)
    assert len(cleaned) <= MAX_BODY_BYTES
    assert PIN.encode() not in cleaned
    assert without_digits(b"x" * (MAX_BODY_BYTES + 1)) == b"x" * MAX_BODY_BYTES
