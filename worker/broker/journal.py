"""Read the journal: the stream that keeps every event for a while.

A stream is read from an offset and stays as it is. A reader that loses its connection begins
again at the offset behind the last one it had.

One that is empty, or at its end, is silent, and so is one that is slow: RabbitMQ counts none of its
entries when it is asked. Where the difference matters, a worker leaves a *mark* in it: an entry
that is no event. Once it has come, all that stood before it has. Another mark is the record of a
command that waits for the network, and has no event to carry it yet.
"""

import secrets
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import DeliveryError
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.common import FieldValue

from worker.broker.connection import broker_errors, open_channel
from worker.broker.reader import PREFETCH, Reader, reading
from worker.broker.topology import MARK, PENDING
from worker.errors import BrokerUnavailable

#: The header that says a message's place in its stream, and the argument that says where to begin.
OFFSET: Final = "x-stream-offset"


@dataclass(frozen=True, slots=True)
class Entry:
    """An event in the journal, or a mark.

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

    @property
    def mark(self) -> str:
        """What tells a mark from others; empty for an event."""
        return self.text(MARK)

    @property
    def tells_of_a_call(self) -> bool:
        """Whether it is an event, or the record of a command that waits for the network."""
        return self.mark in ("", PENDING)


def _entry(message: DeliveredMessage) -> Entry | None:
    properties = message.header.properties
    headers = properties.headers or {}
    offset = headers.get(OFFSET)
    return Entry(offset, properties.timestamp, headers) if isinstance(offset, int) else None


def read_journal(
    connection: AbstractConnection, journal: str, offset: int | str | datetime
) -> AbstractAsyncContextManager[Reader[Entry]]:
    """Read a journal.

    Args:
        connection: The connection.
        journal: The stream's name.
        offset: Where to begin: an offset, a time, ``first``, or ``last`` for the last chunk, which
            is the last entry and some of those before it (RabbitMQ documentation, "Streams").

    Raises:
        BrokerUnavailable: The connection is gone.
    """
    return reading(connection, journal, _entry, {OFFSET: offset})


async def leave_mark(connection: AbstractConnection, journal: str) -> str:
    """Leave a mark at a journal's end, and return what tells it from others.

    It goes past the events' exchange: nobody but readers of the journal gets it.

    Raises:
        BrokerUnavailable: It was not confirmed, so nobody knows.
    """
    token = secrets.token_hex(8)
    channel = await open_channel(connection, confirms=True)
    properties = Basic.Properties(
        content_type="application/json", delivery_mode=2, headers={MARK: token}, message_type=MARK
    )
    try:
        async with broker_errors("leaving a mark in the journal"):
            await channel.basic_publish(
                b"{}", routing_key=journal, properties=properties, mandatory=True
            )
    except DeliveryError as error:
        raise BrokerUnavailable("RabbitMQ: the journal does not take a mark") from error
    finally:
        if not channel.is_closed:
            async with broker_errors("closing a channel"):
                await channel.close()
    return token


async def read_last_chunk(
    connection: AbstractConnection,
    journal: str,
    *,
    patience_seconds: float,
    quiet_seconds: float,
    most_seconds: float,
) -> list[Entry]:
    """Return the last entries of a journal; none if it is empty, or silent for too long.

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
        entries = await reader.take(PREFETCH, patience_seconds)
        deadline = time.monotonic() + most_seconds
        more = entries
        while more and time.monotonic() < deadline:
            more = await reader.take(PREFETCH, quiet_seconds)
            entries += more
        return entries
