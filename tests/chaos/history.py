"""What crossed the wire: all that the checker may know of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from aiormq.abc import DeliveredMessage
from pydantic_core import from_json, to_json

#: What the network says of a call that comes in; the only message of a history without an outcome
#: of its own.
OFFERED = "offered"


@dataclass(frozen=True, slots=True)
class Published:
    """A command, or the report of an incoming call, that RabbitMQ has confirmed.

    Attributes:
        request_id: The call.
        message_id: Its id, the same for every attempt to publish it.
        name: The command, or ``OFFERED``.
        endpoint: The endpoint it names; empty where it names none.
        origin: The caller it names.
        destination: The called address it names.
    """

    request_id: str
    message_id: str
    name: str
    endpoint: str = ""
    origin: str = ""
    destination: str = ""

    @property
    def answered_by(self) -> str:
        """What the event says that answers it: of an offer, which no event answers, the call."""
        return self.request_id if self.name == OFFERED else self.message_id


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it arrived.

    Attributes:
        request_id: The call.
        message_id: Its id; copies have the same.
        answers: The ``message_id`` of the command it answers; None of what the network did.
        sequence: Its number among the call's events.
        kind: The canonical event.
        status: Its status.
        reason: Its reason.
        state: The call's state after it.
        terminal: Whether it ended the call.
        content: A digest of body, headers, routing key and timestamp, in which copies agree.
    """

    request_id: str
    message_id: str
    answers: str | None
    sequence: int
    kind: str
    status: int
    reason: str
    state: str
    terminal: bool
    content: bytes

    @classmethod
    def of(cls, message: DeliveredMessage) -> "Event":
        """Read a delivery.

        Raises:
            KeyError: It lacks what the contract says of events.
            ValueError: Its body is not JSON.
        """
        properties = message.header.properties
        headers = {
            name: value
            # RabbitMQ 3's streams keep no order of headers.
            for name, value in sorted((properties.headers or {}).items())
            # RabbitMQ's own, which differ from queue to queue.
            if not name.startswith("x-")
        }
        body = from_json(message.body)
        inner = body.get("content", body)
        content = (body, headers, message.routing_key, properties.timestamp, properties.app_id)
        return cls(
            request_id=str(headers["request_id"]),
            message_id=properties.message_id or "",
            answers=properties.correlation_id,
            sequence=int(str(headers["sequence"])),
            kind=properties.message_type or "",
            status=inner["status"],
            reason=inner["reason"],
            state=str(headers["call_state"]),
            terminal=bool(headers["terminal"]),
            content=blake2b(to_json(content), digest_size=16).digest(),
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """A call as Redis has it in the end.

    Attributes:
        state: Its state.
        held: Whether it is on hold.
        muted: Whether it is muted.
        origin: The caller.
        destination: The called address.
        sequence: The number of its events.
        records: The ids of the messages on record, each with the ids of its events.
    """

    state: str
    held: bool
    muted: bool
    origin: str | None
    destination: str | None
    sequence: int
    records: Mapping[str, tuple[str, ...]]


@dataclass
class History:
    """One run.

    Attributes:
        published: What was confirmed, by call, in the order of publishing.
        seen: What a subscriber got, in the order of arrival.
        journal: What the journal holds, in its order.
        stored: What Redis holds in the end, by call.
    """

    published: dict[str, list[Published]] = field(default_factory=dict)
    seen: list[Event] = field(default_factory=list)
    journal: list[Event] = field(default_factory=list)
    stored: dict[str, Stored] = field(default_factory=dict)
