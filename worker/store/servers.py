"""Tell servers apart, so that none takes another's place, or comes back with less, unnoticed.

Each start of a server has a ``run_id``, and each promotion begins a history with a
``master_replid`` of its own (Redis documentation, "INFO"). A client needs a new connection for a
server that was started again or has taken over, so each new connection asks for both; what a proxy
does behind one that it keeps is not seen. In a cluster a connection may have been opened while its
server was a replica: there the names of the primaries count too.
"""

import re
from contextlib import suppress
from typing import Any, Final

from redis.asyncio import Redis, RedisCluster

from worker.errors import StoreUnavailable
from worker.store.errors import translated_errors

RedisClient = Redis | RedisCluster

_IDENTITY: Final = re.compile(rb"^(?:run_id|master_replid):(\w+)", re.MULTILINE)


class Servers:
    """The servers that one client has been connected to."""

    def __init__(self) -> None:
        self._met: dict[str, set[str]] = {}

    async def greet(self, connection: Any) -> None:
        """Set a new connection up, and ask who is there; redis-py's ``redis_connect_func``.

        Raises:
            RedisError: The server does not say; redis-py drops the connection then.
        """
        await connection.on_connect()
        await connection.send_command("INFO", "server", "replication")
        identity = b" ".join(_IDENTITY.findall(await connection.read_response())).decode()
        self._met.setdefault(f"{connection.host}:{connection.port}", set()).add(identity)

    def known(self, redis: RedisClient) -> frozenset[str]:
        """Return those that have served calls under the URL; of a cluster, those that do now."""
        if isinstance(redis, Redis):
            return frozenset(identity for met in self._met.values() for identity in met)
        names = {str(node.name) for node in redis.get_primaries()}
        met = ((name, identity) for name in names for identity in self._met.get(name, ()))
        return frozenset(names) | {" ".join(each) for each in met}


async def reconnect(redis: RedisClient) -> None:
    """Connect anew from now on, and find out who serves calls.

    A server that was demoted to a replica keeps its connections, and answers READONLY on them
    for ever; the name in the URL may lead to its successor by now. A cluster's client does not
    look for the successor of a node when that fails in a pipeline, but does in a single command.
    """
    if isinstance(redis, Redis):
        await redis.connection_pool.disconnect(inuse_connections=False)
        return
    with suppress(StoreUnavailable), translated_errors():
        await redis.initialize()
    for node in redis.get_primaries():
        with suppress(StoreUnavailable), translated_errors():
            await redis.ping(target_nodes=node)
