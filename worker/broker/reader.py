"""Read a queue or a stream in its order, as fast as whoever reads it asks for more."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, TypeVar

from aio_pika.abc import AbstractConnection
from aiormq.abc import DeliveredMessage

from worker.broker.connection import Channel, broker_errors, open_channel
from worker.errors import BrokerUnavailable

_T = TypeVar("_T")

#: Messages that RabbitMQ sends ahead of those that have been taken.
PREFETCH: Final = 2000


class Reader(Generic[_T]):
    """What has arrived on a channel and has not been taken.

    Args:
        channel: The channel.
        read: Reads a message; None passes it over.
    """

    def __init__(self, channel: Channel, read: Callable[[DeliveredMessage], _T | None]) -> None:
        self._channel = channel
        self._read = read
        self._arrived: deque[tuple[int, _T]] = deque()
        self._wake = asyncio.Event()
        channel.closing.add_done_callback(lambda _: self._wake.set())

    async def on_message(self, message: DeliveredMessage) -> None:
        """Take what arrives. It only enqueues: a task per message has no order past an await."""
        found = self._read(message)
        if found is not None and message.delivery_tag is not None:
            self._arrived.append((message.delivery_tag, found))
            self._wake.set()

    async def take(self, limit: int, patience_seconds: float | None) -> list[_T]:
        """Return what comes next, as much as has arrived; nothing if nothing does for so long.

        Args:
            limit: How much at most.
            patience_seconds: How long the first is waited for; None for ever.

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
            raise BrokerUnavailable("RabbitMQ: connection lost while reading")
        taken = [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]
        async with broker_errors("reading"):
            await self._channel.basic_ack(taken[-1][0], multiple=True, wait=False)
        return [found for _, found in taken]


@asynccontextmanager
async def reading(
    connection: AbstractConnection,
    queue: str | Callable[[Channel], Awaitable[str]],
    read: Callable[[DeliveredMessage], _T | None],
    arguments: dict[str, Any] | None = None,
) -> AsyncIterator[Reader[_T]]:
    """Consume a queue.

    Args:
        connection: The connection.
        queue: The queue, or what declares it on the channel and returns its name.
        read: Reads a message; None passes it over.
        arguments: Those of the consumer, such as where in a stream it begins.

    Raises:
        BrokerUnavailable: The connection is gone, or the queue is not there.
    """
    channel = await open_channel(connection)
    reader = Reader(channel, read)
    try:
        name = queue if isinstance(queue, str) else await queue(channel)
        async with broker_errors("reading"):
            await channel.basic_qos(prefetch_count=PREFETCH)
            await channel.basic_consume(name, reader.on_message, arguments=arguments)
        yield reader
    finally:
        if not channel.is_closed:
            async with broker_errors("closing a channel"):
                await channel.close()
