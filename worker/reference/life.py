"""What every message does to a call in every state, found out by telling it."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from schemas.commands import COMMAND_MODELS
from schemas.contract import CommandName, EventName, ReportName
from schemas.events import Request
from schemas.reports import REPORT_MODELS
from worker.core.call import Call, State
from worker.core.messages import Decision, Message
from worker.core.transitions import decide
from worker.gateways.loopback import decide_and_grant

_CALL: Final = "123XYZ"
_CALLER: Final = "tel:+18166623395"
_CALLED: Final = "tel:+18165057120"
_ASKED: Final = "asked"

_TELLING: Final = tuple(name for name in ReportName if name is not ReportName.DONE)

#: Everything that any message says; each takes what it has a field for.
_FIELDS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "request_id": _CALL,
        "origin": _CALLER,
        "destination": _CALLED,
        "endpoint": _CALLER,
        "digits": "1",
        "action_id": _ASKED,
        "status": 486,
    }
)


class Life(StrEnum):
    """The states of a call as a reader tells them apart."""

    ABSENT = "no such call"
    OFFERED = "offered"
    DIALING = "dialing"
    RINGING = "ringing"
    CONNECTED = "connected"
    HELD = "held"
    ENDED = "ended"


def life_of(call: Call) -> Life:
    """Return where a call is."""
    if call.state is State.CONNECTED and call.held:
        return Life.HELD
    return Life.ABSENT if call.state is State.ABSENT else Life(call.state)


def message(name: CommandName | ReportName) -> Message:
    """Return a command or a report about the call, from the endpoint that offers it."""
    if isinstance(name, CommandName):
        request = Request(_ASKED, call_control=name)
        return Message(request, COMMAND_MODELS[name].model_validate(_FIELDS))
    return Message(Request("reported"), REPORT_MODELS[name].model_validate(_FIELDS))


@cache
def calls() -> Mapping[Life, Call]:
    """Return a call in each state; where the call can have come in, it did."""
    absent = Call(_CALL)
    offered = decide(absent, message(ReportName.OFFERED)).call
    dialing = decide(absent, message(CommandName.CALL)).call
    connected = decide_and_grant(offered, message(CommandName.ACCEPT)).call
    found = (
        absent,
        offered,
        dialing,
        decide(dialing, message(ReportName.RINGING)).call,
        connected,
        decide_and_grant(connected, message(CommandName.HOLD)).call,
        decide_and_grant(connected, message(CommandName.DISCONNECT)).call,
    )
    return {life_of(call): call for call in found}


def outcome(life: Life, name: CommandName) -> Decision:
    """Return what comes of a command in a state, on a network that grants everything."""
    return decide_and_grant(calls()[life], message(name))


def moves() -> Iterator[tuple[Life, CommandName | ReportName, Life]]:
    """Return from where to where each message takes a call.

    The network takes its time over a call that is being dialed; everything else it grants at once,
    so of its consent there is nothing to tell. Left out is what is refused, and what says nothing
    of a call in that state.
    """
    for life, call in calls().items():
        for name in (*CommandName, *_TELLING):
            decision = decide(call, message(name))
            to = life_of(decision.call)
            if isinstance(name, CommandName):
                if to is life or to is not Life.DIALING:
                    decision = outcome(life, name)
                    to = life_of(decision.call)
                if decision.events and decision.events[-1].name is EventName.CALL_CONTROL_FAILED:
                    continue
            if decision.call != call or decision.events:
                yield life, name, to
