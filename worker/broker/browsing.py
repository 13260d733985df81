"""Looking through the dead letters without taking them: each is handed back, or removed at last.

A queue can only be looked through by taking what is in it. It comes a page at a time, each page to
a consumer of its own, none of which is given more than fits its prefetch. At the end all that was
not removed is handed back one by one, in its order, and stands again where it stood. A process
that is killed meanwhile hands back everything, what it was about to remove included.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError, PublishError
from aiormq.abc import DeliveredMessage

from worker.broker.connection import Channel, broker_errors, close, connect, open_channel
from worker.broker.deadletters import DeadLetter, read_dead_letter
from worker.errors import BrokerUnavailable, ConfigurationError
from worker.names import Names
from worker.settings import Settings

#: Dead letters that are in memory at once.
PAGE: Final = 500

#: Seconds that handing back may take; a hundred thousand take less than ten.
_HAND_BACK_SECONDS: Final = 120.0

#: Seconds that the next dead letter may take to come.
_QUIET_SECONDS: Final = 10.0


class DeadLetterQueue:
    """The dead letters of an installation, as they were when it was opened.

    Args:
        channel: A channel of its own, on which nothing has been delivered yet.
        publisher: A channel with confirms.
        queue: The queue's name.
        count: The dead letters in it.
    """

    def __init__(self, channel: Channel, publisher: Channel, queue: str, count: int) -> None:
        self._channel = channel
        self._publisher = publisher
        self._queue = queue
        self.count = count
        self._arrived: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
        self._consumers: list[str] = []
        self._seen = 0
        self._removed = 0

    async def pages(self) -> AsyncIterator[list[DeadLetter]]:
        """Go through the dead letters, oldest first, in pages of what has arrived.

        Those that are added while it goes on are left alone.

        Raises:
            BrokerUnavailable: Some do not come: somebody took them, or the connection is gone.
        """
        while self._seen < self.count:
            if self._seen - self._removed >= PAGE * len(self._consumers):
                await self._consume()
            yield [read_dead_letter(message) for message in await self._arrivals()]

    async def _consume(self) -> None:
        tag = f"callctl.{len(self._consumers):06}"
        async with broker_errors("reading the dead letters"):
            await self._channel.basic_consume(self._queue, self._on_delivery, consumer_tag=tag)
        self._consumers.append(tag)

    async def _on_delivery(self, message: DeliveredMessage) -> None:
        self._arrived.put_nowait(message)

    async def _arrivals(self) -> list[DeliveredMessage]:
        """Wait for deliveries, and return all that have arrived, of those that were counted."""
        try:
            async with asyncio.timeout(_QUIET_SECONDS):
                page = [await self._arrived.get()]
        except TimeoutError:
            raise BrokerUnavailable(
                f"RabbitMQ: only {self._seen} of {self.count} dead letters came: somebody else has"
                " the rest, or the connection is lost"
            ) from None
        while not self._arrived.empty():
            page.append(self._arrived.get_nowait())
        del page[self.count - self._seen :]
        self._seen += len(page)
        return page

    async def replay(self, letter: DeadLetter) -> str | None:
        """Publish a dead letter as the command it was; remove it when RabbitMQ has confirmed that.

        One after the other, since two may have one ``message_id``, by which aiormq tells which of
        those under way a message was that no queue takes.

        Returns:
            Why it was refused and stays; None when it is gone.

        Raises:
            BrokerUnavailable: It is not confirmed, and may have been published or not; it stays.
            ConfigurationError: Its exchange is not there.
        """
        message = letter.again()
        try:
            async with broker_errors("replaying a dead letter"):
                await self._publisher.basic_publish(
                    message.body,
                    exchange=message.exchange,
                    routing_key=message.routing_key,
                    properties=message.properties,
                    mandatory=True,
                )
        except PublishError:
            return "no queue takes it"
        except DeliveryError:
            return "its queue is full"
        except BrokerUnavailable as error:
            if isinstance(error.__cause__, ChannelNotFoundEntity):
                raise ConfigurationError(f"there is no exchange {letter.exchange}") from None
            raise
        await self.remove([letter])
        return None

    async def remove(self, letters: Sequence[DeadLetter]) -> None:
        """Remove dead letters for good."""
        async with broker_errors("removing dead letters"):
            for letter in letters:
                await self._channel.basic_ack(letter.tag, wait=False)
        self._removed += len(letters)

    async def hand_back(self) -> None:
        """Put everything that was not removed back in its place.

        The channel's end would do it too, but a consumer at a time and those in no order.

        Raises:
            BrokerUnavailable: The connection is gone, and everything handed back with it.
        """
        async with broker_errors("handing dead letters back", _HAND_BACK_SECONDS):
            for consumer in self._consumers:
                await self._channel.basic_cancel(consumer)
            # All that is unacknowledged; RabbitMQ hands it back by consumer tag.
            await self._channel.basic_nack(0, multiple=True, requeue=True)
            await self._channel.close()


@asynccontextmanager
async def open_dead_letters(settings: Settings) -> AsyncIterator[DeadLetterQueue]:
    """Open the dead letters of the installation that the settings name; hand back what is left.

    Raises:
        BrokerUnavailable: RabbitMQ cannot be reached, or somebody else has the dead letters.
        ConfigurationError: There is no such queue.
    """
    name = Names(settings.namespace).dead_letters
    connection = await connect(settings.amqp_url.get_secret_value(), "callctl dead")
    try:
        channel = await open_channel(connection)
        publisher = await open_channel(connection, confirms=True)
        count = await _count(channel, name)
        queue = DeadLetterQueue(channel, publisher, name, count)
        try:
            yield queue
        finally:
            await queue.hand_back()
    finally:
        await close(connection)


async def _count(channel: Channel, queue: str) -> int:
    """Return how many dead letters there are, and make ready to read them."""
    try:
        async with broker_errors("reading the dead letters"):
            await channel.basic_qos(prefetch_count=PAGE)
            found = await channel.queue_declare(queue, passive=True)
    except BrokerUnavailable as error:
        if isinstance(error.__cause__, ChannelNotFoundEntity):
            raise ConfigurationError(f"there is no queue {queue}: has a worker ever run?") from None
        raise
    if found.consumer_count:
        raise BrokerUnavailable(
            f"somebody else is reading {queue}, and has some of it: try again in a moment"
        )
    return found.message_count or 0
