"""Restore Redis from the journal: what it has lost comes back, what it has stays.

Each event carries its message's record and in it the call as that message left it, so any event
restores its call by itself, and as often as it is read. The rest is the workers' doing: from
the moment in which Redis loses something none of them acknowledges a command (``Guard``). So a
command whose event is in the journal finds its record again, and any other comes back, is decided
on the same state, and has the same outcome.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from aio_pika.abc import AbstractConnection
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from schemas.contract import EventName
from schemas.events import Request
from schemas.wire import RECORD_HEADER, RECORD_ID_HEADER
from worker.broker import connection as broker
from worker.broker.declaring import is_there
from worker.broker.journal import Entry, read_journal, read_last_chunk
from worker.broker.reader import Reader
from worker.core.call import Call
from worker.errors import BrokerUnavailable, ConfigurationError, CorruptCall, StoreUnavailable
from worker.names import Names
from worker.settings import Settings
from worker.store import CallStore, RedisClient, Servers, close, connect, reconnect
from worker.store.codec import Record, decode_record, record_field, short_id
from worker.store.epoch import read_epoch, write_epoch
from worker.store.restoring import Restoration, restore

#: Entries that are restored in one round trip, at most.
_CHUNK: Final = 2000

#: How often reading may be interrupted: by a lost connection, or by a server that is starting.
_ATTEMPTS: Final = 10

#: How long the journal may take for its first entry, and for each before its last, in seconds.
#: Where it takes longer it may be empty, or slow; nothing is concluded from that.
_PATIENCE_SECONDS: Final = 20.0

#: Its last chunk is read for so long, in seconds, to find out what the last entry is.
_LAST_CHUNK_SECONDS: Final = 3.0

#: Behind its last entry, the journal's end is where it is silent for so long, in seconds, …
_QUIET_SECONDS: Final = 1.0

#: … or what is behind it when its last chunk has been read for so long, in seconds: workers go on.
_TAIL_SECONDS: Final = 10.0


_REMEDY: Final = "let them go on with what Redis holds: `callctl rebuild --accept-loss`"


@dataclass(slots=True)
class Report:
    """What has been done.

    Attributes:
        events: Events read, copies included, and what had to be read again.
        calls: Calls that were missing, or in an earlier state.
        records: Records that were missing.
        expired: Events of calls that are not kept any more.
        unreadable: Events without a record that can be read, and calls whose key holds something
            else.
        new_epoch: Whether workers were told to go on; there is no need to when nothing was lost.
    """

    events: int = 0
    calls: int = 0
    records: int = 0
    expired: int = 0
    unreadable: int = 0
    new_epoch: bool = False


#: Called with the number of entries that have been read and of those that there are, about.
Progress = Callable[[int, int], None]


async def rebuild(settings: Settings, progress: Progress, *, accept_loss: bool = False) -> Report:
    """Restore what Redis lacks, and begin a new epoch if it lacked anything.

    Args:
        settings: The installation's settings.
        progress: Told how far it has come.
        accept_loss: Restore nothing: begin a new epoch with what Redis holds.

    Raises:
        ConfigurationError: There is no journal.
        BrokerUnavailable: RabbitMQ cannot be reached, or was lost too often; or the journal was not
            read to its end. No epoch has begun then.
        StoreUnavailable: Redis cannot be reached, refuses to write, or was lost too often.
    """
    servers = Servers()
    redis = connect(settings.redis_url.get_secret_value(), servers)
    retrying = AsyncRetrying(
        retry=retry_if_exception_type((BrokerUnavailable, StoreUnavailable)),
        wait=wait_random_exponential(multiplier=0.2, max=5.0),
        stop=stop_after_attempt(_ATTEMPTS),
        reraise=True,
    )
    try:
        rebuilding = _Rebuilding(redis, servers, settings, progress)
        for _ in range(_ATTEMPTS):
            await retrying(rebuilding.read, accept_loss=accept_loss)
            if rebuilding.silent and not accept_loss:
                # Workers would go on with an empty Redis, if the journal is only slow.
                raise BrokerUnavailable(
                    f"RabbitMQ: the journal gave no event within {_PATIENCE_SECONDS:g} s, so "
                    "nothing was restored, and workers that wait go on waiting: repeat "
                    f"`callctl rebuild`, or, if the journal is empty, {_REMEDY}"
                )
            done: bool = await retrying(rebuilding.finish, accept_loss=accept_loss)
            if done:
                return rebuilding.report
        raise StoreUnavailable("Redis: it was always another server in the end")
    finally:
        await close(redis)


class _Rebuilding:
    """How far it has come, from connection to connection.

    It begins again where Redis is another server meanwhile, or has been restarted: that may lack
    what has been restored.
    """

    def __init__(
        self, redis: RedisClient, servers: Servers, settings: Settings, progress: Progress
    ) -> None:
        self.report = Report()
        self._redis = redis
        self._servers = servers
        self._known: frozenset[str] | None = None
        self._settings = settings
        self._names = Names(settings.namespace)
        self._store = CallStore.of(redis, settings)
        self._progress = progress
        self._first: int | None = None
        self._next: int | None = None
        self._last: int | None = None
        self._has_events = False
        # Milliseconds are more than any count of commits.
        self._version = time.time_ns() // 1_000_000
        self._longest_seconds = max(settings.ended_retention_seconds, settings.idle_expiry_seconds)

    @property
    def silent(self) -> bool:
        """Whether the journal has given no event, be it empty or slow."""
        return not self._has_events

    @property
    def _same_servers(self) -> bool:
        return self._known is not None and self._servers.known(self._redis) <= self._known

    async def read(self, *, accept_loss: bool) -> None:
        """Read the journal to its end, and restore what is in it."""
        await reconnect(self._redis)
        await read_epoch(self._redis, self._names.epoch)
        if not self._same_servers:
            self._known = self._servers.known(self._redis)
            self._first = self._next = None
            self._has_events = False
        url = self._settings.amqp_url.get_secret_value()
        connection = await broker.connect(url, "callctl rebuild")
        try:
            if not await is_there(connection, self._names.journal):
                raise ConfigurationError(
                    f"there is no journal {self._names.journal}: has a worker ever run?"
                )
            await self._find_end(connection)
            if self._last is None:
                return
            start: int | str = "last" if accept_loss else "first"
            if self._next is not None:
                start = self._next
            async with read_journal(connection, self._names.journal, start) as reader:
                await self._read(reader, self._last, restoring=not accept_loss)
        finally:
            await broker.close(connection)

    async def _find_end(self, connection: AbstractConnection) -> None:
        entries = await read_last_chunk(
            connection,
            self._names.journal,
            patience_seconds=_PATIENCE_SECONDS,
            quiet_seconds=_QUIET_SECONDS,
            most_seconds=_LAST_CHUNK_SECONDS,
        )
        if entries:
            self._last = entries[-1].offset

    async def _read(self, reader: Reader[Entry], last: int, *, restoring: bool) -> None:
        end: float | None = None
        while end is None or time.monotonic() < end:
            at_end = self._next is not None and self._next > last
            if at_end and end is None:
                end = time.monotonic() + _TAIL_SECONDS
            entries = await reader.take(_CHUNK, _QUIET_SECONDS if at_end else _PATIENCE_SECONDS)
            if not entries:
                if at_end:
                    return
                raise BrokerUnavailable(
                    "RabbitMQ: the journal stands still before its end, so workers that wait go on "
                    "waiting: repeat `callctl rebuild`, which restores what is missing yet, or "
                    f"{_REMEDY}"
                )
            events = [entry for entry in entries if entry.tells_of_a_call]
            self._has_events |= bool(events)
            if restoring:
                await self._restore(events)
            if self._first is None:
                self._first = entries[0].offset
            self._next = entries[-1].offset + 1
            self._progress(self._next - self._first, max(last + 1, self._next) - self._first)

    async def _restore(self, entries: Sequence[Entry]) -> None:
        found: Found = {}
        now = time.time()
        expired = unreadable = 0
        for entry in entries:
            if entry.at is not None and entry.at.timestamp() + self._longest_seconds < now:
                expired += 1
            elif not collect(entry, found):
                unreadable += 1
        restorations = list(chain.from_iterable(found.values()))
        for each in restorations:
            if each.at + self._store.kept_ms(each.call) <= now * 1000:
                # It goes all the same: Redis may have it in an earlier state, which is kept longer.
                expired += len(each.records)
                each.records.clear()
        done = await restore(self._redis, self._store, restorations, self._version)
        for each, written in zip(restorations, done, strict=True):
            if written is None:
                unreadable += 1
            elif each.records:
                self.report.calls += written.changed
                self.report.records += written.records
        self.report.events += len(entries)
        self.report.expired += expired
        self.report.unreadable += unreadable

    async def finish(self, *, accept_loss: bool) -> bool:
        """Begin a new epoch where there is a reason to.

        Returns:
            Whether it is done; False where Redis is another server now, and may lack anything.
        """
        in_force = await read_epoch(self._redis, self._names.epoch)
        changed = bool(self.report.calls or self.report.records)
        if self._same_servers and (in_force is None or changed or accept_loss):
            await write_epoch(self._redis, self._names.epoch, self._next or 0)
            self.report.new_epoch = True
        return self._same_servers


#: What the journal says of calls: under each name its calls, one after the other.
Found = dict[str, list[Restoration]]


def collect(entry: Entry, found: Found) -> bool:
    """Add what an event says of its call; return whether it says anything that can be read."""
    record_id = entry.text(RECORD_ID_HEADER)
    value = entry.text(RECORD_HEADER)
    record = _read_record(entry.request_id, record_id, value)
    if record is None:
        return False
    is_first = _is_first(record, record_id)
    calls = found.setdefault(entry.request_id, [])
    if not calls or (is_first and record.at > calls[-1].latest):
        # A call begins, be it one whose name an expired one had. Or it is a copy of its beginning,
        # and what was seen of the call stays: Redis knows more of it, and tells them apart.
        calls.append(Restoration(Call(entry.request_id), 0))
    each = calls[-1]
    progress, name = record.call.progress, record_field(record_id)
    # Of copies the first one counts; the others differ in nothing.
    if name not in each.records or progress > each.records[name][0]:
        each.records[name] = progress, value
    if is_first:
        each.began = record.at
    if progress > each.call.progress:
        each.call, each.at = record.call, record.at
    # Not that of the last event: workers' clocks differ.
    each.latest = max(each.latest, record.at)
    return True


def _read_record(request_id: str, record_id: str, value: str) -> Record | None:
    try:
        record = decode_record(value.encode(), request_id, Request(record_id))
    except CorruptCall:
        return None
    tells = record.events or record.call.pending
    return record if request_id and record_id and tells else None


def _is_first(record: Record, record_id: str) -> bool:
    """Tell whether a call began with a message; before any other there has been a command."""
    first, pending = (record.events or (None,))[0], record.call.pending
    if record.call.sequence > len(record.events):
        return False
    if pending is not None and short_id(pending.request.id) != record_id:
        return False
    if first is None or first.name is EventName.CALL_OFFERED:
        return True
    return first.answers is not None and short_id(first.answers.id) == record_id
