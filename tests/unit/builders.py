"""Messages and calls for the unit tests, as short as the tests want to say them."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from schemas.commands import COMMAND_MODELS
from schemas.contract import CommandName, ReportName
from schemas.events import Event, Request
from schemas.reports import REPORT_MODELS
from worker.core.call import Call
from worker.core.messages import Decision, Message
from worker.core.transitions import decide
from worker.gateways.loopback import decide_and_grant
from worker.store.codec import CALL_FIELDS, encode_call

CALL_ID: Final = "123XYZ"

#: The caller, and of an incoming call the offering endpoint.
ALICE: Final = "tel:+18164388687"
#: The called address.
BOB: Final = "tel:+18165057120"
#: Where calls are transferred to.
CAROL: Final = "tel:+18166623395"

DIGITS: Final = "5309817264#"

#: What each command says where a test does not care.
FIELDS: Final[dict[str, dict[str, str]]] = {
    "call": {"origin": ALICE, "destination": BOB},
    "disconnect": {},
    "transfer": {"endpoint": CAROL},
    "redirect": {"endpoint": CAROL},
    "hold": {},
    "retrieve": {},
    "dial": {"digits": DIGITS},
    "mute": {},
    "un_mute": {},
    "accept": {"endpoint": ALICE},
    "reject": {"endpoint": ALICE},
}

Decider = Callable[[Call, Message], Decision]


def command(name: str, message_id: str = "m1", **fields: str) -> Message:
    """Return a command for the call, with its usual fields unless told otherwise."""
    body = COMMAND_MODELS[CommandName(name)].model_validate(
        {"request_id": CALL_ID, **FIELDS[name], **fields}
    )
    return Message(Request(message_id, call_control=name), body)


def report(
    name: str, action_id: str | None = None, message_id: str = "r1", **fields: Any
) -> Message:
    """Return a network report of the call."""
    parties = {"origin": ALICE, "destination": BOB} if name == "offered" else {}
    body = REPORT_MODELS[ReportName(name)].model_validate(
        {"request_id": CALL_ID, "action_id": action_id, **parties, **fields}
    )
    return Message(Request(message_id), body)


def after(*messages: Message, decider: Decider = decide_and_grant) -> Call:
    """Return the call as messages leave it; by default on a network that grants everything."""
    call = Call(CALL_ID)
    for message in messages:
        call = decider(call, message).call
    return call


def asked(*messages: Message) -> Call:
    """Return the call as messages leave it on a network that has not answered yet."""
    return after(*messages, decider=decide)


def told(decision: Decision) -> list[tuple[str, int]]:
    """Return what a decision's events say: their canonical names and statuses."""
    return [(event.name.value, event.status) for event in decision.events]


def only(decision: Decision) -> Event:
    """Return a decision's one event."""
    (event,) = decision.events
    return event


def stored(call: Call, version: int = 1) -> list[bytes | None]:
    """Return a call's fields as they are loaded."""
    return loaded(encode_call(call, version))


def loaded(fields: Mapping[str, str]) -> list[bytes | None]:
    """Return fields as they are loaded."""
    return [fields[name].encode() if name in fields else None for name in CALL_FIELDS]
