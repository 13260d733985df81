"""A Redis client for a URL: one server, a primary behind Sentinel, or a cluster."""

from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from worker.errors import ConfigurationError
from worker.store.servers import RedisClient, Servers

#: Seconds that one round trip may take before its outcome counts as unknown.
SOCKET_TIMEOUT_SECONDS: Final = 2.0

#: What a URL may say about TLS, as in redis-py.
_TLS_FILES: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})

#: What a URL says about a user of the Sentinels; who is before the hosts is a user of the servers.
_SENTINEL_USER: Final = {"sentinel_username": "username", "sentinel_password": "password"}

_SENTINEL_PORT: Final = 26379
_REDIS_PORT: Final = 6379


def connect(url: str, servers: Servers | None = None) -> RedisClient:
    """Return a client; the first command opens its connection.

    Retrying is left to the caller: redis-py's own default runs a script ten times again.

    Args:
        url: ``redis://`` or ``rediss://`` as in redis-py, ``redis+sentinel://host:port,…/name/db``
            (with ``?sentinel_username=…&sentinel_password=…``, percent-encoded, where the Sentinels
            know users) or ``redis+cluster://host:port,…``; ``rediss+…`` for TLS.
        servers: Told of every server that a connection leads to.

    Raises:
        ConfigurationError: The URL is none of these.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        # What it says may hold the password.
        raise ConfigurationError("CALL_CONTROL_REDIS_URL: not a URL") from None
    base, _, kind = parts.scheme.partition("+")
    if base not in {"redis", "rediss"} or kind not in {"", "sentinel", "cluster"}:
        raise ConfigurationError(
            "CALL_CONTROL_REDIS_URL: expected redis://, redis+sentinel:// or redis+cluster://"
        )
    if problem := _misplaced(parts, kind):
        raise ConfigurationError(f"CALL_CONTROL_REDIS_URL: {problem}")
    greeting: dict[str, Any] = {} if servers is None else {"redis_connect_func": servers.greet}
    options: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": SOCKET_TIMEOUT_SECONDS,
    }
    try:
        if kind == "sentinel":
            return _behind_sentinel(parts, options | _tls(parts), greeting)
        if kind == "cluster":
            return _in_cluster(parts, options | _tls(parts), greeting)
        # Its pool opens a connection where none is free, up to a hundred; one that waits for a free
        # one takes its time over every command.
        client: Redis = Redis.from_url(url, **options, **greeting)
    except ValueError as error:
        raise ConfigurationError(f"CALL_CONTROL_REDIS_URL: {error}") from None
    return client


async def close(client: RedisClient) -> None:
    """Close a client, and those of the Sentinels it asked, which redis-py leaves open."""
    pool = getattr(client, "connection_pool", None)
    await client.aclose()
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _tls(parts: SplitResult) -> dict[str, Any]:
    if not parts.scheme.startswith("rediss"):
        return {}
    given = {name: value for name, value in parse_qsl(parts.query) if name in _TLS_FILES}
    return {"ssl": True, **given}


def _misplaced(parts: SplitResult, kind: str) -> str | None:
    """Tell what is wrong with the credentials in a query, without showing any."""
    if parts.fragment:
        # It would cut a password short.
        return "# is percent-encoded in a URL (%23)"
    if "sentinel_password" in parts.netloc + parts.path:
        # It would be taken for a host, a port or a database, and be shown as such.
        return "sentinel_password goes behind a question mark"
    if kind != "sentinel" and any(name in parts.query for name in _SENTINEL_USER):
        return "sentinel_username and sentinel_password need redis+sentinel://"
    return None


def _sentinel_credentials(parts: SplitResult) -> dict[str, Any]:
    # As before the hosts, and unlike in a form, + is no blank.
    given = (item.partition("=") for item in parts.query.split("&"))
    return {
        _SENTINEL_USER[name]: unquote(value) for name, _, value in given if name in _SENTINEL_USER
    }


def _credentials(parts: SplitResult) -> dict[str, Any]:
    found = {"username": parts.username, "password": parts.password}
    return {name: unquote(value) for name, value in found.items() if value}


def _hosts(parts: SplitResult, default_port: int) -> list[tuple[str, int]]:
    hosts = []
    for item in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{item}")
        hosts.append((one.hostname or "127.0.0.1", one.port or default_port))
    return hosts


def _behind_sentinel(
    parts: SplitResult, options: dict[str, Any], greeting: dict[str, Any]
) -> RedisClient:
    name, _, database = parts.path.strip("/").partition("/")
    if not name:
        raise ValueError("redis+sentinel:// needs the primary's name as its path")
    hosts, user = _hosts(parts, _SENTINEL_PORT), _sentinel_credentials(parts)
    sentinel: Any = Sentinel(hosts, sentinel_kwargs=options | user)  # type: ignore[no-untyped-call]  # redis-py leaves the class untyped
    client: Redis = sentinel.master_for(
        name, db=int(database or 0), **options, **greeting, **_credentials(parts)
    )
    return client


def _in_cluster(
    parts: SplitResult, options: dict[str, Any], greeting: dict[str, Any]
) -> RedisClient:
    nodes = [ClusterNode(host, port) for host, port in _hosts(parts, _REDIS_PORT)]
    client = RedisCluster(startup_nodes=nodes, **options, **_credentials(parts))
    # The one option of a connection that the class does not pass on. What it keeps is for nodes
    # that it will hear of; each of those it begins with has a copy.
    client.connection_kwargs.update(greeting)
    for node in client.startup_nodes:
        node.connection_kwargs.update(greeting)
    return client
