"""The frames of a connection, read in bulk: each to whom it is for, and the rest to aiormq.

aiormq reads a frame in three steps, through a lock, a queue and a task per channel, and runs a
task per delivery and a future per confirm. With the frames that come with every command, that
takes most of a worker's time. So whoever works on a channel can have its frames handed over here,
in the order and at the moment in which they arrive. Those it does not want, and those of all other
channels, aiormq reads as ever: opening, declaring, heartbeats, closing, errors.

What is relied on:

- aiormq asks a ``TransportFactory`` for its ``StreamReader`` and ``StreamWriter``, and reads whole
  frames from the one. Others may write to the other, since aiormq writes whole frames at once.
- A stream's protocol gives its reader what arrives, as bytes, by ``feed_data``.
- A channel has its number, its connection's ``connection_tune``, and a future for its ``closing``;
  its ``rpc`` says what aiormq has no method for, such as to consume without a callback.
- aiormq takes a connection for dead that has brought it no frame for three times the heartbeat;
  any frame will do. RabbitMQ sends a heartbeat only where it sends nothing else, so one is put in
  where all frames are taken.
- Frames are AMQP 0-9-1's (section 2.3.5).
"""

import asyncio
import time
from collections.abc import Callable
from struct import Struct
from typing import Any, Final, TypeAlias

from aiormq import Channel
from aiormq.connection import TransportFactory
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
_HEARTBEAT: Final = 8
_KINDS: Final = frozenset({METHOD, HEADER, BODY, _HEARTBEAT})

#: What a frame begins with: its kind, its channel, and the size of its payload in bytes.
HEAD: Final = Struct(">BHI")
#: What it ends with.
FRAME_END: Final = b"\xce"
_LAST: Final = FRAME_END[0]

_HEARTBEAT_FRAME: Final = HEAD.pack(_HEARTBEAT, 0, 0) + FRAME_END

#: Seconds after which aiormq gets a heartbeat, where all frames are taken.
_HEARTBEAT_SECONDS: Final = 1.0

#: ``channel.close`` and ``channel.close-ok``: the number is another channel's from there on.
_CLOSING: Final = frozenset({b"\x00\x14\x00\x28", b"\x00\x14\x00\x29"})

#: Given a frame's kind and payload, takes it, or says False and leaves it to aiormq. What it raises
#: ends the connection.
Take: TypeAlias = Callable[[int, bytes], bool]

_NOBODY: Final = (None, lambda *_: False)


class Frames(TransportFactory):
    """What one connection reads and writes beside aiormq."""

    def __init__(self) -> None:
        self._handed: dict[int, tuple[Channel, Take]] = {}
        self._writer: asyncio.StreamWriter | None = None

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a stream for aiormq.

        Raises:
            AMQPConnectionError: The host cannot be reached.
        """
        tls = kwargs.pop("ssl_context_provider")
        context = await tls.get_context() if url.scheme == "amqps" else None
        loop = asyncio.get_running_loop()
        host, port = str(url.host), int(url.port or 0)
        reader = FrameReader(self._handed)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.create_connection(
                lambda: protocol, host, port, ssl=context, **kwargs
            )
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        self._writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        return reader, self._writer

    def hand(self, channel: Channel, take: Take) -> None:
        """Hand a channel's frames over from now on, until it is closed."""
        self._handed[channel.number] = channel, take
        channel.closing.add_done_callback(lambda _: self._forget(channel))

    def _forget(self, channel: Channel) -> None:
        if self.is_open(channel):
            del self._handed[channel.number]

    def is_open(self, channel: Channel) -> bool:
        """Tell whether a channel's frames are handed over still; else, write nothing on it."""
        return self._handed.get(channel.number, _NOBODY)[0] is channel

    def write(self, data: bytes) -> None:
        """Write whole frames.

        Raises:
            ConnectionError: The connection is gone.
        """
        if self._writer is None or self._writer.is_closing():
            raise ConnectionError("connection lost")
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the socket has taken most of what has been written.

        Raises:
            OSError: What has ended the connection.
        """
        if self._writer is not None:
            await self._writer.drain()


class FrameReader(asyncio.StreamReader):
    """A stream from which those frames can be read that nobody takes.

    What does not look like a frame can be read too, with all that follows: aiormq knows what to
    say of servers that do not speak AMQP.

    Args:
        handed: The channels whose frames are handed over, and to whom, by their numbers. Of one
            that is closed nothing more is.
    """

    def __init__(self, handed: dict[int, tuple[Channel, Take]]) -> None:
        super().__init__()
        self._handed = handed
        self._is_amqp = True
        self._begun: list[bytes] = []
        self._missing = 0
        self._fed_at = time.monotonic()

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # asyncio gives bytes
        """Hand over the frames that are complete now."""
        if self._begun:
            self._begun.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._begun)
            self._begun.clear()
        super().feed_data(self._without_taken(data) if self._is_amqp else data)

    def feed_eof(self) -> None:
        """Let aiormq see where in a frame the stream ends; some protocols say so twice."""
        begun, self._begun = b"".join(self._begun), []
        if begun:
            super().feed_data(begun)
        super().feed_eof()

    def _without_taken(self, data: bytes) -> bytes:
        left: list[bytes] = []
        start, end = 0, len(data)
        while start < end:
            payload = start + HEAD.size
            whole = payload <= end
            kind, number, size = HEAD.unpack_from(data, start) if whole else (data[start], 0, 0)
            last = payload + size
            if kind not in _KINDS or (last < end and data[last] != _LAST):
                self._is_amqp = False
                left.append(data[start:])
                break
            if last >= end:
                self._begun = [data[start:]]
                self._missing = last + 1 - end
                break
            _, take = self._handed.get(number, _NOBODY)
            if not take(kind, data[payload:last]):
                left.append(data[start : last + 1])
                if kind == METHOD and data[payload : payload + 4] in _CLOSING:
                    self._handed.pop(number, None)
            start = last + 1
        now = time.monotonic()
        if not left and self._handed and now - self._fed_at > _HEARTBEAT_SECONDS:
            left.append(_HEARTBEAT_FRAME)
        if left:
            self._fed_at = now
        return b"".join(left)
