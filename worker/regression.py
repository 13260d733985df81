"""Make sure, before a session takes commands, that Redis has lost nothing while nobody looked."""

import time
from dataclasses import dataclass
from typing import Final

from aio_pika.abc import AbstractConnection

from worker.broker.journal import Entry, read_journal
from worker.core.call import State
from worker.errors import StoreRegressed
from worker.settings import Settings
from worker.store import CallStore, RedisClient, StoredCall
from worker.store.epoch import Epoch, Guard

#: How long a journal has to be silent to count as empty, in seconds.
_EMPTY_SECONDS: Final = 2.0

#: How long the journal's first answer, and its next, is waited for, in seconds.
_FIRST_SECONDS: Final = 0.3
_NEXT_SECONDS: Final = 0.1

#: Entries before the last chunk that are compared with Redis.
_TAIL: Final = 500

_FINISHED: Final = frozenset({State.ABSENT.value, State.ENDED.value})


@dataclass(frozen=True, slots=True)
class Watch:
    """Compares a journal with Redis.

    Args:
        connection: A connection to RabbitMQ.
        journal: The journal's name.
        redis: The client.
        store: The calls.
        guard: What this worker knows of its Redis.
        settings: The installation's settings.
    """

    connection: AbstractConnection
    journal: str
    redis: RedisClient
    store: CallStore
    guard: Guard
    settings: Settings

    async def begin(self, *, journal_is_new: bool) -> None:
        """Take up the epoch in force, or found the first one.

        Raises:
            StoreRegressed: Redis lacks what the journal holds.
            StoreUnavailable: Redis did not answer.
            BrokerUnavailable: The connection is gone.
        """
        epoch = await self.guard.begin(self.redis)
        if epoch is None and not journal_is_new:
            epoch = await self._epoch_of_a_journal()
        if epoch is None:
            await self.guard.found(self.redis)
            await self.guard.begin(self.redis)
        else:
            await self._compare(epoch)

    async def _epoch_of_a_journal(self) -> Epoch | None:
        """Return the epoch, which another worker may be founding just now; None for no events.

        Raises:
            StoreRegressed: There are events, and no epoch they belong to.
        """
        deadline = time.monotonic() + _EMPTY_SECONDS
        async with read_journal(self.connection, self.journal, "last") as reader:
            while True:
                events = await reader.take(1, _NEXT_SECONDS)
                # Asked in this order: an epoch is founded before its first event.
                epoch = await self.guard.begin(self.redis)
                if epoch is not None or time.monotonic() > deadline:
                    return epoch
                if events:
                    raise StoreRegressed("it was emptied or replaced")

    async def _compare(self, epoch: Epoch) -> None:
        """Compare the journal's end with Redis, which is always ahead of it."""
        entries, whole = await self._tail(epoch.offset)
        latest = {entry.request_id: entry for entry in entries if entry.sequence}
        kept = {
            request_id: entry.sequence
            for request_id, entry in latest.items()
            if self._is_kept(entry, whole=whole)
        }
        loaded = await self.store.load(dict.fromkeys(kept, ()))
        for request_id, sequence in kept.items():
            stored = loaded[request_id]
            if isinstance(stored, StoredCall) and stored.call.sequence < sequence:
                await self.guard.condemn(self.redis)
                raise StoreRegressed(f"the journal has newer events of call {request_id}")

    async def _tail(self, start: int) -> tuple[list[Entry], bool]:
        """Return the journal's last entries from ``start`` on, and whether they are all."""
        async with read_journal(self.connection, self.journal, "last") as reader:
            last_chunk = await reader.take(1, _FIRST_SECONDS)
        if not last_chunk:
            return [], True
        last = last_chunk[0].offset
        entries: list[Entry] = []
        deadline = time.monotonic() + _EMPTY_SECONDS
        start = max(start, last - _TAIL)
        async with read_journal(self.connection, self.journal, start) as reader:
            while time.monotonic() < deadline:
                more = await reader.take(_TAIL, _NEXT_SECONDS)
                entries += more
                if not more and (start > last or (entries and entries[-1].offset >= last)):
                    return entries, True
        return entries, False

    def _is_kept(self, entry: Entry, *, whole: bool) -> bool:
        """Tell whether Redis must still have the call, however far clocks are apart.

        Where later events may not have been read, the call may have ended with one of them.
        """
        ended, idle = self.settings.ended_retention_seconds, self.settings.idle_expiry_seconds
        seconds = idle if whole and entry.call_state not in _FINISHED else min(ended, idle)
        return entry.at is not None and time.time() < entry.at.timestamp() + seconds / 2
