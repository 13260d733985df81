"""Notice that Redis has lost calls: it was emptied, replaced, or set back to an earlier state.

Three things tell. A key beside the calls holds the *epoch*, a value that only an installation's
first worker and ``callctl rebuild`` write: it is read with every batch, and once it is missing or
another one, Redis is not the one it was. And each worker remembers how far it has brought each
of its latest calls: one that comes back in an earlier state has been set back. And a server that
was started again, or has taken over from another one, may lack calls that this worker does not
know: a new session compares it with the journal (``worker.regression``). Whoever notices a loss
condemns the epoch, so that all workers stop at once and none goes on before Redis is mended.

In a cluster the epoch is a key on one node; what the others lose is noticed by the other two.
"""

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from worker.errors import StoreRegressed, Unavailable
from worker.store.errors import translated_errors
from worker.store.servers import RedisClient, Servers

#: What stands before an epoch that somebody has condemned.
_CONDEMNED: Final = b"lost "

#: Calls that a worker remembers.
_MOST_REMEMBERED: Final = 20_000

# Only the epoch that was in force: a newer one is somebody's word that Redis is mended.
_CONDEMN: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], 'lost ' .. ARGV[1])
end
"""


_TIME: Final = "return redis.call('TIME')"


# Epochs have an order, even where the journal was made anew and counts from 0 again. So each has a
# number: the time by Redis' clock, and more than that of the one before it. It stands last, since
# versions that do not know it read all that follows the offset as the token.
# KEYS[1] the key; ARGV[1] the offset, ARGV[2] the token, ARGV[3] whether it may replace another.
_BEGIN: Final = """
local before = redis.call('GET', KEYS[1])
if before and ARGV[3] == '0' then
  return
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local number = tonumber(string.match(before or '', '%d+ %x+ (%d+)$') or '') or 0
local value = string.format('%s %s %.0f', ARGV[1], ARGV[2], math.max(now, number + 1))
redis.call('SET', KEYS[1], value)
"""


@dataclass(frozen=True, slots=True)
class Epoch:
    """A time in which Redis lost nothing.

    Attributes:
        offset: The journal's offset where it begins; what stands before it is not missed.
        token: Tells it from others.
        number: Is greater than that of any epoch before it; 0 where none was given to it.
    """

    offset: int
    token: str
    number: int = 0

    @classmethod
    def decode(cls, value: bytes | None) -> "Epoch | None":
        """Return the epoch that a value of the key says is in force; None if none is."""
        if value is None or value.startswith(_CONDEMNED):
            return None
        offset, _, rest = value.decode(errors="replace").partition(" ")
        token, _, number = rest.partition(" ")
        if not (offset.isdecimal() and (not number or number.isdecimal())):
            return None
        return cls(int(offset), token, int(number or 0))

    def encode(self) -> bytes:
        """Return the key's value."""
        number = f" {self.number}" if self.number else ""
        return f"{self.offset} {self.token}{number}".encode()

    def is_before(self, other: "Epoch") -> bool:
        """Tell whether this one was over when the other one began."""
        if not self.number and not other.number:
            return self.offset < other.offset
        return self.number < other.number


class Guard:
    """What one worker knows of its Redis, from session to session.

    Args:
        key: The epoch's key.
        remember_seconds: How long a committed sequence counts. Another worker may end the call,
            which then expires; so this stays well below the time for which a call is kept.

    Attributes:
        servers: What the client is told to tell its servers to.
    """

    def __init__(self, key: str, *, remember_seconds: float) -> None:
        self.key = key
        self.servers = Servers()
        self._compared: frozenset[str] = frozenset()
        self._remember_seconds = remember_seconds
        self._epoch: Epoch | None = None
        self._committed: OrderedDict[str, tuple[int, bool, float]] = OrderedDict()

    @property
    def value(self) -> bytes:
        """The key's value in this session's epoch; none if there is none."""
        return self._epoch.encode() if self._epoch else b""

    async def begin(self, redis: RedisClient) -> Epoch | None:
        """Take up the epoch in force at the start of a session; None if there never was one.

        The servers that there are now may be relied on, once the session has compared them.

        Raises:
            StoreRegressed: Redis has been condemned, or holds an epoch from before the known one.
            StoreUnavailable: Redis did not answer.
        """
        client: Any = redis
        with translated_errors():
            value: bytes | None = await client.get(self.key)
        self._compared = self.servers.known(redis)
        epoch, known = Epoch.decode(value), self._epoch
        if value is None and known is None:
            return None
        if epoch is None:
            raise StoreRegressed(_without_epoch(value))
        if known is not None and epoch.is_before(known):
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
        await _begin(redis, self.key, 0, replacing=False)

    async def look(self, redis: RedisClient) -> None:
        """Make sure that the epoch is still in force, and the servers are those of this session.

        Raises:
            StoreRegressed: Redis has lost calls.
            Unavailable: A new epoch has begun, or another server has answered.
            StoreUnavailable: Redis did not answer.
        """
        client: Any = redis
        with translated_errors():
            # A replica, which may lack calls and answers a GET, refuses this.
            value: bytes | None = await client.getex(self.key)
        self.check(redis, value)

    def check(self, redis: RedisClient, value: bytes | None) -> None:
        """Make sure of the same, with the key's value as it was found just now.

        Raises:
            StoreRegressed: Redis has lost calls.
            Unavailable: A new epoch has begun, or another server has answered.
        """
        known = self._epoch
        if known is not None and value == self.value:
            if not self.has_compared(redis):
                raise Unavailable("Redis is another server, or has been restarted")
            return
        epoch = Epoch.decode(value)
        if known is not None and epoch is not None and not epoch.is_before(known):
            raise Unavailable("Redis has been rebuilt")
        raise StoreRegressed(_without_epoch(value))

    def has_compared(self, redis: RedisClient) -> bool:
        """Tell whether the servers are those of this session."""
        return self.servers.known(redis) <= self._compared

    def knows(self, request_id: str) -> bool:
        """Tell whether this worker remembers to have committed a call."""
        return request_id in self._committed

    def committed(self, request_id: str, progress: int, *, over: bool) -> None:
        """Remember how far a call has come, and whether it is over then."""
        self._committed[request_id] = (progress, over, time.time() + self._remember_seconds)
        self._committed.move_to_end(request_id)
        if len(self._committed) > _MOST_REMEMBERED:
            self._committed.popitem(last=False)

    def forget(self, request_id: str) -> None:
        """Forget a call that cannot be read: somebody will delete its key."""
        self._committed.pop(request_id, None)

    def set_back(self, request_id: str, progress: int, *, absent: bool = False) -> bool:
        """Tell whether a call that was loaded has been further than it is.

        One that was over and is absent has expired: clocks and settings differ, so nobody can say
        that it was too early.
        """
        reached, over, until = self._committed.get(request_id, (0, False, 0.0))
        return progress < reached and time.time() < until and not (absent and over)

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
            value = self.value
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


async def write_epoch(redis: RedisClient, key: str, offset: int) -> None:
    """Begin an epoch at an offset of the journal: workers go on with what Redis holds.

    Raises:
        StoreUnavailable: Redis did not answer.
    """
    await _begin(redis, key, offset, replacing=True)


async def _begin(redis: RedisClient, key: str, offset: int, *, replacing: bool) -> None:
    client: Any = redis
    with translated_errors():
        await client.eval(_BEGIN, 1, key, offset, secrets.token_hex(8), int(replacing))
