"""A channel that publishes with confirms, a batch at a time.

RabbitMQ numbers what is published on a channel from 1 on, and confirms by number: one message, or
all up to one. A message that no queue takes is returned first, and then confirmed (RabbitMQ
documentation, "Consumer Acknowledgements and Publisher Confirms").
"""

import asyncio
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

#: How much is written before the socket has taken it, in bytes: RabbitMQ may not read for long.
_PIECE_BYTES: Final = 2**18

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
        done: Done when it has said something of each.
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

    def send_back(self, exchange: str, routing_key: str, encoded: bytes, why: str) -> None:
        """Note that no queue has taken a message. It is still to be confirmed.

        Nothing but what it says tells which one it is; of equal ones it is the first.
        """
        message_id = decode_properties(encoded)[0].message_id
        for place in sorted(self.unconfirmed.difference(self.refused)):
            message = self.messages[place]
            if (message.exchange, message.routing_key) == (
                exchange,
                routing_key,
            ) and message.properties.message_id == message_id:
                self.refused[place] = why
                return

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
        self._batch: Batch | None = None
        self._first = 1
        self._returned = Contents(RETURN, 0, self._on_return)
        self._frames.hand(channel, self._take)
        channel.closing.add_done_callback(self._on_close)

    @property
    def is_open(self) -> bool:
        """Whether it can publish."""
        return self._frames.is_open(self._channel)

    async def publish(self, batch: Batch, *, mandatory: bool) -> None:
        """Publish a batch, and return when RabbitMQ has confirmed or refused all of it.

        Raises:
            BrokerUnavailable: The channel is gone.
        """
        self._batch, self._first = batch, self._written + 1
        try:
            await self._write(batch.messages, mandatory=mandatory)
            await batch.done
        except ConnectionError as error:
            raise BrokerUnavailable(f"RabbitMQ: {error} (while publishing)") from error
        finally:
            self._batch = None

    async def _write(self, messages: Sequence[Outgoing], *, mandatory: bool) -> None:
        piece: list[bytes] = []
        size = 0
        for message in messages:
            frames = published(
                self._channel.number,
                message.exchange,
                message.routing_key,
                message.encoded,
                message.body,
                mandatory=mandatory,
                payload_bytes=self._payload_bytes,
            )
            piece.append(frames)
            size += len(frames)
            if size >= _PIECE_BYTES:
                self._write_piece(piece)
                await self._frames.drain()
                piece, size = [], 0
        self._write_piece(piece)

    def _write_piece(self, piece: Sequence[bytes]) -> None:
        if not self.is_open:
            raise ConnectionError("channel closed")
        self._frames.write(b"".join(piece))
        self._written += len(piece)

    def _take(self, kind: int, payload: bytes) -> bool:
        if kind == METHOD and payload.startswith((ACK, NACK)):
            if self._batch is not None:
                number, bits = _CONFIRM.unpack_from(payload, len(ACK))
                self._batch.confirm(
                    number - self._first,
                    multiple=bool(bits & _MULTIPLE),
                    taken=payload.startswith(ACK),
                )
            return True
        return self._returned.take(kind, payload)

    def _on_return(self, arguments: bytes, encoded: bytes, _: bytes) -> None:
        if self._batch is not None:
            why, at = short_string(arguments, _REPLY_CODE_BYTES)
            exchange, at = short_string(arguments, at)
            routing_key, at = short_string(arguments, at)
            self._batch.send_back(exchange, routing_key, encoded, why)

    def _on_close(self, closing: "asyncio.Future[None]") -> None:
        # A connection found half open cancels whoever waits on it, and says nothing.
        error = None if closing.cancelled() else closing.exception()
        if self._batch is not None and not self._batch.done.done():
            self._batch.done.set_exception(ConnectionError(str(error or "") or "connection lost"))


async def open_publisher(connection: Connection) -> Publisher:
    """Return a channel that publishes with confirms.

    Raises:
        BrokerUnavailable: The connection is gone.
    """
    return Publisher(connection, await open_channel(connection, confirms=True))
