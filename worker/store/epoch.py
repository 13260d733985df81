"""Notice that Redis has lost calls: it was emptied, replaced, or set back to an earlier state.

Two things tell. A key beside the calls holds the *epoch*, a value that only an installation's
first worker and ``callctl rebuild`` write: it is read with every batch, and once it is missing or
another one, Redis is not the one it was. And each worker remembers which sequence it has committed
of its latest calls: one that comes back with a lower sequence has been set back. Whoever notices
that condemns the epoch, so that all workers stop at once and none goes on before Redis is mended.

In a cluster the epoch is a key on one node; what the others lose is noticed by the sequences.
"""

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from worker.errors import StoreRegressed, Unavailable
from worker.store.connection import RedisClient
from worker.store.errors import translated_errors

#: What stands before an epoch that somebody has condemned.
_CONDEMNED: Final = b"lost "

#: Calls whose sequences a worker remembers.
_MOST_REMEMBERED: Final = 20_000

# Only the epoch that was in force: a newer one is somebody's word that Redis is mended.
_CONDEMN: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], 'lost ' .. ARGV[1])
end
"""


_TIME: Final = "return redis.call('TIME')"


@dataclass(frozen=True, slots=True)
class Epoch:
    """A time in which Redis lost nothing.

    Attributes:
        offset: The journal's offset where it begins; what stands before it is not missed.
        token: Tells it from others.
    """

    offset: int
    token: str

    @classmethod
    def beginning_at(cls, offset: int) -> "Epoch":
        """Return a new epoch."""
        return cls(offset, secrets.token_hex(8))

    @classmethod
    def decode(cls, value: bytes | None) -> "Epoch | None":
        """Return the epoch that a value of the key says is in force; None if none is."""
        if value is None or value.startswith(_CONDEMNED):
            return None
        offset, _, token = value.decode(errors="replace").partition(" ")
        return cls(int(offset), token) if offset.isdecimal() else None

    def encode(self) -> bytes:
        """Return the key's value."""
        return f"{self.offset} {self.token}".encode()


class Guard:
    """What one worker knows of its Redis, from session to session.

    Args:
        key: The epoch's key.
        remember_seconds: How long a committed sequence counts. Another worker may end the call,
            which then expires; so this stays well below the time for which a call is kept.
    """

    def __init__(self, key: str, *, remember_seconds: float) -> None:
        self.key = key
        self._remember_seconds = remember_seconds
        self._epoch: Epoch | None = None
        self._committed: OrderedDict[str, tuple[int, bool, float]] = OrderedDict()

    async def begin(self, redis: RedisClient) -> Epoch | None:
        """Take up the epoch in force at the start of a session; None if there never was one.

        Raises:
            StoreRegressed: Redis has been condemned, or holds an epoch from before the known one.
            StoreUnavailable: Redis did not answer.
        """
        client: Any = redis
        with translated_errors():
            value: bytes | None = await client.get(self.key)
        epoch, known = Epoch.decode(value), self._epoch
        if value is None and known is None:
            return None
        if epoch is None:
            raise StoreRegressed(_without_epoch(value))
        if known is not None and epoch.offset < known.offset:
            await self.condemn(redis, value or b"")
            raise StoreRegressed("it was set back to an earlier epoch")
        if epoch != known:
            # Somebody has spoken for what Redis holds now.
            self._committed.clear()
        self._epoch = epoch
        return epoch

    async def now(self, redis: RedisClient) -> float:
        """Return the time by Redis' clock, by which keys expire, in seconds since the epoch.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        client: Any = redis
        with translated_errors():
            # By way of the key, which tells a cluster's node.
            seconds, microseconds = await client.eval(_TIME, 1, self.key)
        return int(seconds) + int(microseconds) / 1e6

    async def found(self, redis: RedisClient) -> None:
        """Begin the first epoch of an installation, unless another worker has just done so.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        client: Any = redis
        with translated_errors():
            await client.set(self.key, Epoch.beginning_at(0).encode(), nx=True)

    async def look(self, redis: RedisClient) -> None:
        """Make sure that the epoch is still in force.

        Raises:
            StoreRegressed: Redis has lost calls.
            Unavailable: A new epoch has begun.
            StoreUnavailable: Redis did not answer.
        """
        client: Any = redis
        with translated_errors():
            value: bytes | None = await client.get(self.key)
        self.check(value)

    def check(self, value: bytes | None) -> None:
        """Make sure that the key's value is the epoch of this session.

        Raises:
            StoreRegressed: Redis has lost calls.
            Unavailable: A new epoch has begun.
        """
        known = self._epoch
        if known is not None and value == known.encode():
            return
        epoch = Epoch.decode(value)
        if known is not None and epoch is not None and epoch.offset >= known.offset:
            raise Unavailable("Redis has been rebuilt")
        raise StoreRegressed(_without_epoch(value))

    def committed(self, request_id: str, sequence: int, *, over: bool) -> None:
        """Remember which sequence a call has reached, and whether it is over then."""
        self._committed[request_id] = (sequence, over, time.time() + self._remember_seconds)
        self._committed.move_to_end(request_id)
        if len(self._committed) > _MOST_REMEMBERED:
            self._committed.popitem(last=False)

    def forget(self, request_id: str) -> None:
        """Forget a call that cannot be read: somebody will delete its key."""
        self._committed.pop(request_id, None)

    def set_back(self, request_id: str, sequence: int, *, absent: bool = False) -> bool:
        """Tell whether a call that was loaded with a sequence has been further than that.

        One that was over and is absent has expired: clocks and settings differ, so nobody can say
        that it was too early.
        """
        reached, over, until = self._committed.get(request_id, (0, False, 0.0))
        return sequence < reached and time.time() < until and not (absent and over)

    async def condemn(self, redis: RedisClient, value: bytes | None = None) -> None:
        """Let no worker go on with this Redis.

        Args:
            redis: The client.
            value: What the key holds; by default the epoch of this session.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        client: Any = redis
        if value is None:
            value = self._epoch.encode() if self._epoch else b""
        with translated_errors():
            await client.eval(_CONDEMN, 1, self.key, value)


def _without_epoch(value: bytes | None) -> str:
    if value is None:
        return "it was emptied or replaced"
    if value.startswith(_CONDEMNED):
        return "a worker has found calls in an earlier state"
    return "it is in another epoch"


async def read_epoch(redis: RedisClient, key: str) -> Epoch | None:
    """Return the epoch in force, if one is.

    Raises:
        StoreUnavailable: Redis did not answer.
    """
    client: Any = redis
    with translated_errors():
        return Epoch.decode(await client.get(key))


async def write_epoch(redis: RedisClient, key: str, epoch: Epoch) -> None:
    """Begin an epoch: workers go on with what Redis holds.

    Raises:
        StoreUnavailable: Redis did not answer.
    """
    client: Any = redis
    with translated_errors():
        await client.set(key, epoch.encode())
