"""The contract's one table: each command, the event that answers it, and its names on the wire.

Everything that speaks of commands and events (the wire models, the core's transition table, the
generated reference and the tests) is derived from this module.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class CommandName(StrEnum):
    """The value of ``call_control`` in a command, in its canonical spelling."""

    CALL = "call"
    DISCONNECT = "disconnect"
    TRANSFER = "transfer"
    REDIRECT = "redirect"
    HOLD = "hold"
    RETRIEVE = "retrieve"
    DIAL = "dial"
    MUTE = "mute"
    UN_MUTE = "un_mute"
    ACCEPT = "accept"
    REJECT = "reject"


class EventName(StrEnum):
    """The canonical name of an event: its AMQP ``type`` and the head of its routing key."""

    CALL_CONNECTED = "call_connected"
    CALL_TERMINATED = "call_terminated"
    CALL_TRANSFERRED = "call_transferred"
    CALL_REDIRECTED = "call_redirected"
    CALL_HELD = "call_held"
    CALL_RETRIEVED = "call_retrieved"
    DIGITS_DIALED = "digits_dialed"
    CALL_MUTED = "call_muted"
    CALL_UN_MUTED = "call_un_muted"
    CALL_ACCEPTED = "call_accepted"
    CALL_REJECTED = "call_rejected"
    CALL_OFFERED = "call_offered"
    CALL_RINGING = "call_ringing"
    CALL_CONTROL_FAILED = "call_control_failed"


class ReportName(StrEnum):
    """The value of ``network_report``: what the telephone network says of a call."""

    OFFERED = "offered"
    RINGING = "ringing"
    ANSWERED = "answered"
    DONE = "done"
    FAILED = "failed"
    ENDED = "ended"


class ActionName(StrEnum):
    """The value of ``action``: what the telephone network can be asked to do."""

    ORIGINATE = "originate"
    ANSWER = "answer"
    REJECT = "reject"
    REDIRECT = "redirect"
    TRANSFER = "transfer"
    HOLD = "hold"
    RETRIEVE = "retrieve"
    MUTE = "mute"
    UN_MUTE = "un_mute"
    SEND_DIGITS = "send_digits"
    HANG_UP = "hang_up"


#: The actions that are over when somebody has answered, or nobody has for long enough.
RINGING: Final = frozenset(
    {ActionName.ORIGINATE, ActionName.ANSWER, ActionName.REDIRECT, ActionName.TRANSFER}
)


class EventNames(StrEnum):
    """Which name stands in an event's body: the documented one, or the canonical one."""

    DOCUMENTED = "documented"
    CANONICAL = "canonical"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row of the contract: a command and the event its success is published as.

    Attributes:
        command: The command.
        fields: The command's fields besides ``request_id``, in documented order.
        event: The canonical event.
        documented: The name in the event's body, to the letter of the source document.
    """

    command: CommandName
    fields: tuple[str, ...]
    event: EventName
    documented: str


#: Rows of one command stand together. ``transfer`` has two outcomes: on an offered call it means
#: ``redirect``.
OUTCOMES: Final = (
    Outcome(
        CommandName.CALL, ("origin", "destination"), EventName.CALL_CONNECTED, "call-connected"
    ),
    Outcome(CommandName.DISCONNECT, (), EventName.CALL_TERMINATED, "call_terminated"),
    Outcome(CommandName.TRANSFER, ("endpoint",), EventName.CALL_TRANSFERRED, "call_transferred"),
    Outcome(CommandName.TRANSFER, ("endpoint",), EventName.CALL_REDIRECTED, "call_transferred"),
    Outcome(CommandName.REDIRECT, ("endpoint",), EventName.CALL_REDIRECTED, "call_transferred"),
    Outcome(CommandName.HOLD, (), EventName.CALL_HELD, "call_held"),
    Outcome(CommandName.RETRIEVE, (), EventName.CALL_RETRIEVED, "call_retrieved"),
    Outcome(CommandName.DIAL, ("digits",), EventName.DIGITS_DIALED, "call_retrieved"),
    Outcome(CommandName.MUTE, (), EventName.CALL_MUTED, "call_muted"),
    Outcome(CommandName.UN_MUTE, (), EventName.CALL_UN_MUTED, "call_un_muted"),
    Outcome(CommandName.ACCEPT, ("endpoint",), EventName.CALL_ACCEPTED, "call_accepted"),
    Outcome(CommandName.REJECT, ("endpoint",), EventName.CALL_REJECTED, "call_rejected"),
)

_DOCUMENTED: Final = {row.event: row.documented for row in OUTCOMES}


def body_name(event: EventName, names: EventNames) -> str:
    """Return what stands in the body's ``event`` for a canonical event."""
    if names is EventNames.CANONICAL:
        return event.value
    return _DOCUMENTED.get(event, event.value)


#: The status of success.
OK: Final = 200

#: Reason phrases: RFC 3261 section 21 for 180 to 606, this contract's own for the worker's answers.
REASON_PHRASES: Final = {
    180: "Ringing",
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    409: "Conflict",
    480: "Temporarily Unavailable",
    481: "Call Does Not Exist",
    486: "Busy Here",
    487: "Request Terminated",
    500: "Internal Error",
    503: "Service Unavailable",
    504: "Timeout",
    603: "Decline",
}


def reason_phrase(status: int) -> str:
    """Return the usual reason for a status, or ``Unknown`` for one without a phrase here."""
    return REASON_PHRASES.get(status, "Unknown")
