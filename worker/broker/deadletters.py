"""Dead letters as people work with them: read, named, and made into commands again.

There are two kinds. The worker's own say all in their headers (``messages.dead_letter``). Those of
RabbitMQ, which gives up on a command that came back too often or expired, are the command as it
was, with an ``x-death`` header.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.common import FieldValue
from pydantic_core import from_json, to_json

from schemas.wire import read
from worker.broker.encoding import PERSISTENT
from worker.broker.messages import FIRST_FAILED_AT, kept_headers, without_digits
from worker.broker.outbox import Outgoing

#: Hexadecimal digits of an id: among a million dead letters two of the same are as good as never.
_ID_DIGITS: Final = 12

#: The headers that stand in a dead letter's fields. What RabbitMQ counts about a message changes
#: with every look at it.
_READ_HEADERS: Final = frozenset(
    {
        "failed_at",
        FIRST_FAILED_AT,
        "original_exchange",
        "original_queue",
        "original_routing_key",
        "reason",
        "redacted",
        "status",
        "x-acquired-count",
        "x-delivery-count",
    }
)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter.

    Attributes:
        id: A digest of what it says, without digits; exact copies share it.
        call: The call it is for, as far as that can be told.
        status: What its command was answered with; None for RabbitMQ's own.
        reason: Why it is here; of RabbitMQ's own, ``delivery_limit``, ``expired``, ``rejected`` or
            ``maxlen``.
        exchange: Where it was published to; None where it does not say.
        routing_key: With which routing key.
        queue: The queue it was in; None where it does not say.
        first_failed_at: When it failed for the first time, replays included.
        failed_at: When it failed last.
        message_id: The command's id, if it had one.
        redacted: Whether its body is not the command's, because there were digits in it or it was
            too long.
        tag: Its number on the channel that it was read on.
        body: Its body; that of RabbitMQ's own may hold digits.
        properties: Its AMQP properties.
    """

    id: str
    call: str
    status: int | None
    reason: str
    exchange: str | None
    routing_key: str
    queue: str | None
    first_failed_at: datetime | None
    failed_at: datetime | None
    message_id: str | None
    redacted: bool
    tag: int
    body: bytes
    properties: Basic.Properties

    @property
    def cause(self) -> str:
        """Its status, if it has one, and its reason."""
        return self.reason if self.status is None else f"{self.status} {self.reason}"

    def summary(self) -> dict[str, Any]:
        """Return what a list says of it."""
        return {
            "id": self.id,
            "first_failed_at": self.first_failed_at,
            "failed_at": self.failed_at,
            "status": self.status,
            "reason": self.reason,
            "call": self.call,
            "exchange": self.exchange,
            "routing_key": self.routing_key,
            "queue": self.queue,
            "message_id": self.message_id,
            "redacted": self.redacted,
        }

    def details(self) -> dict[str, Any]:
        """Return everything it says, but no digits."""
        headers = self.properties.headers or {}
        others = {name: value for name, value in headers.items() if name not in _READ_HEADERS}
        return {
            **self.summary(),
            "correlation_id": self.properties.correlation_id,
            "reply_to": self.properties.reply_to,
            "content_type": self.properties.content_type,
            "timestamp": self.properties.timestamp,
            "headers": _presentable(
                to_json(others, bytes_mode="base64", inf_nan_mode="null", fallback=str)
            ),
            "body": _presentable(self.body),
        }

    @property
    def obstacle(self) -> str | None:
        """Why it cannot be replayed; None if it can."""
        if self.redacted:
            return "its body is not the command's: there were digits in it, or it was too long"
        if self.exchange is None:
            return "it does not say where it was published"
        return None

    def again(self) -> Outgoing:
        """Return it as the command it was.

        Of its headers only those the worker reads go out again: with ``x-death`` RabbitMQ would
        take a second failure for a cycle, and ``CC`` would send copies elsewhere. A command without
        a ``message_id`` gets one that is the same for each replay of this dead letter, so that two
        of them have one outcome.

        Raises:
            ValueError: There is an obstacle.
        """
        if self.obstacle is not None or self.exchange is None:
            raise ValueError(self.obstacle)
        headers = kept_headers(self.properties.headers or {})
        if self.first_failed_at is not None:
            headers[FIRST_FAILED_AT] = self.first_failed_at
        return Outgoing(
            exchange=self.exchange,
            routing_key=self.routing_key,
            body=self.body,
            encoded=Basic.Properties(
                content_type=self.properties.content_type,
                correlation_id=self.properties.correlation_id,
                delivery_mode=PERSISTENT,
                headers=headers,
                message_id=self.message_id or f"dead-letter-{self.id}",
                reply_to=self.properties.reply_to,
                timestamp=self.properties.timestamp,
            ).marshal(),
            order=self.call,
        )


