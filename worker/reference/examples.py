"""Examples of every message, as the worker itself answers them.

The documented conversation is played on the network that grants everything; what only a telephony
gateway reports is played beside it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from pydantic_core import from_json, to_json

from schemas.commands import command_fields
from schemas.contract import ActionName, CommandName, EventName, EventNames, ReportName
from schemas.events import Request, stable_id
from schemas.reports import Report
from schemas.wire import ACTION_KEY, Malformed, read
from worker.broker.asking import Patience, action_message
from worker.broker.messages import event_message
from worker.broker.outbox import Outgoing
from worker.cli.demonstration import CONVERSATION
from worker.core.call import Call
from worker.core.messages import Decision, Message
from worker.core.transitions import decide
from worker.gateways.loopback import decide_and_grant
from worker.names import Names
from worker.settings import Settings

#: When the first example was decided, in milliseconds since the epoch; the next ones follow.
_AT: Final = 1_760_000_000_000
_STEP: Final = 1_250

_PATIENCE: Final = Patience.of(Settings.from_environment({}))

_A: Final = "tel:+18164388687"
_PBX: Final = "pbx-1"
_B: Final = "tel:+18165057120"

#: What a gateway says of two calls: who answers names the command that the report is about.
_REPORTED: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("OUT-1", {"call_control": "call", "origin": _A, "destination": _B}),
    (
        "OUT-1",
        {"network_report": "ringing", "gateway": _PBX, "status": 180, "reason": "Ringing"},
    ),
    ("OUT-1", {"network_report": "answered", "gateway": _PBX, "status": 200, "reason": "OK"}),
    ("OUT-1", {"call_control": "hold"}),
    ("OUT-1", {"network_report": "done", "gateway": _PBX, "status": 200, "reason": "OK"}),
    ("OUT-1", {"network_report": "ended", "gateway": _PBX, "status": 200, "reason": "OK"}),
    ("OUT-2", {"call_control": "call", "origin": _A, "destination": _B}),
    (
        "OUT-2",
        {"network_report": "failed", "gateway": _PBX, "status": 486, "reason": "Busy Here"},
    ),
)

_ANSWERING: Final = frozenset({ReportName.ANSWERED, ReportName.DONE, ReportName.FAILED})


@dataclass(frozen=True, slots=True)
class Example:
    """A message, and the events that came of it.

    Attributes:
        id: Its ``message_id``.
        body: Its body, as it is written in the conversation.
        canonical: The same bare and in canonical spelling; of a malformed one, None.
        events: What was published because of it.
        actions: What a gateway would be asked because of it.
    """

    id: str
    body: dict[str, Any]
    canonical: dict[str, Any] | None
    events: tuple[Outgoing, ...]
    actions: tuple[dict[str, Any], ...]


@cache
def examples() -> tuple[Example, ...]:
    """Return the conversations, message by message."""
    documented = (
        (step.call, {"content": _named(step.body, step.call)} if step.content else step.body)
        for step in CONVERSATION
    )
    return (*_play(documented, decide_and_grant), *_play(_REPORTED, decide))


def of_command(name: CommandName) -> list[dict[str, Any]]:
    """Return the bodies in which a command is given, in canonical spelling."""
    return _distinct(
        each.canonical for each in examples() if (each.canonical or {}).get("call_control") == name
    )


def of_report(name: ReportName) -> list[dict[str, Any]]:
    """Return the bodies of a report."""
    return _distinct(
        each.canonical
        for each in examples()
        if (each.canonical or {}).get("network_report") == name
    )


def of_action(name: ActionName) -> list[dict[str, Any]]:
    """Return the bodies of an action."""
    return _distinct(
        action for each in examples() for action in each.actions if action[ACTION_KEY] == name
    )


def of_event(name: EventName) -> list[Outgoing]:
    """Return the events of a name."""
    return [
        event
        for example in examples()
        for event in example.events
        if event.properties.message_type == name
    ]


def body_of(event: Outgoing) -> dict[str, Any]:
    """Return what stands in an event's body."""
    body: dict[str, Any] = from_json(event.body)
    return body


def _named(body: Mapping[str, Any], call: str) -> dict[str, Any]:
    (key, value), *fields = body.items()
    return {key: value, "request_id": call, **dict(fields)}


def _distinct(bodies: Iterable[dict[str, Any] | None]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for body in bodies:
        if body is not None and body not in found:
            found.append(body)
    return found


def _play(
    conversation: Iterable[tuple[str, dict[str, Any]]],
    decider: Callable[[Call, Message], Decision],
) -> Iterator[Example]:
    calls: dict[str, Call] = {}
    asked: dict[str, str] = {}
    for number, (name, said) in enumerate(conversation):
        message_id = stable_id(name, str(number))
        body = said if "content" in said else _named(said, name)
        if said.get("network_report") in _ANSWERING:
            body["action_id"] = asked[name]
        reading = read(to_json(body))
        request = Request(
            message_id,
            call_control=getattr(reading.body, "call_control", None),
            envelope=reading.envelope,
            correlation_id=message_id,
        )
        call, message = calls.get(name, Call(name)), Message(request, reading.body)
        decision = decider(call, message)
        calls[name] = decision.call
        if request.call_control is not None:
            asked[name] = message_id
        yield Example(
            message_id,
            body,
            None if isinstance(reading.body, Malformed) else _canonical(body, reading.body),
            tuple(
                event_message(event, _AT + number * _STEP, Names(), EventNames.DOCUMENTED)
                for event in decision.events
            ),
            tuple(
                from_json(action_message(action, _PATIENCE, Names()).body)
                for action in decide(call, message).actions
            ),
        )


def _canonical(written: Mapping[str, Any], read_as: Any) -> dict[str, Any]:
    if isinstance(read_as, Report):
        return dict(written)
    return _named(
        {key: value for key, value in command_fields(read_as).items() if key != "request_id"},
        read_as.request_id,
    )
