"""Read the journal: the stream that keeps every event for a while.

A stream is read from an offset and stays as it is. A reader that loses its connection begins
again at the offset behind the last one it had.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from aio_pika.abc import AbstractConnection
from aiormq.abc import DeliveredMessage
from pamqp.common import FieldValue

from worker.broker.connection import Channel, broker_errors, open_channel
from worker.errors import BrokerUnavailable

#: Entries that RabbitMQ sends ahead of those that have been read.
_PREFETCH: Final = 2000


@dataclass(frozen=True, slots=True)
class Entry:
    """An event in the journal.

    Attributes:
        offset: Its place in the stream.
        at: When it was decided; None for a message that is none of the worker's.
        headers: Its headers.
    """

    offset: int
    at: datetime | None
    headers: Mapping[str, FieldValue]

    def text(self, header: str) -> str:
        """Return a header that is a text; empty without one."""
        value = self.headers.get(header)
        return value if isinstance(value, str) else ""

    @property
    def request_id(self) -> str:
        """The call; empty for a message that is no event."""
        return self.text("request_id")

    @property
    def sequence(self) -> int:
        """The event's place in its call; 0 for one that stands outside."""
        value = self.headers.get("sequence")
        return value if isinstance(value, int) else 0


class Reader:
    """Reads on from an offset."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._arrived: deque[tuple[int, Entry]] = deque()
        self._wake = asyncio.Event()
        channel.closing.add_done_callback(lambda _: self._wake.set())

    async def on_message(self, message: DeliveredMessage) -> None:
        """Take what arrives. It only enqueues: a task per message has no order past an await."""
        properties = message.header.properties
        headers = properties.headers or {}
        offset = headers.get("x-stream-offset")
        if isinstance(offset, int) and message.delivery_tag is not None:
            entry = Entry(offset, properties.timestamp, headers)
            self._arrived.append((message.delivery_tag, entry))
            self._wake.set()

    async def take(self, limit: int, patience_seconds: float) -> list[Entry]:
        """Return the next entries, as many as have arrived; none if none do for so long.

        Raises:
            BrokerUnavailable: The connection is gone.
        """
        try:
            async with asyncio.timeout(patience_seconds):
                while not self._arrived and not self._channel.is_closed:
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            return []
        if not self._arrived:
            raise BrokerUnavailable("RabbitMQ: connection lost while reading the journal")
        taken = [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]
        async with broker_errors("reading the journal"):
            await self._channel.basic_ack(taken[-1][0], multiple=True, wait=False)
        return [entry for _, entry in taken]


@asynccontextmanager
async def read_journal(
    connection: AbstractConnection, journal: str, offset: int | str
) -> AsyncIterator[Reader]:
    """Read a journal.

    Args:
        connection: The connection.
        journal: The stream's name.
        offset: Where to begin: an offset, ``first``, or ``last`` for the last chunk, which is the
            last entry and some of those before it (RabbitMQ documentation, "Streams").

    Raises:
        BrokerUnavailable: The connection is gone.
    """
    channel = await open_channel(connection)
    reader = Reader(channel)
    try:
        async with broker_errors("reading the journal"):
            await channel.basic_qos(prefetch_count=_PREFETCH)
            await channel.basic_consume(
                journal, reader.on_message, arguments={"x-stream-offset": offset}
            )
        yield reader
    finally:
        if not channel.is_closed:
            async with broker_errors("closing a channel"):
                await channel.close()


async def read_last_chunk(
    connection: AbstractConnection,
    journal: str,
    *,
    patience_seconds: float,
    quiet_seconds: float,
    most_seconds: float,
) -> list[Entry]:
    """Return the last entries of a journal; none if it is empty, or silent for too long.

    Nothing but silence tells an empty stream, or the end of one: RabbitMQ counts none of its
    entries when it is asked.

    Args:
        connection: The connection.
        journal: The stream's name.
        patience_seconds: How long the first entry is waited for.
        quiet_seconds: How long there is no further one at the end.
        most_seconds: How long further ones are read: where workers publish, there is always more.

    Raises:
        BrokerUnavailable: The connection is gone.
    """
    async with read_journal(connection, journal, "last") as reader:
        entries = await reader.take(_PREFETCH, patience_seconds)
        deadline = time.monotonic() + most_seconds
        more = entries
        while more and time.monotonic() < deadline:
            more = await reader.take(_PREFETCH, quiet_seconds)
            entries += more
        return entries
