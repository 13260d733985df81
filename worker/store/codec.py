"""A call and its records as fields of a Redis hash.

Fields and values are short, so that the hash of an ordinary call stays a listpack
(``hash-max-listpack-value``), and they are text, so that ``redis-cli`` shows a call to a person.
What the contract's table implies is not stored. Digits are in no field.

A record is an array. Of a command that did what it is for, it says when that was, which command
and which sequence its event has; then the call's addresses after it, telephone numbers as numbers,
and the flags that are up besides those that such a command leaves up as a rule::

    [1760000000000,"hold",2,18164388687,18165057120]
    [1760000000000,"mute",3,18164388687,18165057120,"held"]

Of any other message, the whole of the call and a row for each event take the sequence's place::

    [1760000000000,"hold",["absent",null,null],[1,"call_control_failed",481]]

Of a call that has them, the command that waits for the network, the gateway and the sequence stand
behind the addresses there.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from typing import Any, Final

from pydantic_core import from_json, to_json

from schemas.contract import OK, CommandName, EventName, reason_phrase
from schemas.events import Envelope, Event, Request, stable_id
from worker.core.call import FLAGS, Call, Pending, State
from worker.core.table import EFFECTS, TABLE
from worker.errors import CorruptCall

#: The fields of a call, in the order in which they are loaded.
CALL_FIELDS: Final = (
    "version",
    "state",
    "sequence",
    "origin",
    "destination",
    "pending",
    "gateway",
)

#: What distinguishes a record's field from a call's; the rest of it is the message's id.
RECORD_PREFIX: Final = "#"

#: A longer id is kept as a digest, in characters.
_LONGEST_ID: Final = 128

#: What decoding raises for a value of another making.
_UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, OverflowError)

_ENDINGS: Final = frozenset({EventName.CALL_TERMINATED, EventName.CALL_REJECTED})

#: The event of each command that does what it is for, as a rule.
_GRANTED: Final[dict[str, EventName]] = {
    command: [cell.event for cell in row.values() if cell.event][-1]
    for command, row in TABLE.items()
}

#: The state in which each of these events leaves a call, as a rule, and the flags that are up then.
_USUAL: Final[dict[EventName, tuple[str, ...]]] = {
    event: (effects.get("state", State.CONNECTED), *(flag for flag in FLAGS if effects.get(flag)))
    for event, effects in EFFECTS.items()
}

#: What stands behind the addresses in a record, where it says nothing there.
_OFF_NETWORK: Final[tuple[Any, ...]] = (None, None, 0)

#: A global number without separators and parameters (RFC 3966), no longer than E.164 lets it be.
_TELEPHONE: Final = re.compile(r"tel:\+([1-9][0-9]{0,14})")


@dataclass(frozen=True, slots=True)
class Record:
    """What came of one message: enough to publish it again.

    Attributes:
        at: When it was decided, in milliseconds since the epoch, by the worker's clock.
        message: The command or the network report.
        call: The call after it. It goes out with the events, so that each of them can restore the
            call; by the time they are published again, the call may have moved on.
        events: The events it gave rise to, in order.
    """

    at: int
    message: str
    call: Call
    events: tuple[Event, ...]


def short_id(message_id: str) -> str:
    """Return the id under which a message's record is kept: the message's own, or its digest."""
    return message_id if len(message_id) <= _LONGEST_ID else stable_id(message_id)


def record_field(message_id: str) -> str:
    """Return the field that holds a message's record."""
    return RECORD_PREFIX + short_id(message_id)


def stored_records(fields: Mapping[bytes, bytes]) -> dict[str, bytes]:
    """Return the records among a hash's fields, by the ids under which they are kept."""
    prefix = RECORD_PREFIX.encode()
    return {
        name.removeprefix(prefix).decode(): value
        for name, value in fields.items()
        if name.startswith(prefix)
    }


