"""Subscribe to events: live, or from a place in the journal on.

Live events come through a queue of their own, which RabbitMQ fills by topic patterns and drops
with the connection. What happened until there is another one is then read from the journal.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from aio_pika.abc import AbstractConnection

from schemas.fields import routing_word
from worker.broker.connection import broker_errors, open_channel
from worker.broker.journal import OFFSET, read_last_chunk
from worker.broker.reader import PREFETCH, Reader, reading
from worker.client.event import Event, read_event
from worker.client.link import Link, persistently
from worker.client.mistakes import mistakes
from worker.client.sequences import Sequences
from worker.errors import BrokerUnavailable
from worker.names import Names

#: Where in the journal to begin: an offset, a time, or ``first``.
Since = int | datetime | str

#: Events that wait to be read; beyond that RabbitMQ drops the oldest for this subscriber.
_QUEUE_LENGTH: Final = 10_000

#: How much a worker's clock, which events have, and RabbitMQ's, by which a time in the journal is
#: found, may differ; and how late an event may come after it was decided.
_TOLERANCE: Final = timedelta(seconds=60)

#: Seconds that the journal may take to give an event that it has.
_PATIENCE_SECONDS: Final = 5.0

#: Seconds of silence that tell the end of the journal.
_QUIET_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are wanted: those of a call, of some kinds, or all.

    Attributes:
        request_id: The call; None for every call.
        kinds: The canonical events; empty for every kind.
    """

    request_id: str | None = None
    kinds: frozenset[str] = frozenset()

    @property
    def patterns(self) -> list[str]:
        """The topic patterns that let them through."""
        call = "*" if self.request_id is None else routing_word(self.request_id)
        return [f"{kind}.{call}" for kind in sorted(self.kinds) or "*"]

    def takes(self, event: Event) -> bool:
        """Tell whether an event is wanted."""
        return self.request_id in (None, event.request_id) and (
            not self.kinds or event.kind in self.kinds
        )


@dataclass(frozen=True, slots=True)
class _Source:
    """Where events are read.

    Attributes:
        reader: What has arrived.
        closing: What is closed with it.
        earliest: What is older is left out: a stream begins somewhat before a time.
        end: The offset of the last one; None to go on for ever.
    """

    reader: Reader[Event]
    closing: AsyncExitStack
    earliest: datetime | None = None
    end: int | None = None


class Subscription:
    """Events in their order, copies of them left out, for as long as they are asked for.

    To be iterated, ``async for event in subscription``; within ``async with subscription`` it is
    in force from the beginning of the block, so that no answer to what is done there is missed.
    A lost connection is opened again, and what happened meanwhile read from the journal.

    Args:
        link: A connection that only consumes.
        names: The installation's names.
        wanted: Which events.
        since: Where in the journal to begin; None for live events only.
        follow: Whether to go on at the end of the journal.
    """

    def __init__(
        self, link: Link, names: Names, wanted: Filter, since: Since | None, *, follow: bool
    ) -> None:
        self._link = link
        self._names = names
        self._wanted = wanted
        self._since = _whole_second(since) if isinstance(since, datetime) else since
        self._live = since is None
        self._follow = follow
        self._ended = False
        self._sources: deque[_Source] = deque()
        self._sequences = Sequences(gapless=not wanted.kinds)
        self._entered = False

    async def __aenter__(self) -> Self:
        await persistently(self._open)
        self._entered = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def __aiter__(self) -> AsyncIterator[Event]:
        try:
            while not self._ended:
                for event in await self._take():
                    numbered = self._sequences.new(event) if self._wanted.takes(event) else None
                    if numbered is not None:
                        yield numbered
        finally:
            if not self._entered:
                await self._close()

    async def _take(self) -> list[Event]:
        if not self._sources:
            await persistently(self._open)
        source = self._sources[0]
        patience = None if source.end is None else _PATIENCE_SECONDS
        try:
            events = await source.reader.take(PREFETCH, patience)
        except BrokerUnavailable:
            await self._close()
            return []
        for event in events:
            self._note(event)
        if source.end is not None and (not events or (events[-1].offset or 0) >= source.end):
            self._sources.popleft()
            await source.closing.aclose()
            self._ended = not self._follow
        return [event for event in events if not _is_before(event, source.earliest)]

    def _note(self, event: Event) -> None:
        """Remember where to go on after the connection is lost."""
        if not self._live and event.offset is not None:
            self._since = event.offset + 1
        elif self._live and event.decided_at is not None:
            self._since = event.decided_at

    async def _open(self) -> None:
        connection = await self._link.get()
        source = self._names.events if self._live else self._names.journal
        try:
            async with mistakes(source):
                await self._open_on(connection)
        except BaseException:
            await self._close()
            raise

    async def _open_on(self, connection: AbstractConnection) -> None:
        if self._live:
            await self._open_live(connection)
        elif self._follow:
            await self._add_journal(connection, None)
        else:
            self._ended = not await self._add_what_there_is(connection)

    async def _open_live(self, connection: AbstractConnection) -> None:
        async with AsyncExitStack() as opening:
            queue = await opening.enter_async_context(
                _queue(connection, self._names.events, self._wanted.patterns)
            )
            reader = await opening.enter_async_context(reading(connection, queue, read_event))
            self._sources.append(_Source(reader, opening.pop_all()))
        if self._since is None:
            self._since = _whole_second(datetime.now(UTC))
        else:
            await self._add_what_there_is(connection)

    async def _add_what_there_is(self, connection: AbstractConnection) -> bool:
        """Read the journal up to its end as of now; tell whether there is anything in it."""
        last = await read_last_chunk(
            connection,
            self._names.journal,
            patience_seconds=_PATIENCE_SECONDS,
            quiet_seconds=_QUIET_SECONDS,
            most_seconds=_PATIENCE_SECONDS,
        )
        if last:
            await self._add_journal(connection, last[-1].offset)
        return bool(last)

    async def _add_journal(self, connection: AbstractConnection, end: int | None) -> None:
        closing = AsyncExitStack()
        beginning = {OFFSET: _beginning(self._since)}
        stream = reading(connection, self._names.journal, read_event, beginning)
        reader = await closing.enter_async_context(stream)
        earliest = self._since if isinstance(self._since, datetime) else None
        self._sources.appendleft(_Source(reader, closing, earliest, end))

    async def _close(self) -> None:
        while self._sources:
            # What is lost is closed.
            with suppress(BrokerUnavailable):
                await self._sources.popleft().closing.aclose()


@asynccontextmanager
async def _queue(
    connection: AbstractConnection, exchange: str, patterns: list[str]
) -> AsyncIterator[str]:
    channel = await open_channel(connection)
    try:
        async with broker_errors("subscribing"):
            declared = await channel.queue_declare(
                exclusive=True,
                auto_delete=True,
                arguments={"x-max-length": _QUEUE_LENGTH, "x-overflow": "drop-head"},
            )
            name = declared.queue or ""
            for pattern in patterns:
                await channel.queue_bind(name, exchange, pattern)
        yield name
    finally:
        if not channel.is_closed:
            async with broker_errors("closing a channel"):
                await channel.close()


def _is_before(event: Event, earliest: datetime | None) -> bool:
    return earliest is not None and event.decided_at is not None and event.decided_at < earliest


def _whole_second(at: datetime) -> datetime:
    """Round down, as the times of events are."""
    return at.astimezone(UTC).replace(microsecond=0)


def _beginning(since: Since | None) -> Since:
    """Return where in the journal to begin, so that nothing is missed."""
    return since - _TOLERANCE if isinstance(since, datetime) else since or 0
