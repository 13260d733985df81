"""Commands on which workers may have crashed: who processes one, and never came to its end.

RabbitMQ counts how often a command has come back, but a crash returns everything a worker had in
hand, the guilty command and its innocent neighbours alike. So a command that has come back often
is processed alone, and noted here first; a note that is still there belongs to a worker that died.
"""

from typing import Any, Final

from worker.store.errors import translated_errors
from worker.store.servers import RedisClient

#: How long a note is kept that nobody came back to, in seconds.
_KEPT_SECONDS: Final = 86_400


class Suspects:
    """The notes of one installation: per partition, whose next command is the suspect.

    Args:
        redis: The client; it belongs to the caller.
        prefix: What stands before the partition's number in a key.
        worker: This worker's name, unique to the process.
    """

    def __init__(self, redis: RedisClient, *, prefix: str, worker: str) -> None:
        self._redis: Any = redis
        self._prefix = prefix
        self._worker = worker
        self._noted: set[int] = set()

    async def begin(self, partition: int) -> int:
        """Note that this worker is about to process a suspect; return how many died doing so.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        key = self._key(partition)
        self._noted.add(partition)
        with translated_errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.sadd(key, self._worker)
            pipeline.expire(key, _KEPT_SECONDS)
            pipeline.scard(key)
            _, _, workers = await pipeline.execute()
        return int(workers) - 1

    async def finish(self, partition: int) -> None:
        """Forget a partition's notes: its suspect has been answered.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        with translated_errors():
            await self._redis.delete(self._key(partition))
        self._noted.discard(partition)

    async def withdraw(self) -> None:
        """Take back this worker's notes: it lost a service, but it lives.

        Raises:
            StoreUnavailable: Redis did not answer; to be tried again before commands are taken.
        """
        for partition in sorted(self._noted):
            with translated_errors():
                await self._redis.srem(self._key(partition), self._worker)
            self._noted.discard(partition)

    def _key(self, partition: int) -> str:
        return f"{self._prefix}{partition:02d}"