def encode_call(call: Call, version: int, before: Call | None = None) -> dict[str, str]:
    """Return a call's fields, as they stand at a version.

    Args:
        call: The call.
        version: The version.
        before: The call at the version before, the fields of which are left out where they would
            be the same; None for all fields.
    """
    fields = {"version": str(version)}
    if before is None or _encode_state(call) != _encode_state(before):
        fields["state"] = _encode_state(call)
    if before is None or call.sequence != before.sequence:
        fields["sequence"] = str(call.sequence)
    if before is None or call.origin != before.origin:
        fields["origin"] = call.origin or ""
    if before is None or call.destination != before.destination:
        fields["destination"] = call.destination or ""
    if before is None or call.pending != before.pending:
        pending = call.pending
        fields["pending"] = to_json(_encode_pending(pending)).decode() if pending else ""
    # On the loopback there is none.
    if call.gateway != (before and before.gateway):
        fields["gateway"] = call.gateway or ""
    return fields


def decode_call(request_id: str, values: Sequence[bytes | None]) -> tuple[Call, int]:
    """Return the call that fields in the order of ``CALL_FIELDS`` hold, and its version.

    Raises:
        CorruptCall: They were not written by ``encode_call``.
    """
    version, state, sequence, origin, destination, pending, gateway = values
    if version is None:
        return Call(request_id), 0
    try:
        return Call(
            request_id,
            *_decode_state((state or b"").decode()),
            origin=origin.decode() if origin else None,
            destination=destination.decode() if destination else None,
            sequence=int(sequence or 0),
            pending=_decode_pending(from_json(pending)) if pending else None,
            gateway=gateway.decode() if gateway else None,
        ), int(version)
    except _UNREADABLE as error:
        raise CorruptCall(f"call {request_id} cannot be read: {error}") from None


def _encode_state(call: Call) -> str:
    return _in_words(call.state, call.held, call.muted, call.incoming)


@lru_cache(maxsize=256)
def _in_words(state: State, *up: bool) -> str:
    return " ".join((state, *compress(FLAGS, up)))


@lru_cache(maxsize=256)
def _decode_state(words: str) -> tuple[State, bool, bool, bool]:
    life, *flags = words.split(" ")
    if not set(flags).issubset(FLAGS):
        raise ValueError(f"a flag is none of {', '.join(FLAGS)}")
    held, muted, incoming = (flag in flags for flag in FLAGS)
    return State(life), held, muted, incoming


def _encode_address(address: str | None) -> str | int | None:
    number = _TELEPHONE.fullmatch(address) if address else None
    return int(number[1]) if number else address


def _decode_address(value: str | int | None) -> str | None:
    return f"tel:+{value}" if isinstance(value, int) else value


def _encode_pending(pending: Pending) -> dict[str, object]:
    return {
        "request": _encode_request(pending.request),
        "command": pending.command,
        "event": pending.event,
        "endpoint": pending.endpoint,
        "began": pending.began,
    }


def _decode_pending(fields: Mapping[str, Any]) -> Pending:
    return Pending(
        request=_decode_request(fields["request"]),
        command=CommandName(fields["command"]),
        event=EventName(fields["event"]),
        endpoint=fields["endpoint"],
        began=bool(fields["began"]),
    )


def _encode_request(request: Request) -> dict[str, str]:
    fields = {name: getattr(request, name) for name in Request.__slots__}
    if request.envelope is Envelope.BARE:
        del fields["envelope"]
    return {name: value for name, value in fields.items() if value is not None}


def _decode_request(fields: Mapping[str, Any]) -> Request:
    return Request(**{**fields, "envelope": Envelope(fields.get("envelope", Envelope.BARE))})


def encode_record(record: Record, request: Request) -> bytes:
    """Return the value of a record of the message that ``request`` describes."""
    call = record.call
    addresses = _encode_address(call.origin), _encode_address(call.destination)
    rows = [_row(event, call.state, request) for event in record.events]
    name = _GRANTED.get(record.message)
    on_network = call.pending is not None or call.gateway is not None
    if name and not on_network and len(rows) == 1 and rows[0][1:] == [name, OK]:
        words, usual = (call.state, *call.flags), _USUAL[name]
        besides = [word for word in words if word not in usual]
        if len(usual) + len(besides) == len(words):
            return to_json((record.at, record.message, rows[0][0], *addresses, *besides))
    state: tuple[object, ...] = (_encode_state(call), *addresses)
    if on_network:
        pending = _encode_pending(call.pending) if call.pending else None
        state = (*state, pending, call.gateway, call.sequence)
    return to_json((record.at, record.message, state, *rows))


