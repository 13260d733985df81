"""A producer that speaks AMQP 0-9-1 by hand, to say what no client library lets one say."""

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from pamqp import commands, frame, header, heartbeat
from pamqp.base import Frame
from pamqp.commands import Basic
from yarl import URL

_CHANNEL: Final = 1
#: The largest frame, in bytes; it has to hold all properties of a message.
FRAME_MAX: Final = 131_072
_METHOD_FRAME: Final = 1
_HEADER_FRAME: Final = 2
_BODY_FRAME: Final = 3
_FRAME_END: Final = b"\xce"
_SECONDS: Final = 20.0

#: The properties' types and order on the wire (AMQP 0-9-1, class basic).
SHORT_STRINGS: Final = (
    "content_type",
    "content_encoding",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "message_type",
    "user_id",
    "app_id",
    "cluster_id",
)


_Method = TypeVar("_Method", bound=Frame)


class Closed(Exception):
    """Raised when RabbitMQ closes the channel or the connection, with its reason."""


def short_string(value: bytes) -> bytes:
    """Encode a short string of any bytes."""
    return bytes([len(value)]) + value


def table(fields: bytes) -> bytes:
    """Encode a field table, or a field array, of fields that are encoded already."""
    return struct.pack(">I", len(fields)) + fields


def properties(encoded: Mapping[str, bytes]) -> bytes:
    """Return the flags and values of properties that are encoded already."""
    flags = 0
    for name in encoded:
        flags |= Basic.Properties.flags[name]
    values = [encoded[name] for name in Basic.Properties.__slots__ if name in encoded]
    return struct.pack(">H", flags) + b"".join(values)


def header_frame(encoded: bytes, body_size: int) -> bytes:
    """Return the content header of a message with properties that are encoded already."""
    return _frame(_HEADER_FRAME, struct.pack(">HHQ", Basic.frame_id, 0, body_size) + encoded)


def _frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, _CHANNEL, len(payload)) + payload + _FRAME_END


class RawProducer:
    """An open channel with publisher confirms."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._published = 0
        self._unconfirmed: set[int] = set()

    async def open(self, url: URL) -> None:
        """Open the connection, and a channel with confirms on it."""
        self._writer.write(header.ProtocolHeader().marshal())
        await self._expect(commands.Connection.Start)
        login = f"\0{url.user}\0{url.password}"
        self._say(commands.Connection.StartOk(mechanism="PLAIN", response=login), 0)
        await self._expect(commands.Connection.Tune)
        self._say(commands.Connection.TuneOk(channel_max=8, frame_max=FRAME_MAX, heartbeat=0), 0)
        self._say(commands.Connection.Open(virtual_host=url.path.lstrip("/") or "/"), 0)
        await self._expect(commands.Connection.OpenOk)
        self._say(commands.Channel.Open(), _CHANNEL)
        await self._expect(commands.Channel.OpenOk)
        self._say(commands.Confirm.Select(), _CHANNEL)
        await self._expect(commands.Confirm.SelectOk)

    async def publish(
        self, exchange: str, routing_key: bytes, body: bytes, encoded: bytes = b"\0\0"
    ) -> None:
        """Publish a message, and wait for its confirm.

        Raises:
            Closed: RabbitMQ does not take it.
        """
        await self.send(exchange, routing_key, body, encoded)
        await self.confirmed()

    async def send(
        self, exchange: str, routing_key: bytes, body: bytes, encoded: bytes = b"\0\0"
    ) -> None:
        """Publish a message without waiting.

        Args:
            exchange: Where to.
            routing_key: At most 255 bytes, of any kind.
            body: The body.
            encoded: The properties as they go over the wire, flags first.
        """
        arguments = b"\0\0" + short_string(exchange.encode()) + short_string(routing_key) + b"\1"
        self._writer.write(
            _frame(_METHOD_FRAME, struct.pack(">I", Basic.Publish.index) + arguments)
        )
        self._writer.write(header_frame(encoded, len(body)))
        step = FRAME_MAX - 8
        for start in range(0, len(body), step):
            self._writer.write(_frame(_BODY_FRAME, body[start : start + step]))
        self._published += 1
        self._unconfirmed.add(self._published)
        await self._writer.drain()

    async def confirmed(self) -> None:
        """Wait until everything published is confirmed.

        Raises:
            Closed: RabbitMQ does not take it.
        """
        while self._unconfirmed:
            ack = await self._expect(Basic.Ack)
            tag = ack.delivery_tag or 0
            if ack.multiple:
                self._unconfirmed = {each for each in self._unconfirmed if each > tag}
            self._unconfirmed.discard(tag)

    def _say(self, method: Frame, channel: int) -> None:
        self._writer.write(frame.marshal(method, channel))

    async def _expect(self, kind: type[_Method]) -> _Method:
        async with asyncio.timeout(_SECONDS):
            while True:
                head = await self._reader.readexactly(7)
                size = struct.unpack(">I", head[3:])[0]
                _, _, got = frame.unmarshal(head + await self._reader.readexactly(size + 1))
                if isinstance(got, (commands.Connection.Close, commands.Channel.Close)):
                    raise Closed(f"{got.reply_code} {got.reply_text}")
                if isinstance(got, kind):
                    return got
                if not isinstance(got, heartbeat.Heartbeat):
                    raise Closed(f"expected {kind.name}, got {got.name}")


@asynccontextmanager
async def raw_producer(amqp_url: str) -> AsyncIterator[RawProducer]:
    """Connect to RabbitMQ."""
    url = URL(amqp_url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        producer = RawProducer(reader, writer)
        await producer.open(url)
        yield producer
    finally:
        writer.close()
        await writer.wait_closed()
