"""Heartbeats in a Redis sorted set, and the number of partitions that all workers agree on."""

from importlib.resources import files
from typing import Any, Final

from worker.errors import PartitionMismatch
from worker.store.errors import translated_errors
from worker.store.servers import RedisClient

_BEAT: Final = files("worker.membership").joinpath("beat.lua").read_text()


class Heartbeat:
    """One worker's heartbeat.

    Args:
        redis: The client; it belongs to the caller.
        key: The sorted set.
        worker: This worker's name, unique to the process.
        lapse_seconds: The age at which a heartbeat counts no more.
    """

    def __init__(self, redis: RedisClient, *, key: str, worker: str, lapse_seconds: float) -> None:
        self._redis: Any = redis
        self._key = key
        self.worker = worker
        self._lapse_ms = int(lapse_seconds * 1000)

    async def beat(self) -> frozenset[str]:
        """Show that this worker lives, and return all that do.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        return await self._run(self.worker)

    async def others(self) -> frozenset[str]:
        """Return the workers that live, without announcing this one.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        return await self._run()

    async def leave(self) -> None:
        """Take this worker out at once instead of letting its heartbeat lapse.

        Raises:
            StoreUnavailable: Redis did not answer; the heartbeat will lapse.
        """
        with translated_errors():
            await self._redis.zrem(self._key, self.worker)

    async def _run(self, *worker: str) -> frozenset[str]:
        with translated_errors():
            members = await self._redis.eval(_BEAT, 1, self._key, self._lapse_ms, *worker)
        return frozenset(member.decode() for member in members)


async def claim_partition_count(redis: RedisClient, key: str, count: int) -> None:
    """Record the number of partitions, or make sure that it is the recorded one.

    Workers that disagree about it would leave commands in queues that nobody consumes.

    Raises:
        PartitionMismatch: Another number is in force.
        StoreUnavailable: Redis did not answer.
    """
    client: Any = redis
    with translated_errors():
        await client.set(key, count, nx=True)
        in_force = int(await client.get(key) or count)
    if in_force != count:
        raise PartitionMismatch(
            f"CALL_CONTROL_PARTITIONS: {count} is set, but {in_force} is in force here (Redis key"
            f" {key}); a worker with another number would leave commands unconsumed"
        )
