"""Looking through the dead letters without taking them: each is handed back, or removed at last.

A queue can only be looked through by taking what is in it. It comes a page at a time, each page to
a consumer of its own, none of which is given more than its prefetch. When the channel ends, by
closing or by a crash, RabbitMQ hands back what was not removed, consumer by consumer, and it stands
again where it stood. (``basic.nack`` would not do: before 4.0 what it hands back is in no order.)
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError, PublishError
from aiormq.abc import DeliveredMessage
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from worker.broker.connection import Channel, broker_errors, close, connect, open_channel
from worker.broker.deadletters import DeadLetter, read_dead_letter
from worker.errors import BrokerUnavailable, ConfigurationError
from worker.names import Names
from worker.settings import Settings

#: Dead letters that are in memory at once, at least.
PAGE: Final = 500

#: RabbitMQ hands back in the order of its consumers only while a channel has no more than these.
_CONSUMERS: Final = 32

#: The largest prefetch there is (AMQP 0-9-1: a short integer).
_MOST_PREFETCH: Final = 65_535

#: Commands that are published at once, and the seconds that their confirms may take.
_BATCH: Final = 500
_CONFIRM_SECONDS: Final = 30.0

#: Seconds to wait for whoever has dead letters at the moment; RabbitMQ itself takes a few
#: milliseconds to notice that a channel is gone.
_BUSY_SECONDS: Final = 5.0

#: Seconds that handing back may take.
_HAND_BACK_SECONDS: Final = 30.0

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
        self._page = min(max(PAGE, -(-count // _CONSUMERS)), _MOST_PREFETCH)
        self._arrived: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
        self._consumers = 0
        self._seen = 0
        self._removed = 0

    async def pages(self) -> AsyncIterator[list[DeadLetter]]:
        """Go through the dead letters, oldest first, in pages of what has arrived.

        Those that are added while it goes on are left alone.

        Raises:
            BrokerUnavailable: Some do not come: somebody took them, or the connection is gone.
        """
        while self._seen < self.count:
            if self._seen - self._removed >= self._page * self._consumers:
                await self._consume()
            yield [read_dead_letter(message) for message in await self._arrivals()]

    async def _consume(self) -> None:
        async with broker_errors("reading the dead letters"):
            await self._channel.basic_qos(prefetch_count=self._page)
            await self._channel.basic_consume(
                self._queue, self._on_delivery, consumer_tag=_consumer_tag(self._consumers)
            )
        self._consumers += 1

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

    async def replay(self, letters: Iterable[DeadLetter]) -> list[tuple[DeadLetter, str]]:
        """Publish dead letters as the commands they were; remove what RabbitMQ has confirmed.

        Returns:
            Those it refused, which stay, and why.

        Raises:
            BrokerUnavailable: Some are not confirmed, and may have been published or not; they
                stay.
            ConfigurationError: The exchange of one is not there.
        """
        refused: list[tuple[DeadLetter, str]] = []
        for batch in _batches(letters):
            async with broker_errors("replaying dead letters", _CONFIRM_SECONDS):
                results = await asyncio.gather(*map(self._publish, batch), return_exceptions=True)
            confirmed: list[DeadLetter] = []
            for letter, result in zip(batch, results, strict=True):
                if result is None:
                    confirmed.append(letter)
                elif isinstance(result, DeliveryError):
                    unroutable = isinstance(result, PublishError)
                    why = "no queue takes it" if unroutable else "its queue is full"
                    refused.append((letter, why))
                elif isinstance(result, ChannelNotFoundEntity):
                    raise ConfigurationError(f"there is no exchange {letter.exchange}")
                else:
                    raise BrokerUnavailable(f"RabbitMQ: {result} (while replaying)") from result
            await self.remove(confirmed)
        return refused

    async def _publish(self, letter: DeadLetter) -> None:
        message = letter.again()
        await self._publisher.basic_publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=message.properties,
            mandatory=True,
            wait=False,
        )

    async def remove(self, letters: Sequence[DeadLetter]) -> None:
        """Remove dead letters for good."""
        async with broker_errors("removing dead letters"):
            for letter in letters:
                await self._channel.basic_ack(letter.tag, wait=False)
        self._removed += len(letters)

    async def close(self) -> None:
        """Hand back what has not been removed.

        RabbitMQ passes acknowledgements on to the queue in its own time, and drops with a channel
        those that still wait. It waits itself for the queue to answer a cancellation, which comes
        behind them.

        Raises:
            BrokerUnavailable: The connection is gone, and everything handed back with it.
        """
        async with broker_errors("handing dead letters back", _HAND_BACK_SECONDS):
            for number in range(self._consumers):
                await self._channel.basic_cancel(_consumer_tag(number))
            await self._channel.close()


def _consumer_tag(number: int) -> str:
    return f"callctl.{number:02}"


def _batches(letters: Iterable[DeadLetter]) -> Iterable[Iterable[DeadLetter]]:
    """Split what is published at once so that no two in a batch have one ``message_id``.

    aiormq tells by it which message it was that no queue takes.
    """
    batches: list[dict[str, DeadLetter]] = []
    for letter in letters:
        key = letter.message_id or letter.id
        batch = next((one for one in batches if len(one) < _BATCH and key not in one), None)
        if batch is None:
            batch = {}
            batches.append(batch)
        batch[key] = letter
    return [batch.values() for batch in batches]


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
        letters = DeadLetterQueue(channel, publisher, name, await _count(channel, name))
        try:
            yield letters
        finally:
            await letters.close()
    finally:
        await close(connection)


class _Busy(BrokerUnavailable):
    """Raised while somebody else has a part of the dead letters, so that the rest is not all."""


@retry(
    retry=retry_if_exception_type(_Busy),
    wait=wait_fixed(0.1),
    stop=stop_after_delay(_BUSY_SECONDS),
    reraise=True,
)
async def _count(channel: Channel, queue: str) -> int:
    try:
        async with broker_errors("reading the dead letters"):
            found = await channel.queue_declare(queue, passive=True)
    except BrokerUnavailable as error:
        if isinstance(error.__cause__, ChannelNotFoundEntity):
            raise ConfigurationError(f"there is no queue {queue}: has a worker ever run?") from None
        raise
    if found.consumer_count:
        raise _Busy(f"somebody else is reading {queue}, and has some of it: try again later")
    return found.message_count or 0