def read_dead_letter(message: DeliveredMessage) -> DeadLetter:
    """Read a dead letter; whatever is in it, there is one."""
    properties = message.header.properties
    headers = properties.headers or {}
    death = _last_death(headers)
    origin = _Origin.by_rabbitmq(death) if death is not None else _Origin.by_worker(headers)
    routing_key = origin.routing_key or message.routing_key or ""
    letter = DeadLetter(
        id="",
        call=getattr(read(message.body).body, "request_id", None) or routing_key,
        status=origin.status,
        reason=origin.reason,
        exchange=origin.exchange,
        routing_key=routing_key,
        queue=origin.queue,
        first_failed_at=_time(headers.get(FIRST_FAILED_AT)) or origin.failed_at,
        failed_at=origin.failed_at,
        message_id=properties.message_id or None,
        redacted=origin.redacted,
        tag=message.delivery_tag or 0,
        body=message.body,
        properties=properties,
    )
    return replace(letter, id=_digest(letter))


@dataclass(frozen=True, slots=True)
class _Origin:
    """What the two kinds of dead letters say differently."""

    status: int | None
    reason: str
    exchange: str | None
    routing_key: str | None
    queue: str | None
    failed_at: datetime | None
    redacted: bool

    @classmethod
    def by_rabbitmq(cls, death: Mapping[str, Any]) -> "_Origin":
        keys = death.get("routing-keys")
        return cls(
            status=None,
            reason=_text(death.get("reason")) or "unknown",
            exchange=_text(death.get("exchange")),
            routing_key=_text(keys[0]) if isinstance(keys, list) and keys else None,
            queue=_text(death.get("queue")),
            failed_at=_time(death.get("time")),
            redacted=False,
        )

    @classmethod
    def by_worker(cls, headers: Mapping[str, FieldValue]) -> "_Origin":
        status = headers.get("status")
        return cls(
            status=status if isinstance(status, int) else None,
            reason=_text(headers.get("reason")) or "unknown",
            exchange=_text(headers.get("original_exchange")),
            routing_key=_text(headers.get("original_routing_key")),
            queue=_text(headers.get("original_queue")),
            failed_at=_time(headers.get("failed_at")),
            redacted=headers.get("redacted") is True,
        )


def _last_death(headers: Mapping[str, FieldValue]) -> Mapping[str, Any] | None:
    """Return the entry of the queue that a message came from; RabbitMQ puts the newest first."""
    deaths = headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], Mapping):
        return deaths[0]
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _time(value: object) -> datetime | None:
    return value.astimezone(UTC) if isinstance(value, datetime) else None


def _digest(letter: DeadLetter) -> str:
    # Digits could be found out from a digest of them, by trying.
    said = {**letter.summary(), "body": without_digits(letter.body).decode(errors="replace")}
    properties = letter.properties
    more = [properties.correlation_id, properties.reply_to, properties.timestamp]
    return hashlib.sha256(to_json([said, more])).hexdigest()[:_ID_DIGITS]


def _presentable(body: bytes) -> Any:
    """Return a body without digits: what it says as JSON, or else its text."""
    body = without_digits(body)
    try:
        return from_json(body)
    except ValueError:
        return body.decode(errors="replace")