def _in_full(
    message: str, sequence: object, origin: object, destination: object, *besides: str
) -> tuple[list[object], list[object]]:
    """Return the call and the row that the record of a command has which did what it is for."""
    name = _GRANTED[message]
    words = " ".join((*_USUAL[name], *besides))
    return [words, origin, destination], [sequence, name, OK]


def _row(event: Event, call_state: str, request: Request) -> list[object]:
    more: dict[str, object] = {}
    if event.call_state != call_state:
        more["call_state"] = event.call_state
    if event.reason != reason_phrase(event.status):
        more["reason"] = event.reason
    if event.terminal != _usually_terminal(event.name):
        more["terminal"] = event.terminal
    if event.answers is None:
        more["answers"] = None
    elif event.answers is not request and event.answers != request:
        more["answers"] = _encode_request(event.answers)
    if event.origin is not None:
        more |= {"origin": event.origin, "destination": event.destination}
    row = [event.sequence, event.name, event.status]
    return [*row, more] if more else row


def _usually_terminal(name: EventName) -> bool:
    return name in _ENDINGS


def decode_record(value: bytes, request_id: str, request: Request) -> Record:
    """Return a message's record.

    Raises:
        CorruptCall: The value was not written by ``encode_record``.
    """
    try:
        at, message, state, *rows = from_json(value)
        if not isinstance(state, list):
            state, *rows = _in_full(message, state, *rows)
        call = _decode_state_after(request_id, state)
        events = tuple(_event(row, i, call, request) for i, row in enumerate(rows))
        if events:
            call = call._replace(sequence=events[-1].sequence)
        return Record(int(at), str(message), call, events)
    except _UNREADABLE as error:
        raise CorruptCall(f"a record of call {request_id} cannot be read: {error}") from None


def _decode_state_after(request_id: str, state: Sequence[Any]) -> Call:
    words, origin, destination, *on_network = state
    # Version 0.1.0 wrote nothing behind what waits.
    pending, gateway, sequence = [*on_network, *_OFF_NETWORK[len(on_network) :]]
    if not isinstance(gateway, str | None):
        raise TypeError("a gateway's name is a text")
    return Call(
        request_id,
        *_decode_state(words),
        origin=_decode_address(origin),
        destination=_decode_address(destination),
        sequence=int(sequence),
        pending=_decode_pending(pending) if pending else None,
        gateway=gateway,
    )


def decode_history(request_id: str, fields: Mapping[bytes, bytes]) -> list[tuple[str, Record]]:
    """Return the records among a hash's fields with their message ids, oldest first.

    Raises:
        CorruptCall: A record was not written by ``encode_record``.
    """
    history = [
        (message_id, decode_record(value, request_id, Request(message_id)))
        for message_id, value in stored_records(fields).items()
    ]
    return sorted(history, key=_place)


def _place(entry: tuple[str, Record]) -> tuple[int, int]:
    _, record = entry
    # A command that waits has none yet; it stands behind the events that there were.
    place = 2 * record.events[0].sequence if record.events else record.call.progress
    return (place, record.at)


def _event(row: Sequence[Any], ordinal: int, call: Call, request: Request) -> Event:
    sequence, name, status, *rest = row
    more: Mapping[str, Any] = rest[0] if rest else {}
    answers: Request | None = request
    if "answers" in more:
        answers = _decode_request(more["answers"]) if more["answers"] else None
    return Event(
        name=EventName(name),
        request_id=call.request_id,
        sequence=int(sequence),
        status=int(status),
        reason=more.get("reason", reason_phrase(status)),
        call_state=str(more.get("call_state", call.state.value)),
        terminal=more.get("terminal", _usually_terminal(name)),
        cause=request.id,
        ordinal=ordinal,
        answers=answers,
        origin=more.get("origin"),
        destination=more.get("destination"),
        gateway=call.gateway,
    )
