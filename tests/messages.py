"""Commands as their producer remembers them, and events as a subscriber gets them."""

import json
import time
from dataclasses import dataclass
from typing import Any

from aio_pika.abc import AbstractIncomingMessage


class NoMessageId(str):
    """A ``message_id`` that is not sent; aiormq makes one up for a message without any."""

    __slots__ = ()

    def __bool__(self) -> bool:
        """Pass for one."""
        return True


@dataclass
class Published:
    """A command as its producer remembers it."""

    request_id: str
    message_id: str
    body: dict[str, Any]
    at: float


@dataclass
class Seen:
    """An event as a subscriber got it."""

    body: dict[str, Any]
    headers: dict[str, Any]
    kind: str
    routing_key: str
    message_id: str
    correlation_id: str | None
    at: float
    raw: AbstractIncomingMessage

    @classmethod
    def of(cls, message: AbstractIncomingMessage) -> "Seen":
        """Return the event that has just come."""
        return cls(
            body=json.loads(message.body),
            headers=dict(message.headers),
            kind=message.type or "",
            routing_key=message.routing_key or "",
            message_id=message.message_id or "",
            correlation_id=message.correlation_id,
            at=time.monotonic(),
            raw=message,
        )

    @property
    def content(self) -> dict[str, Any]:
        """The body without its envelope."""
        content: dict[str, Any] = self.body.get("content", self.body)
        return content

    @property
    def request_id(self) -> str:
        """The call."""
        return str(self.headers["request_id"])

    @property
    def state(self) -> str:
        """The call's state after it."""
        return str(self.headers["call_state"])

    @property
    def sequence(self) -> int:
        """Its place among the call's events."""
        return int(self.headers["sequence"])
