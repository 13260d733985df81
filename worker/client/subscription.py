"""Subscribe to events: live, or from a place in the journal on.

Live events come through a queue of their own, which RabbitMQ fills by topic patterns and drops
with the connection. What happened until there is another one is then read from the journal.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from aio_pika.abc import AbstractConnection
from aiormq.abc import DeliveredMessage

from schemas.fields import routing_word
from worker.broker.connection import Channel, broker_errors
from worker.broker.journal import OFFSET, read_last_chunk
from worker.broker.reader import PREFETCH, Reader, reading
from worker.client.event import Event, read_event
from worker.client.link import Link, persistently
from worker.client.mistakes import mistakes
from worker.client.sequences import Sequences
from worker.errors import BrokerUnavailable, ConfigurationError
from worker.names import Names

#: Where in the journal to begin: an offset, a time, or ``first``.
Since = int | datetime | str

FIRST: Final = "first"

#: Events that wait to be read; beyond that RabbitMQ drops the oldest for this subscriber.
_QUEUE_LENGTH: Final = 10_000

#: How much a worker's clock, which events have, and RabbitMQ's, by which a time in the journal is
#: found, may differ; and how late an event may come after it was decided.
_TOLERANCE: Final = timedelta(seconds=60)

#: How long a connection may have been dead before that was noticed: somewhat over two heartbeats.
_UNNOTICED: Final = timedelta(seconds=30)

#: Seconds that the journal may take to give an event that it has.
_PATIENCE_SECONDS: Final = 5.0

#: Seconds of silence that tell the end of the journal; and how long it is looked for where there
#: is always more.
_QUIET_SECONDS: Final = 0.5
_LAST_CHUNK_SECONDS: Final = 1.0

_BEGINNING_OF_TIME: Final = datetime.fromtimestamp(0, UTC)
_MOST_OFFSET: Final = 2**63 - 1


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
class _Entry:
    """What has arrived: an event, or what is none, and its place in the journal if it is there."""

    offset: int | None
    event: Event | None


def _entry(message: DeliveredMessage) -> _Entry:
    offset = (message.header.properties.headers or {}).get(OFFSET)
    return _Entry(offset if isinstance(offset, int) else None, read_event(message))


@dataclass(frozen=True, slots=True)
class _Source:
    """Where events are read.

    Attributes:
        reader: What has arrived.
        closing: What is closed with it.
        earliest: What is older is left out: a stream begins somewhat before a time.
        end: The offset of the last one; None to go on for ever.
    """

    reader: Reader[_Entry]
    closing: AsyncExitStack
    earliest: datetime | None = None
    end: int | None = None


class Subscription:
    """Events in their order, copies of them left out, for as long as they are asked for.

    To be iterated, by one task: ``async for event in subscription``. Within ``async with
    subscription`` it is in force from the beginning of the block, so that no answer to what is
    done there is missed. A lost connection is opened again, for as long as that takes, and what
    happened meanwhile is read from the journal, where there is one that may be read. Who is slower
    than events come loses live ones beyond 10 000, and is told so by ``missed``; nobody is too slow
    for the journal. A timeout within an iteration ends it: begin another one.

    Args:
        link: A connection that only consumes.
        names: The installation's names.
        wanted: Which events.
        since: Where in the journal to begin; None for live events only.
        follow: Whether to go on at the end of the journal.

    Raises:
        ValueError: There is no such place.
    """

    def __init__(
        self, link: Link, names: Names, wanted: Filter, since: Since | None, *, follow: bool
    ) -> None:
        self._link = link
        self._names = names
        self._wanted = wanted
        self._since = _place(since)
        self._live = since is None
        self._begun = self._since if isinstance(self._since, datetime) else None
        self._follow = follow
        self._ended = False
        self._entered = False
        self._sources: deque[_Source] = deque()
        self._sequences = Sequences(gapless=not wanted.kinds)
        self._taken: deque[Event] = deque()

    async def __aenter__(self) -> Self:
        await persistently(self._open)
        self._entered = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ended = True
        await self._close()

    async def __aiter__(self) -> AsyncIterator[Event]:
        try:
            while self._taken or not self._ended:
                if not self._taken:
                    self._taken.extend(await self._take())
                while self._taken:
                    numbered = self._sequences.new(self._taken.popleft())
                    if numbered is not None:
                        yield numbered
        finally:
            if not self._entered:
                await self._close()

    async def _take(self) -> list[Event]:
        if not self._sources:
            await persistently(self._open)
            if not self._sources:
                return []
        source = self._sources[0]
        patience = None if source.end is None else _PATIENCE_SECONDS
        try:
            entries = await source.reader.take(PREFETCH, patience)
        except BrokerUnavailable:
            entries = []
        if not entries:
            # The connection is lost, or the journal stands still before its end.
            if self._live:
                self._since = max(_latest(self._since), datetime.now(UTC) - _UNNOTICED)
            await self._close()
            return []
        offset = entries[-1].offset
        if not self._live and offset is not None:
            self._since = offset + 1
        if source.end is not None and (offset is None or offset >= source.end):
            self._ended = not self._follow
            self._sources.popleft()
            await _closed(source)
        events = [entry.event for entry in entries if entry.event is not None]
        return [
            event
            for event in events
            if self._wanted.takes(event) and not _is_before(event, source.earliest)
        ]

    async def _open(self) -> None:
        connection = await self._link.get()
        try:
            if self._live:
                await self._open_live(connection)
            else:
                await self._open_journal(connection)
        except BaseException:
            await self._close()
            raise

    async def _open_live(self, connection: AbstractConnection) -> None:
        async def declare(channel: Channel) -> str:
            async with mistakes(self._names.events), broker_errors("subscribing"):
                declared = await channel.queue_declare(
                    exclusive=True,
                    auto_delete=True,
                    arguments={"x-max-length": _QUEUE_LENGTH, "x-overflow": "drop-head"},
                )
                name = declared.queue or ""
                for pattern in self._wanted.patterns:
                    await channel.queue_bind(name, self._names.events, pattern)
            return name

        async with AsyncExitStack() as opening:
            reader = await opening.enter_async_context(reading(connection, declare, _entry))
            self._sources.append(_Source(reader, opening.pop_all()))
        if self._since is None:
            self._since = self._begun = _whole_second(datetime.now(UTC))
            return
        # Without a journal that may be read nothing is filled in, and what is missing is told.
        with suppress(ConfigurationError):
            await self._open_journal(connection)

    async def _open_journal(self, connection: AbstractConnection) -> None:
        """Read the journal: to its end as of now where live events follow, or nothing does."""
        async with mistakes(self._names.journal):
            end = None
            if self._live or not self._follow:
                last = await read_last_chunk(
                    connection,
                    self._names.journal,
                    patience_seconds=_PATIENCE_SECONDS,
                    quiet_seconds=_QUIET_SECONDS,
                    most_seconds=_LAST_CHUNK_SECONDS,
                )
                end = last[-1].offset if last else -1
                if end < (self._since if isinstance(self._since, int) else 0):
                    self._ended = not self._follow
                    return
            beginning = {OFFSET: _beginning(self._since)}
            async with AsyncExitStack() as opening:
                stream = reading(connection, self._names.journal, _entry, beginning)
                reader = await opening.enter_async_context(stream)
                source = _Source(reader, opening.pop_all(), self._begun, end)
            self._sources.appendleft(source)

    async def _close(self) -> None:
        while self._sources:
            await _closed(self._sources.popleft())


async def _closed(source: _Source) -> None:
    # What is lost is closed.
    with suppress(BrokerUnavailable):
        await source.closing.aclose()


def _place(since: Since | None) -> Since | None:
    """Return where to begin, if there is such a place."""
    if isinstance(since, datetime):
        return max(_whole_second(since), _BEGINNING_OF_TIME)
    if since is None or since == FIRST:
        return since
    if isinstance(since, int) and not isinstance(since, bool) and 0 <= since <= _MOST_OFFSET:
        return since
    raise ValueError(f"since: expected an offset, a time or {FIRST!r}")


def _beginning(since: Since | None) -> Since:
    """Return where in the journal to begin, so that nothing is missed."""
    if isinstance(since, datetime):
        return max(since - _TOLERANCE, _BEGINNING_OF_TIME)
    return FIRST if since is None else since


def _latest(since: Since | None) -> datetime:
    return since if isinstance(since, datetime) else _BEGINNING_OF_TIME


def _is_before(event: Event, earliest: datetime | None) -> bool:
    return earliest is not None and event.decided_at is not None and event.decided_at < earliest


def _whole_second(at: datetime) -> datetime:
    """Round down, as the times of events are; without a zone it is local."""
    return at.astimezone(UTC).replace(microsecond=0)
