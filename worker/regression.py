"""Make sure, before a session takes commands, that Redis has lost nothing while nobody looked."""

import time
from dataclasses import dataclass
from typing import Final

from aio_pika.abc import AbstractConnection

from worker.broker.journal import Entry, leave_mark, read_journal, read_last_chunk
from worker.errors import BrokerUnavailable, StoreRegressed
from worker.store import CallStore, RedisClient, StoredCall
from worker.store.calls import FINISHED
from worker.store.epoch import Epoch, Guard

#: How long the journal may be silent before a mark is left in it, in seconds.
_SILENT_SECONDS: Final = 0.2

#: How long that mark may take to come back, in seconds.
_MARK_SECONDS: Final = 10.0

#: The last chunk's end is where it is silent for so long, in seconds, …
_QUIET_SECONDS: Final = 0.2

#: … or where it has been read for so long, in seconds: where workers publish, there is always more.
_LAST_CHUNK_SECONDS: Final = 0.5

#: Entries before the last chunk that are compared with Redis, and how long reading them may take,
#: in seconds.
_TAIL: Final = 500
_TAIL_SECONDS: Final = 10.0


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
            BrokerUnavailable: Nobody can tell whether there are, or the connection is gone.
        """
        deadline = time.monotonic() + _MARK_SECONDS
        mark = None
        async with read_journal(self.connection, self.journal, "first") as reader:
            while time.monotonic() < deadline:
                entries = await reader.take(_TAIL, _SILENT_SECONDS)
                # Asked in this order: an epoch is founded before its first event.
                epoch = await self.guard.begin(self.redis)
                if epoch is not None:
                    return epoch
                if any(entry.tells_of_a_call for entry in entries):
                    raise StoreRegressed("it was emptied or replaced")
                if mark is None:
                    mark = await leave_mark(self.connection, self.journal)
                elif any(entry.mark == mark for entry in entries):
                    return None
        raise BrokerUnavailable("RabbitMQ: the journal does not say whether it is empty")

    async def _compare(self, epoch: Epoch) -> None:
        """Compare the journal's end with Redis, which is always ahead of it.

        Only what is younger than any call's expiry counts, and by half, since clocks differ: an
        older call may have expired, and another one may have its name. A call that is over expires
        when the worker that ended it said, whose settings may have been others: that it is not
        there tells nothing.
        """
        tail = await self._tail(epoch.offset)
        since = await self.guard.now(self.redis) - self.store.clock_tolerance_ms / 1000
        latest: dict[str, Entry] = {}
        for entry in tail:
            known = latest.get(entry.request_id)
            if (
                entry.at is not None
                and entry.at.timestamp() > since
                and (known is None or entry.sequence > known.sequence)
            ):
                latest[entry.request_id] = entry
        loaded = await self.store.load(dict.fromkeys(latest, ()))
        for request_id, entry in latest.items():
            stored = loaded[request_id]
            if not isinstance(stored, StoredCall) or (stored.is_absent and _is_over(entry)):
                continue
            if stored.call.sequence < entry.sequence:
                await self.guard.condemn(self.redis)
                raise StoreRegressed(f"the journal has newer events of call {request_id}")

    async def _tail(self, start: int) -> list[Entry]:
        """Return the journal's last entries, none from before ``start``.

        What is published while this reads is not missed: its worker watches over Redis itself.

        Raises:
            BrokerUnavailable: They did not arrive in time, or the connection is gone.
        """
        last_chunk = await self._last_chunk(_SILENT_SECONDS)
        if not last_chunk:
            await leave_mark(self.connection, self.journal)
            last_chunk = await self._last_chunk(_MARK_SECONDS)
        if not last_chunk:
            raise BrokerUnavailable("RabbitMQ: the journal does not say whether it is empty")
        if last_chunk[-1].offset < start:
            return []
        start = max(start, last_chunk[0].offset - _TAIL)
        entries: list[Entry] = []
        deadline = time.monotonic() + _TAIL_SECONDS
        async with read_journal(self.connection, self.journal, start) as reader:
            while not entries or entries[-1].offset < last_chunk[-1].offset:
                more = await reader.take(_TAIL, deadline - time.monotonic())
                if not more:
                    raise BrokerUnavailable("RabbitMQ: the journal stands still before its end")
                entries += more
        return entries

    async def _last_chunk(self, patience_seconds: float) -> list[Entry]:
        return await read_last_chunk(
            self.connection,
            self.journal,
            patience_seconds=patience_seconds,
            quiet_seconds=_QUIET_SECONDS,
            most_seconds=_LAST_CHUNK_SECONDS,
        )


def _is_over(entry: Entry) -> bool:
    """Tell whether an event left its call ended, or never begun: both are kept for as long."""
    return entry.text("call_state") in FINISHED
