"""How safe a commit has to be before anything is said about it: the server's way, disk, replica."""

from collections.abc import Collection, Sequence
from typing import Any, Final

from redis.asyncio import RedisCluster

from worker.errors import StoreUnavailable
from worker.settings import Durability
from worker.store.servers import RedisClient

#: Milliseconds that a write may take to be safe; less than a round trip may take. With
#: ``appendfsync everysec`` it takes up to a second.
_WAIT_MS: Final = 1500

#: The command that waits for the writes before it on its connection, and what it waits for (Redis
#: documentation, "WAIT" and "WAITAOF").
_COMMANDS: Final[dict[Durability, tuple[str | int, ...]]] = {
    Durability.AOF: ("WAITAOF", 1, 0, _WAIT_MS),
    Durability.REPLICA: ("WAIT", 1, _WAIT_MS),
}


class Barrier:
    """Stands behind the writes of a round trip, and is passed when they are safe.

    Args:
        durability: When they are.
    """

    def __init__(self, durability: Durability) -> None:
        self._durability = durability
        self._command = _COMMANDS.get(durability)

    def __bool__(self) -> bool:
        return self._command is not None

    @property
    def command(self) -> tuple[str | int, ...]:
        """The command to send behind writes; none where nothing is waited for."""
        return self._command or ()

    async def append(self, redis: RedisClient, pipeline: Any, keys: Collection[str]) -> None:
        """Put the barrier behind the writes to some keys.

        In a cluster each node that has one of the keys gets its own.

        Raises:
            RedisError: The cluster cannot be asked who has them.
        """
        if self._command is None:
            return
        if not isinstance(redis, RedisCluster):
            pipeline.execute_command(*self._command)
            return
        # The client asks when it executes, if it has to; the barrier has to go where the writes go.
        await redis.initialize()
        nodes = {node.name: node for key in keys if (node := redis.get_node_from_key(key))}
        for node in nodes.values():
            pipeline.execute_command(*self._command, target_nodes=node)

    def options(self, redis: RedisClient) -> dict[str, bool]:
        """Return how a pipeline with the barrier in it has to be executed.

        A cluster's client would send what was redirected again, past the barrier.
        """
        if self._command is None or not isinstance(redis, RedisCluster):
            return {}
        return {"allow_redirections": False}

    def check(self, answers: Sequence[Any]) -> None:
        """Make sure that the barrier has been passed.

        Raises:
            StoreUnavailable: It has not: what was written may be lost with the server.
        """
        for answer in answers:
            reached = answer[0] if isinstance(answer, list) else answer
            if not isinstance(reached, int) or reached < 1:
                why = answer if isinstance(answer, Exception) else f"not in {_WAIT_MS} ms"
                raise StoreUnavailable(
                    f"Redis: {why} (CALL_CONTROL_DURABILITY={self._durability} needs"
                    f" {_NEEDS[self._durability]})"
                )


_NEEDS: Final = {
    Durability.AOF: "Redis 7.2 with appendonly yes and appendfsync always or everysec",
    Durability.REPLICA: "a replica that keeps up",
}
