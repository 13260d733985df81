"""One partition's channel, and what is delivered on it."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from pamqp.commands import Basic

from schemas.wire import MAX_BODY_BYTES
from worker.broker.connection import Channel
from worker.broker.decoding import decode_properties, short_string

#: What is kept of a body: no more than it takes to see that it is too long, in bytes.
KEPT_BYTES: Final = MAX_BODY_BYTES + 1

#: The delivery tag, and whether it is redelivered.
_TAG: Final = Struct(">Q?")


class Subscription:
    """One partition's channel.

    Attributes:
        partition: Its number.
        channel: The channel; its number is the partition's plus one.
        owner: The worker that ranked first for the partition when this one subscribed.
        consumer_tag: The consumer on it, the first and only one of this name.
        leaving: Whether deliveries are no longer taken from it.
        abandoned: Whether nothing on it is acknowledged any more, so that it all comes back.
        active_since: When a standby got its first delivery, by the loop's clock.
        delivered: How many commands have been delivered on it.
        answered: The records of those that came back without a ``message_id``.
    """

    def __init__(
        self, partition: int, channel: Channel, owner: str, consumer_tag: str = ""
    ) -> None:
        self.partition = partition
        self.channel = channel
        self.owner = owner
        self.consumer_tag = consumer_tag
        self._tag = consumer_tag.encode()
        self.leaving = False
        self.abandoned = False
        self.active_since: float | None = None
        self.delivered = 0
        self.answered: set[str] = set()
        self._received: deque[float] = deque()
        self._unsettled = 0
        self._settled = asyncio.Event()
        self._settled.set()

    def means(self, arguments: bytes) -> bool:
        """Tell whether the arguments of a ``basic.deliver`` name its consumer.

        When RabbitMQ closes a channel by itself, deliveries to it may still be written behind the
        opening of the next one of its number.
        """
        return arguments[1 : 1 + arguments[0]] == self._tag

    def arrived(self, delivery: "Delivery") -> None:
        """Count a delivery."""
        self.delivered += 1
        self._received.append(delivery.received_at)

    def taken(self) -> None:
        """Count a delivery that is being processed."""
        self._unsettled += 1
        self._settled.clear()

    def settled(self, count: int) -> None:
        """Count deliveries whose processing is over, well or badly."""
        for _ in range(count):
            self._received.popleft()
        self._unsettled -= count
        if self._unsettled == 0:
            self._settled.set()

    @property
    def in_hand(self) -> int:
        """How many deliveries have come whose processing is not over."""
        return len(self._received)

    @property
    def idle(self) -> bool:
        """Whether all that was delivered on it has been processed."""
        return not self._received

    @property
    def unsettled_since(self) -> float | None:
        """When the oldest delivery came that is not settled, by ``time.monotonic``."""
        return self._received[0] if self._received else None

    async def all_settled(self) -> None:
        """Wait until nothing taken from it is being processed."""
        await self._settled.wait()


# Not frozen: that would make the making of one three times as dear, and every command needs one.
@dataclass(slots=True)
class Delivery:
    """One message from a partition. It does not change.

    Attributes:
        subscription: The partition's channel.
        tag: The delivery tag.
        body: The body; of one that is too long, only so much that this can be seen.
        properties: The properties that can be decoded.
        redelivered: Whether the broker has delivered it before.
        exchange: Where it was published to.
        routing_key: With what routing key.
        undecodable: The names of the properties that cannot be decoded.
        returns: How often it has come back without an acknowledgement, by the broker's count.
        received_at: When it came, by ``time.monotonic``.
    """

    subscription: Subscription
    tag: int
    body: bytes
    properties: Basic.Properties
    redelivered: bool
    exchange: str
    routing_key: str
    undecodable: tuple[str, ...] = ()
    returns: int = 0
    received_at: float = field(default_factory=time.monotonic)

    @property
    def identity(self) -> dict[str, str | int | None]:
        """What every log line about it says; an id can be anything, so it is escaped."""
        message_id = self.properties.message_id
        return {
            "message_id": message_id and message_id.encode("unicode_escape").decode(),
            "partition": self.subscription.partition,
        }

    @classmethod
    def of(
        cls, subscription: Subscription, arguments: bytes, encoded: bytes, body: bytes
    ) -> "Delivery":
        """Return what has been delivered.

        Args:
            subscription: On what.
            arguments: The arguments of ``basic.deliver``.
            encoded: The encoded properties.
            body: The body, or ``KEPT_BYTES`` of it.
        """
        # Behind the consumer tag.
        at = 1 + arguments[0]
        tag, redelivered = _TAG.unpack_from(arguments, at)
        exchange, at = short_string(arguments, at + _TAG.size)
        routing_key, _ = short_string(arguments, at)
        properties, undecodable = decode_properties(encoded)
        return cls(
            subscription,
            tag,
            body,
            properties,
            redelivered,
            exchange,
            routing_key,
            undecodable,
            _returns(properties) if redelivered else 0,
        )


def _returns(properties: Basic.Properties) -> int:
    # A quorum queue counts from the first return on; until then the header is the producer's.
    count = (properties.headers or {}).get("x-delivery-count")
    return count if isinstance(count, int) else 0
