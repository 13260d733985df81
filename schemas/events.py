"""The events that workers publish, and what an event needs to know of the message it answers."""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

from schemas.contract import EventName


class Envelope(StrEnum):
    """Whether a body stands bare or in ``{"content": {...}}``; an answer keeps its command's."""

    BARE = "bare"
    CONTENT = "content"


@dataclass(frozen=True, slots=True)
class Request:
    """What is kept of a message in order to answer it, now or after the network has spoken.

    Attributes:
        id: The idempotency key: the ``message_id``, or a digest of the content without one.
        call_control: The command as the failure event names it; None for a network report.
        envelope: The envelope of the message and of its answer.
        correlation_id: The ``correlation_id`` of the answer.
        reply_to: The queue that gets a copy of the answer.
        traceparent: The W3C Trace Context that the answer continues.
    """

    id: str
    call_control: str | None = None
    envelope: Envelope = Envelope.BARE
    correlation_id: str | None = None
    reply_to: str | None = None
    traceparent: str | None = None


class Event(NamedTuple):
    """One event of one call.

    Attributes:
        name: The canonical name.
        request_id: The call.
        sequence: Its place among the call's events, from 1 without gaps.
        status: 200, or why not: a SIP status (RFC 3261 section 21) or one of the worker's own.
        reason: The reason phrase, with details behind it where there are any.
        call_state: The call's state after the event.
        terminal: Whether this event ended the call.
        cause: The id of the message that gave rise to the event.
        ordinal: Its place among the events of that message, from 0.
        answers: The command it answers; None for what the network did by itself.
        origin: The caller of an offered call; None for every other event.
        destination: The called address of an offered call; None for every other event.
        gateway: The gateway that has the call; None on the loopback.
    """

    name: EventName
    request_id: str
    sequence: int
    status: int
    reason: str
    call_state: str
    terminal: bool
    cause: str
    ordinal: int
    answers: Request | None = None
    origin: str | None = None
    destination: str | None = None
    gateway: str | None = None

    @property
    def message_id(self) -> str:
        """Identify the event; the same after every crash and replay."""
        return stable_id(self.request_id, self.cause, str(self.ordinal))


def stable_id(*parts: str) -> str:
    """Return 32 hexadecimal digits that depend on the parts alone."""
    content = b"".join(
        len(encoded).to_bytes(4, "big") + encoded for encoded in map(str.encode, parts)
    )
    return blake2b(content, digest_size=16).hexdigest()
