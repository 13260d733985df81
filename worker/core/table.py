"""The transition table: what each command does in each state of a call.

It stands here once; ``transitions.decide`` obeys it, and the reference and the tests enumerate it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from schemas.contract import ActionName, CommandName, EventName
from worker.core.call import Call, State


class Column(StrEnum):
    """The states that commands tell apart."""

    ABSENT = "absent"
    OFFERED = "offered"
    DIALING = "dialing"
    CONNECTED = "connected"
    HELD = "held"
    ENDED = "ended"


def column_of(call: Call) -> Column:
    """Return the column of the table that a call stands in."""
    if call.state is State.CONNECTED and call.held:
        return Column.HELD
    return _COLUMNS[call.state]


_COLUMNS: Final = {
    State.ABSENT: Column.ABSENT,
    State.OFFERED: Column.OFFERED,
    State.DIALING: Column.DIALING,
    State.RINGING: Column.DIALING,
    State.CONNECTED: Column.CONNECTED,
    State.ENDED: Column.ENDED,
}


class Rule(StrEnum):
    """The kinds of cell."""

    ASK = "ask the network"
    TOGGLE = "ask the network, unless it is already so"
    UNCHANGED = "200, unchanged"
    CONFLICT = "409"
    NO_SUCH_CALL = "481"


@dataclass(frozen=True, slots=True)
class Cell:
    """What a command does in a state.

    Attributes:
        rule: Whether it is done, already done, or refused.
        event: The event of its success; None where it is always refused.
        from_offerer: Refused with 409 unless the call came in, and from the command's ``endpoint``.
    """

    rule: Rule
    event: EventName | None = None
    from_offerer: bool = False


_NO: Final = Cell(Rule.CONFLICT)
_GONE: Final = Cell(Rule.NO_SUCH_CALL)


def _ask(event: EventName, *, from_offerer: bool = False) -> Cell:
    return Cell(Rule.ASK, event, from_offerer)


def _toggle(event: EventName) -> Cell:
    return Cell(Rule.TOGGLE, event)


def _same(event: EventName, *, from_offerer: bool = False) -> Cell:
    return Cell(Rule.UNCHANGED, event, from_offerer)


def _rows() -> Iterator[tuple[CommandName, tuple[Cell, ...]]]:
    e, c = EventName, CommandName
    connected = _ask(e.CALL_CONNECTED)
    accept = _ask(e.CALL_ACCEPTED)
    accept_offer = _ask(e.CALL_ACCEPTED, from_offerer=True)
    accepted = _same(e.CALL_ACCEPTED, from_offerer=True)
    reject = _ask(e.CALL_REJECTED)
    reject_offer = _ask(e.CALL_REJECTED, from_offerer=True)
    redirect = _ask(e.CALL_REDIRECTED)
    transfer = _ask(e.CALL_TRANSFERRED)
    hold, held = _ask(e.CALL_HELD), _same(e.CALL_HELD)
    retrieve, retrieved = _ask(e.CALL_RETRIEVED), _same(e.CALL_RETRIEVED)
    mute, un_mute = _toggle(e.CALL_MUTED), _toggle(e.CALL_UN_MUTED)
    dial = _ask(e.DIGITS_DIALED)
    hang_up, over = _ask(e.CALL_TERMINATED), _same(e.CALL_TERMINATED)
    # fmt: off
    #                  absent     offered       dialing  connected  held      ended
    yield c.CALL,       (connected, _NO,          _NO,     _NO,       _NO,      _NO)
    yield c.ACCEPT,     (accept,    accept_offer, _NO,     accepted,  _NO,      _GONE)
    yield c.REJECT,     (reject,    reject_offer, _NO,     _NO,       _NO,      _GONE)
    yield c.TRANSFER,   (_GONE,     redirect,     _NO,     transfer,  transfer, _GONE)
    yield c.REDIRECT,   (_GONE,     redirect,     _NO,     _NO,       _NO,      _GONE)
    yield c.HOLD,       (_GONE,     _NO,          _NO,     hold,      held,     _GONE)
    yield c.RETRIEVE,   (_GONE,     _NO,          _NO,     retrieved, retrieve, _GONE)
    yield c.MUTE,       (_GONE,     _NO,          _NO,     mute,      mute,     _GONE)
    yield c.UN_MUTE,    (_GONE,     _NO,          _NO,     un_mute,   un_mute,  _GONE)
    yield c.DIAL,       (_GONE,     _NO,          _NO,     dial,      _NO,      _GONE)
    yield c.DISCONNECT, (_GONE,     hang_up,      hang_up, hang_up,   hang_up,  over)
    # fmt: on


TABLE: Final[Mapping[CommandName, Mapping[Column, Cell]]] = MappingProxyType(
    {command: dict(zip(Column, cells, strict=True)) for command, cells in _rows()}
)

#: The rules by which a command is refused in a state whatever it says.
REFUSALS: Final = frozenset({Rule.CONFLICT, Rule.NO_SUCH_CALL})

#: What is asked of the network so that an event can follow.
ACTIONS: Final[Mapping[EventName, ActionName]] = MappingProxyType(
    {
        EventName.CALL_CONNECTED: ActionName.ORIGINATE,
        EventName.CALL_TERMINATED: ActionName.HANG_UP,
        EventName.CALL_TRANSFERRED: ActionName.TRANSFER,
        EventName.CALL_REDIRECTED: ActionName.REDIRECT,
        EventName.CALL_HELD: ActionName.HOLD,
        EventName.CALL_RETRIEVED: ActionName.RETRIEVE,
        EventName.DIGITS_DIALED: ActionName.SEND_DIGITS,
        EventName.CALL_MUTED: ActionName.MUTE,
        EventName.CALL_UN_MUTED: ActionName.UN_MUTE,
        EventName.CALL_ACCEPTED: ActionName.ANSWER,
        EventName.CALL_REJECTED: ActionName.REJECT,
    }
)

#: What an event says of the call, as attributes of ``Call``.
EFFECTS: Final[Mapping[EventName, Mapping[str, Any]]] = MappingProxyType(
    {
        EventName.CALL_CONNECTED: {"state": State.CONNECTED},
        EventName.CALL_TERMINATED: {"state": State.ENDED, "held": False, "muted": False},
        EventName.CALL_TRANSFERRED: {"held": False},
        EventName.CALL_REDIRECTED: {"state": State.CONNECTED},
        EventName.CALL_HELD: {"held": True},
        EventName.CALL_RETRIEVED: {"held": False},
        EventName.DIGITS_DIALED: {},
        EventName.CALL_MUTED: {"muted": True},
        EventName.CALL_UN_MUTED: {"muted": False},
        EventName.CALL_ACCEPTED: {"state": State.CONNECTED},
        EventName.CALL_REJECTED: {"state": State.ENDED},
    }
)

#: Events after which the call's destination is the command's endpoint.
REDIRECTING: Final = frozenset({EventName.CALL_TRANSFERRED, EventName.CALL_REDIRECTED})
