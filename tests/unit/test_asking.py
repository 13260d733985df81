"""What the network is asked, as it is published, read by a gateway, and read back unanswered."""

import json
from typing import Any, Final

import pytest

from schemas.actions import ACTION_MODELS
from schemas.contract import RINGING, ActionName
from schemas.reports import Failed
from schemas.wire import Malformed, read, read_action
from tests.unit.builders import ALICE, BOB, CALL_ID, CAROL, DIGITS, after, command, report
from worker.broker.asking import Patience, action_message, deadline_message
from worker.broker.publisher import Outgoing
from worker.core.call import Call
from worker.core.messages import Action
from worker.core.transitions import decide
from worker.names import Names

NAMES: Final = Names()
PATIENCE: Final = Patience(take=5.0, act=10.0, ring=60.0)
AT: Final = 1_760_000_000_999
CONNECTED: Final = after(command("call"))

#: How each action comes about.
ASKED: Final = {
    ActionName.ORIGINATE: (Call(CALL_ID), "call"),
    ActionName.ANSWER: (after(report("offered", gateway="pbx-1")), "accept"),
    ActionName.REJECT: (after(report("offered", gateway="pbx-1")), "reject"),
    ActionName.REDIRECT: (after(report("offered", gateway="pbx-1")), "redirect"),
    ActionName.TRANSFER: (CONNECTED, "transfer"),
    ActionName.HOLD: (CONNECTED, "hold"),
    ActionName.RETRIEVE: (after(command("call"), command("hold")), "retrieve"),
    ActionName.MUTE: (CONNECTED, "mute"),
    ActionName.UN_MUTE: (after(command("call"), command("mute")), "un_mute"),
    ActionName.SEND_DIGITS: (CONNECTED, "dial"),
    ActionName.HANG_UP: (CONNECTED, "disconnect"),
}


@pytest.fixture(params=ActionName)
def action(request: pytest.FixtureRequest) -> Action:
    """Each action, as a command asks for it."""
    call, name = ASKED[request.param]
    (asked,) = decide(call, command(name, "m9")).actions
    assert asked.name is request.param
    return asked


def deadline_of(action: Action) -> Outgoing:
    """Return the report that an action was not reported."""
    return deadline_message(action, ("m9", b"[1]"), AT, PATIENCE, NAMES)


def test_a_gateway_reads_what_a_worker_asks(action: Action) -> None:
    """Every field of it, and none that its model does not have."""
    message = action_message(action, PATIENCE, NAMES)
    asked = read_action(message.body)
    assert isinstance(asked, ACTION_MODELS[action.name])
    said = json.loads(message.body)
    assert said.keys() <= ACTION_MODELS[action.name].model_fields.keys()
    assert (asked.request_id, asked.action_id, asked.gateway) == (CALL_ID, "m9", action.gateway)
    fields = {"origin": ALICE, "destination": BOB, "digits": DIGITS, "timeout_seconds": 60.0}
    assert all(said[name] == value for name, value in fields.items() if name in said)
    assert ("timeout_seconds" in said) is (action.name in RINGING)


def test_an_action_goes_to_the_gateway_that_has_its_call(action: Action) -> None:
    """By a header; its call's name is kept for the way back."""
    message = action_message(action, PATIENCE, NAMES)
    properties = message.properties
    assert (message.exchange, message.routing_key) == ("call_control.actions", CALL_ID)
    assert properties.headers == {"gateway": action.gateway or ""}
    assert properties.expiration == "5000"
    assert properties.delivery_mode == 2
    assert properties.message_id not in (None, "m9")


def test_an_action_that_comes_back_is_the_report_that_nobody_took_it(action: Action) -> None:
    """It reads as a failure of the command that asked, which names the action."""
    reading = read(action_message(action, PATIENCE, NAMES).body).body
    assert reading == Failed(
        request_id=CALL_ID,
        action_id="m9",
        status=503,
        reason=f"Service Unavailable: no gateway took {action.name}",
    )


def test_when_its_time_is_over_an_action_counts_as_failed(action: Action) -> None:
    """What rings has longer; the report waits in a queue that nobody consumes."""
    message = deadline_of(action)
    rings = action.name in RINGING
    headers: Any = message.properties.headers
    assert headers["deadline"] == ("ringing" if rings else "acting")
    assert message.properties.expiration == ("75000" if rings else "15000")
    assert read(message.body).body == Failed(
        request_id=CALL_ID,
        action_id="m9",
        status=504,
        reason=f"Timeout: the gateway did not report {action.name}",
    )


def test_the_journal_gets_the_record_of_a_command_that_waits(action: Action) -> None:
    """As events carry theirs; and it is no event."""
    properties = deadline_of(action).properties
    headers: Any = properties.headers
    assert (properties.message_type, headers["mark"]) == ("mark", "pending")
    assert headers["request_id"] == CALL_ID
    assert (headers["record_id"], headers["record"]) == ("m9", "[1]")
    assert properties.timestamp is not None
    assert int(properties.timestamp.timestamp()) == AT // 1000


def test_copies_of_a_message_have_its_id_and_no_others(action: Action) -> None:
    """Neither the command's, nor each other's: by it each has a record of its own."""
    pairs = [(action_message(action, PATIENCE, NAMES), deadline_of(action)) for _ in range(2)]
    ids = [[message.properties.message_id for message in pair] for pair in pairs]
    assert ids[0] == ids[1]
    assert len({*ids[0], action.id}) == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"\xff", "body"),
        (b"[]", "body"),
        (b"{}", "action"),
        (b'{"action": ["hold"]}', "action"),
        (b'{"action": "fly", "request_id": "1", "action_id": "m1"}', "action"),
        (b'{"action": "hold", "action_id": "m1"}', "request_id"),
        (b'{"action": "hold", "request_id": "1"}', "action_id"),
        (b'{"action": "transfer", "request_id": "1", "action_id": "m1"}', "endpoint"),
        (
            b'{"action": "send_digits", "request_id": "1", "action_id": "m", "digits": "x"}',
            "digits",
        ),
        (b'{"action": "hold", "request_id": "1", "action_id": "m1", "gateway": "a b"}', "gateway"),
    ],
)
def test_what_is_no_action_is_named_by_its_field(body: bytes, field: str) -> None:
    """For whoever writes a worker, or looks at a dead letter."""
    reading = read_action(body)
    assert isinstance(reading, Malformed)
    assert reading.field == field


def test_a_command_that_says_action_instead_of_call_control_is_told_so() -> None:
    """It is no action that came back: that has the id of one."""
    reading = read(b'{"action": "hold", "request_id": "1"}').body
    assert isinstance(reading, Malformed)
    assert (reading.field, reading.request_id, reading.is_report) == ("call_control", "1", False)


def test_an_endpoint_is_asked_for_as_the_command_names_it() -> None:
    """Of a transfer and a redirect the new one."""
    for name in (ActionName.TRANSFER, ActionName.REDIRECT):
        call, said = ASKED[name]
        (asked,) = decide(call, command(said, "m9")).actions
        assert json.loads(action_message(asked, PATIENCE, NAMES).body)["endpoint"] == CAROL
