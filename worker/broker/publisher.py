"""A channel that publishes with confirms, batch after batch.

RabbitMQ numbers what is published on a channel from 1 on, and confirms by number: one message, or
all up to one. A message that no queue takes is returned first, and then confirmed (RabbitMQ
documentation, "Consumer Acknowledgements and Publisher Confirms").
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

from aiormq import Channel
from pamqp.commands import Basic

from worker.broker.connection import Connection, open_channel
from worker.broker.contents import ACK, NACK, RETURN, Contents, published
from worker.broker.decoding import decode_properties, short_string
from worker.broker.frames import METHOD
from worker.errors import BrokerUnavailable

#: What a frame is made of beside its payload, in bytes.
_FRAME_OVERHEAD: Final = 8

#: The most that a frame may hold where RabbitMQ sets no limit, in bytes.
_MOST_FRAME_BYTES: Final = 2**17

# The number of what is confirmed, and bits of which the first says that all up to it are meant.
_CONFIRM: Final = Struct(">QB")
_MULTIPLE: Final = 1

#: What comes before the text in ``basic.return``.
_REPLY_CODE_BYTES: Final = 2


class Outgoing(NamedTuple):
    """A message on its way out.

    Attributes:
        exchange: Where to; the default exchange for a reply.
        routing_key: Its routing key.
        body: Its body.
        encoded: Its properties. An error in encoding them would here be one of the connection's.
        order: Of messages of one order (a call's), those behind a refused one go out again with
            it, so that its first copy is followed by copies of theirs.
    """

    exchange: str
    routing_key: str
    body: bytes
    encoded: bytes
    order: str

    @property
    def properties(self) -> Basic.Properties:
        """Its properties, as those who get it have them."""
        properties, _ = decode_properties(self.encoded)
        return properties


class Batch:
    """Messages that are published together.

    Attributes:
        messages: The messages.
        unconfirmed: The places of those of which RabbitMQ has said nothing yet.
        refused: Why it has not taken a message, by its place.
        done: Done when it has said something of each; fails with ``BrokerUnavailable`` where it no
            longer can.
    """

    def __init__(self, messages: Sequence[Outgoing]) -> None:
        self.messages = messages
        self.unconfirmed = set(range(len(messages)))
        self.refused: dict[int, str] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Nobody asks it where writing fails first.
        self.done.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._before = 0
        self._settle()

    @property
    def taken(self) -> bool:
        """Whether RabbitMQ has confirmed all of it."""
        return not self.unconfirmed and not self.refused

    def confirm(self, place: int, *, multiple: bool, taken: bool) -> None:
        """Note what RabbitMQ has said of a message, or of all up to it.

        Args:
            place: The message's place; negative for one that came before the batch.
            multiple: Whether all up to it are meant, of which nothing has been said yet.
            taken: Whether it has taken them.
        """
        places = range(self._before if multiple else place, place + 1)
        if multiple:
            self._before = max(self._before, place + 1)
        if not taken:
            self.refused.update(dict.fromkeys(self.unconfirmed.intersection(places), "nack"))
        self.unconfirmed.difference_update(places)
        self._settle()

    def send_back(self, exchange: str, routing_key: str, encoded: bytes, why: str) -> bool:
        """Note that no queue has taken a message. It is still to be confirmed.

        Nothing but what it says tells which one it is; of equal ones it is the first.

        Returns:
            Whether it is one of these.
        """
        message_id = decode_properties(encoded)[0].message_id
        for place in sorted(self.unconfirmed.difference(self.refused)):
            message = self.messages[place]
            if (message.exchange, message.routing_key) == (
                exchange,
                routing_key,
            ) and message.properties.message_id == message_id:
                self.refused[place] = why
                return True
        return False

    def _settle(self) -> None:
        if not self.unconfirmed and not self.done.done():
            self.done.set_result(None)


class Publisher:
    """A channel that publishes with confirms; aiormq's ``basic_publish`` is not to be used on it.

    Args:
        connection: Its connection.
        channel: The channel, open and in confirm mode.
    """

    def __init__(self, connection: Connection, channel: Channel) -> None:
        self._frames = connection.frames
        self._channel = channel
        frame_bytes = channel.connection.connection_tune.frame_max or _MOST_FRAME_BYTES
        self._payload_bytes = frame_bytes - _FRAME_OVERHEAD
        self._written = 0
        # Each with the number of its first message.
        self._unconfirmed: deque[tuple[int, Batch]] = deque()
        self._returned = Contents(RETURN, 0, self._on_return)
        self._frames.hand(channel, self._take)
        channel.closing.add_done_callback(self._on_close)

    @property
    def is_open(self) -> bool:
        """Whether it can publish."""
        return self._frames.is_open(self._channel)

    def publish(self, messages: Sequence[Outgoing], *, mandatory: bool) -> Batch:
        """Publish messages, and return the batch that tells what becomes of them.

        Raises:
            BrokerUnavailable: The channel is gone.
        """
        batch = Batch(messages)
        if not self.is_open:
            raise BrokerUnavailable("RabbitMQ: channel closed (while publishing)")
        frames = [
            published(
                self._channel.number,
                message.exchange,
                message.routing_key,
                message.encoded,
                message.body,
                mandatory=mandatory,
                payload_bytes=self._payload_bytes,
            )
            for message in messages
        ]
        try:
            self._frames.write(b"".join(frames))
        except ConnectionError as error:
            raise BrokerUnavailable(f"RabbitMQ: {error} (while publishing)") from error
        if messages:
            self._unconfirmed.append((self._written + 1, batch))
            self._written += len(messages)
        return batch

    def _take(self, kind: int, payload: bytes) -> bool:
        if kind == METHOD and payload.startswith((ACK, NACK)):
            number, bits = _CONFIRM.unpack_from(payload, len(ACK))
            self._confirm(number, multiple=bool(bits & _MULTIPLE), taken=payload.startswith(ACK))
            return True
        return self._returned.take(kind, payload)

    def _confirm(self, number: int, *, multiple: bool, taken: bool) -> None:
        for first, batch in self._unconfirmed:
            place = number - first
            if place < 0:
                break
            last = len(batch.messages) - 1
            if multiple or place <= last:
                batch.confirm(min(place, last), multiple=multiple, taken=taken)
        while self._unconfirmed and self._unconfirmed[0][1].done.done():
            self._unconfirmed.popleft()

    def _on_return(self, arguments: bytes, encoded: bytes, _: bytes) -> None:
        why, at = short_string(arguments, _REPLY_CODE_BYTES)
        exchange, at = short_string(arguments, at)
        routing_key, at = short_string(arguments, at)
        for _first, batch in self._unconfirmed:
            if batch.send_back(exchange, routing_key, encoded, why):
                return

    def _on_close(self, closing: "asyncio.Future[None]") -> None:
        # A connection found half open cancels whoever waits on it, and says nothing.
        error = None if closing.cancelled() else closing.exception()
        self.abandon(str(error or "") or "connection lost")

    def abandon(self, why: str) -> None:
        """Wait for no confirm any more: what has none fails with ``BrokerUnavailable``.

        Args:
            why: The reason.
        """
        for _, batch in self._unconfirmed:
            if not batch.done.done():
                batch.done.set_exception(BrokerUnavailable(f"RabbitMQ: {why} (while publishing)"))
        self._unconfirmed.clear()


async def open_publisher(connection: Connection) -> Publisher:
    """Return a channel that publishes with confirms.

    Raises:
        BrokerUnavailable: The connection is gone.
    """
    return Publisher(connection, await open_channel(connection, confirms=True))
