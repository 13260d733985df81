"""Make sure, before a session takes commands, that Redis has lost nothing while nobody looked."""

import time
from dataclasses import dataclass
from typing import Final

from aio_pika.abc import AbstractConnection

from worker.broker.journal import Entry, read_journal
from worker.errors import StoreRegressed
from worker.store import CallStore, RedisClient, StoredCall
from worker.store.epoch import Epoch, Guard

#: How long a journal has to be silent to count as empty, in seconds.
_EMPTY_SECONDS: Final = 2.0

#: How long the journal's first answer, and its next, is waited for, in seconds.
_FIRST_SECONDS: Final = 0.3
_NEXT_SECONDS: Final = 0.1

#: Entries before the last chunk that are compared with Redis, and how long they are read.
_TAIL: Final = 500
_TAIL_SECONDS: Final = 2.0

#: How long the last chunk is read at most, in seconds: where workers publish, there is always more.
_LAST_CHUNK_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Watch:
    """Compares a journal with Redis.

    Args:
        connection: A connection to RabbitMQ.
        journal: The journal's name.
        redis: The client.
        store: The calls.
        guard: What this worker knows of its Redis.
    """

    connection: AbstractConnection
    journal: str
    redis: RedisClient
    store: CallStore
    guard: Guard

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
        """Compare the journal's end with Redis, which is always ahead of it.

        Only what is younger than any call's expiry counts, and by half, since clocks differ: an
        older call may have ended and expired, and another one may have its name.
        """
        since = time.time() - self.store.clock_tolerance_ms / 1000
        reached: dict[str, int] = {}
        for entry in await self._tail(epoch.offset):
            if entry.at is not None and entry.at.timestamp() > since:
                reached[entry.request_id] = max(entry.sequence, reached.get(entry.request_id, 0))
        loaded = await self.store.load(dict.fromkeys(reached, ()))
        for request_id, sequence in reached.items():
            stored = loaded[request_id]
            if isinstance(stored, StoredCall) and stored.call.sequence < sequence:
                await self.guard.condemn(self.redis)
                raise StoreRegressed(f"the journal has newer events of call {request_id}")

    async def _tail(self, start: int) -> list[Entry]:
        """Return the journal's last entries, none from before ``start``."""
        async with read_journal(self.connection, self.journal, "last") as reader:
            last_chunk = await reader.take(1, _FIRST_SECONDS)
        if not last_chunk:
            return []
        last = last_chunk[0].offset
        entries: list[Entry] = []
        deadline = time.monotonic() + _TAIL_SECONDS
        async with read_journal(self.connection, self.journal, max(start, last - _TAIL)) as reader:
            patience = _FIRST_SECONDS
            while time.monotonic() < deadline and (more := await reader.take(_TAIL, patience)):
                entries += more
                if entries[-1].offset >= last:
                    deadline = min(deadline, time.monotonic() + _LAST_CHUNK_SECONDS)
                patience = _NEXT_SECONDS
        return entries
