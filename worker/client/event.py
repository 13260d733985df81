"""Events as a subscriber gets them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiormq.abc import DeliveredMessage
from pamqp.common import FieldValue
from pydantic_core import from_json

from schemas.contract import OK
from schemas.events import Envelope
from worker.broker.decoding import clear_undecodable
from worker.broker.journal import OFFSET


@dataclass(frozen=True, slots=True)
class Event:
    """An event.

    Attributes:
        kind: The canonical event, such as ``call_held``, whatever name stands in the body.
        request_id: The call.
        sequence: Its number among the call's events, from 1, without gaps; 0 stands outside.
        status: 200, or why not.
        reason: The reason phrase, with details behind it where there are any.
        state: The call's state after it.
        terminal: Whether it ended the call.
        call_control: The command it answers; empty for what the network did by itself.
        message_id: Its own id; copies of an event have the same.
        correlation_id: The ``message_id`` of the command it answers, or its ``correlation_id``.
        decided_at: When it was decided, by the worker's clock, in whole seconds.
        origin: The caller of a call that is offered; None for every other event.
        destination: The called address of a call that is offered; None for every other event.
        traceparent: The W3C Trace Context that it continues.
        offset: Its place in the journal; None for one that did not come from there. Reading goes
            on behind it with ``since=offset + 1``.
        missed: How many events of its call are missing between the last one seen and this one; None
            where only some kinds are asked for.
        body: The body, as it was published.
        headers: The AMQP headers.
    """

    kind: str
    request_id: str
    sequence: int
    status: int
    reason: str
    state: str
    terminal: bool
    call_control: str = ""
    message_id: str = ""
    correlation_id: str | None = None
    decided_at: datetime | None = None
    origin: str | None = None
    destination: str | None = None
    traceparent: str | None = None
    offset: int | None = None
    missed: int | None = 0
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    headers: Mapping[str, FieldValue] = field(default_factory=dict, repr=False)

    @property
    def ok(self) -> bool:
        """Whether it says that something was done, or was so already."""
        return self.status == OK

    @property
    def content(self) -> Mapping[str, Any]:
        """The body without its envelope."""
        inner = self.body.get(Envelope.CONTENT)
        return inner if isinstance(inner, dict) else self.body


def read_event(message: DeliveredMessage) -> Event | None:
    """Return what a message says; None if it is none of the worker's events."""
    properties = message.header.properties
    clear_undecodable(properties)
    headers = properties.headers or {}
    try:
        body = from_json(message.body)
        inner = body.get(Envelope.CONTENT, body)
        offset = headers.get(OFFSET)
        return Event(
            kind=properties.message_type or "",
            request_id=str(headers["request_id"]),
            sequence=_whole(headers["sequence"]),
            status=_whole(inner["status"]),
            reason=str(inner["reason"]),
            state=str(headers["call_state"]),
            terminal=headers["terminal"] is True,
            call_control=str(headers.get("call_control") or ""),
            message_id=properties.message_id or "",
            correlation_id=properties.correlation_id,
            decided_at=_aware(properties.timestamp),
            origin=inner.get("origin"),
            destination=inner.get("destination"),
            traceparent=_text(headers.get("traceparent")),
            offset=offset if isinstance(offset, int) else None,
            body=body,
            headers=headers,
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError
    return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _aware(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at
