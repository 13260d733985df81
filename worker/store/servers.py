"""Tell servers apart, so that none takes another's place, or comes back with less, unnoticed.

Each start of a server has a ``run_id`` of its own (Redis documentation, "INFO"). A client needs a
new connection for a server that was started again or has taken over from another one, and so each
new connection asks for it. In a cluster a connection may have been opened while its server was a
replica: there the primaries count, by name, and the ``run_id`` of each.
"""

import asyncio
import re
from typing import Any, Final

from redis.asyncio import RedisCluster

from worker.store.errors import translated_errors

_RUN_ID: Final = re.compile(rb"^run_id:(\w+)", re.MULTILINE)


class Servers:
    """The servers that one client has been connected to."""

    def __init__(self) -> None:
        self._latest = ""
        self._run_ids: dict[str, str] = {}

    async def greet(self, connection: Any) -> None:
        """Set a new connection up, and ask who is there; redis-py's ``redis_connect_func``.

        Raises:
            RedisError: The server does not say; redis-py drops the connection then.
        """
        await connection.on_connect()
        await connection.send_command("INFO", "server")
        found = _RUN_ID.search(await connection.read_response())
        self._latest = found[1].decode() if found else ""
        self._run_ids[f"{connection.host}:{connection.port}"] = self._latest

    async def present(self, redis: Any) -> frozenset[str]:
        """Return those that serve calls now, after asking them all, where there are many.

        One that does not answer is another one when it does.

        Raises:
            StoreUnavailable: A cluster does not say which they are.
        """
        if isinstance(redis, RedisCluster):
            with translated_errors():
                await redis.initialize()
            pings = (redis.ping(target_nodes=node) for node in redis.get_primaries())
            await asyncio.gather(*pings, return_exceptions=True)
        return self.known(redis)

    def known(self, redis: Any) -> frozenset[str]:
        """Return those that serve calls now, as far as the client knows."""
        if not isinstance(redis, RedisCluster):
            return frozenset({self._latest})
        names = (node.name for node in redis.get_primaries())
        return frozenset(f"{name} {self._run_ids.get(name)}" for name in names)
