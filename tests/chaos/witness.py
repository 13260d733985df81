"""Sees what leaves the workers: a subscriber, the journal, and in the end Redis.

Events are read from the wire by code of the tests' own; Redis is read through the worker's codec
(``CallStore.history``). A field that the codec left out or mixed up, alike in writing and in
reading, would not be seen here. That what is written comes back as it was, is for its own tests:
``tests/unit/test_codec.py`` and ``tests/integration/test_store.py``.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import CONNECTION_EXCEPTIONS
from aiormq.abc import DeliveredMessage

from tests.chaos.history import Event, Stored
from tests.chaos.timeline import Timeline
from worker.broker.connection import (
    Channel,
    broker_errors,
    close,
    connect,
    open_channel,
    until_lost,
)
from worker.broker.topology import MARK
from worker.errors import BrokerUnavailable
from worker.store import CallStore

#: Far more events than a run has, so that none is dropped: dropping is for slow subscribers.
_QUEUE_LENGTH: Final = 10_000_000

#: Events under way to a reader at a time.
_PREFETCH: Final = 1000

#: Seconds between a lost connection and the next.
_AGAIN_SECONDS: Final = 0.2

#: Seconds without another entry after which the journal's end is reached.
_END_SECONDS: Final = 3.0


class _Interned:
    """Keeps equal events once: the subscriber's and the journal's are the same ones, mostly."""

    def __init__(self) -> None:
        self._known: dict[Event, Event] = {}

    def __call__(self, event: Event) -> Event:
        return self._known.setdefault(event, event)


class Witness:
    """A subscriber with a durable queue of its own, which reads the journal afterwards.

    Args:
        amqp_url: RabbitMQ, by no proxy.
        events: The events exchange.
        journal: The journal.
        timeline: Where it is noted when a command is answered.
    """

    def __init__(self, amqp_url: str, *, events: str, journal: str, timeline: Timeline) -> None:
        #: What the subscriber got, in the order of arrival.
        self.seen: list[Event] = []
        self._url = amqp_url
        self._events = events
        self._journal = journal
        self._timeline = timeline
        self._interned = _Interned()
        self._subscribed = asyncio.Event()

    @property
    def queue(self) -> str:
        """The subscriber's queue."""
        return f"{self._events}.witness"

    async def subscribed(self) -> None:
        """Wait until it is subscribed for the first time."""
        await self._subscribed.wait()

    async def subscribe(self) -> None:
        """Subscribe until cancelled, and again whenever the connection is lost."""
        while True:
            connection: AbstractConnection | None = None
            try:
                connection = await connect(self._url, "witness")
                await self._consume(connection)
                self._subscribed.set()
                await until_lost(connection)
            except BrokerUnavailable:
                await asyncio.sleep(_AGAIN_SECONDS)
            finally:
                if connection is not None:
                    await close(connection)

    async def _consume(self, connection: AbstractConnection) -> None:
        channel = await open_channel(connection)

        async def on_event(message: DeliveredMessage) -> None:
            event = self._interned(Event.of(message))
            self._timeline.answered(event.answers or event.request_id)
            self.seen.append(event)
            await _acknowledge(channel, message)

        async with broker_errors("subscribing"):
            await channel.queue_declare(
                self.queue,
                durable=True,
                arguments={
                    "x-queue-type": "quorum",
                    # Or after a lost connection it might be given later events before those that
                    # were on their way to its predecessor.
                    "x-single-active-consumer": True,
                    "x-max-length": _QUEUE_LENGTH,
                    "x-overflow": "drop-head",
                },
            )
            await channel.queue_bind(self.queue, self._events, "#")
            await channel.basic_qos(prefetch_count=_PREFETCH)
            await channel.basic_consume(self.queue, on_event)

    async def read_journal(self) -> list[Event]:
        """Read the journal from its first entry to its last.

        Resumed behind the last entry read when the connection is lost meanwhile.
        """
        entries: list[Event] = []
        offset: int | None = None
        while True:
            with suppress(BrokerUnavailable):
                connection = await connect(self._url, "witness of the journal")
                try:
                    async for message in _stream(connection, self._journal, offset):
                        if message.header.properties.message_type != MARK:
                            entries.append(self._interned(Event.of(message)))
                        offset = _offset(message) + 1
                    if not connection.is_closed:
                        return entries
                finally:
                    await close(connection)

    async def remove(self) -> None:
        """Delete the subscriber's queue."""
        connection = await connect(self._url, "witness")
        channel = await open_channel(connection)
        async with broker_errors("deleting a queue"):
            await channel.queue_delete(self.queue)
        await close(connection)


async def _acknowledge(channel: Channel, message: DeliveredMessage) -> None:
    # On a channel that is gone it comes again, and is a copy.
    with suppress(*CONNECTION_EXCEPTIONS):
        await channel.basic_ack(message.delivery_tag or 0, wait=False)


async def _stream(
    connection: AbstractConnection, name: str, offset: int | None
) -> AsyncIterator[DeliveredMessage]:
    """Yield the entries of a stream from an offset on, or all, until none come any more."""
    channel = await open_channel(connection)
    arrived: asyncio.Queue[DeliveredMessage] = asyncio.Queue()

    async def on_entry(message: DeliveredMessage) -> None:
        arrived.put_nowait(message)
        await _acknowledge(channel, message)

    async with broker_errors("reading the journal"):
        await channel.basic_qos(prefetch_count=_PREFETCH)
        start = "first" if offset is None else offset
        await channel.basic_consume(name, on_entry, arguments={"x-stream-offset": start})
    with suppress(TimeoutError):
        while True:
            yield await asyncio.wait_for(arrived.get(), _END_SECONDS)


def _offset(message: DeliveredMessage) -> int:
    return int(str((message.header.properties.headers or {})["x-stream-offset"]))


async def read_calls(store: CallStore, calls: Sequence[str]) -> dict[str, Stored]:
    """Read calls from Redis with their records.

    Raises:
        CorruptCall: One of them is not a call.
        StoreUnavailable: Redis did not answer.
    """
    found: dict[str, Stored] = {}
    # One at a time: redis-py's cluster client closes connections under tasks that share it.
    for request_id in calls:
        history = await store.history(request_id)
        if history is not None:
            call, records = history
            found[request_id] = Stored(
                call.state.value,
                call.held,
                call.muted,
                call.origin,
                call.destination,
                call.sequence,
                {
                    message_id: tuple(event.message_id for event in record.events)
                    for message_id, record in records
                },
            )
    return found
