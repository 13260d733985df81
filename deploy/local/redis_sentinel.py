"""A Redis primary with replicas, and the Sentinels that promote one when it dies."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from deploy.local.errors import ServerFailedError
from deploy.local.redis import CONFIG, RedisProcess, asked, wait_agreed
from deploy.local.runtime import Runtime

#: What the Sentinels call the primary.
NAME = "calls"

_SENTINELS = 3
_QUORUM = 2

#: Silence after which a Sentinel takes a server for dead, and time between two attempts at a
#: failover, in milliseconds. On a machine that all servers share, silence of a second is common.
_DOWN_AFTER_MS = 3_000
_FAILOVER_MS = 3_000


class RedisSentinel:
    """A primary, its replicas, and three Sentinels.

    Args:
        runtime: Where the programs come from.
        directory: Where their configuration and data are; made here.
        replicas: The number of replicas.
        password: What the Sentinels ask everybody for, each other included; "" for nothing.

    Attributes:
        servers: The handles (``services.Server``) of the primary and the replicas.
        sentinels: Those of the Sentinels.
    """

    def __init__(
        self, runtime: Runtime, directory: Path, replicas: int, password: str = ""
    ) -> None:
        self._password = password or None
        files = {"replicas.conf": (CONFIG / "replicas.conf").read_text()}
        options = ("--include", "replicas.conf")
        self.servers = [
            RedisProcess(runtime, directory / f"redis-{number}", *options, files=files)
            for number in range(1 + replicas)
        ]
        self.sentinels = [
            RedisProcess(
                runtime,
                directory / f"sentinel-{number}",
                *("--sentinel", "--requirepass", password),
            )
            for number in range(_SENTINELS)
        ]

    @property
    def url(self) -> str:
        """The address for clients."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        url = f"redis+sentinel://{hosts}/{NAME}/0"
        if self._password is None:
            return url
        return f"{url}?sentinel_password={quote(self._password, safe='')}"

    def start(self) -> None:
        """Start everything, and wait until the replicas follow and the Sentinels watch.

        Raises:
            ServerFailedError: they did not find each other.
        """
        for each in (*self.servers, *self.sentinels):
            each.begin()
        for each in (*self.servers, *self.sentinels):
            each.wait()
        primary, *replicas = self.servers
        for replica in replicas:
            asked(replica.port, "REPLICAOF", "127.0.0.1", primary.port)
        for sentinel in self.sentinels:
            self.ask(sentinel, "SENTINEL", "MONITOR", NAME, "127.0.0.1", primary.port, _QUORUM)
            for option, milliseconds in (
                ("down-after-milliseconds", _DOWN_AFTER_MS),
                ("failover-timeout", _FAILOVER_MS),
            ):
                self.ask(sentinel, "SENTINEL", "SET", NAME, option, milliseconds)
        wait_agreed(self._watched, "the Sentinels do not watch", self.sentinels[0])

    def discard(self) -> None:
        """End everything at once, data no longer wanted."""
        for each in (*self.sentinels, *self.servers):
            each.kill()

    @property
    def primary(self) -> RedisProcess:
        """The server that the Sentinels send clients to.

        Raises:
            ServerFailedError: they do not agree at the moment.
        """
        named = self._named()
        for server in self.servers:
            if named == {server.port}:
                return server
        raise ServerFailedError(f"the Sentinels name no primary\n{self.sentinels[0].log()}")

    @property
    def replicas(self) -> list[RedisProcess]:
        """The running servers that follow the primary."""
        primary = self.primary.port
        return [
            each
            for each in self.servers
            if each.running
            and (role := asked(each.port, "ROLE"))[0] == b"slave"
            and role[2] == primary
        ]

    def wait_promoted(self, former: RedisProcess) -> RedisProcess:
        """Return the primary that all Sentinels name instead of a former one.

        Raises:
            ServerFailedError: none was promoted in time.
        """

        def promoted() -> bool:
            named = self._named()
            return (
                len(named) == 1
                and former.port not in named
                and asked(self.primary.port, "ROLE")[0] == b"master"
            )

        wait_agreed(promoted, "no replica was promoted", self.sentinels[0])
        return self.primary

    def wait_following(self, server: RedisProcess) -> None:
        """Wait until a server follows the primary, as a former one does once it is back.

        Raises:
            ServerFailedError: it does not.
        """
        wait_agreed(lambda: server in self.replicas, "it follows nobody", server)

    def ask(self, sentinel: RedisProcess, *command: str | int) -> Any:
        """Return a Sentinel's answer to one command, as it is on the wire.

        Raises:
            redis.RedisError: it is not there, or refuses.
        """
        return asked(sentinel.port, *command, password=self._password)

    def _named(self) -> set[int]:
        answers = [
            self.ask(each, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
            for each in self.sentinels
            if each.running
        ]
        return {int(address[1]) for address in answers}

    def _watched(self) -> bool:
        replicas = len(self.servers) - 1
        # The primary counts them once a second, and takes writes from then on.
        good = b"min_slaves_good_slaves:%d\r" % replicas
        return (
            len(self.replicas) == replicas
            and good in asked(self.primary.port, "INFO", "replication")
            and all(self._complete(each, replicas) for each in self.sentinels)
        )

    def _complete(self, sentinel: RedisProcess, replicas: int) -> bool:
        """Return whether a Sentinel has found the replicas and its peers by itself."""
        said: list[Any] = self.ask(sentinel, "SENTINEL", "MASTER", NAME)
        facts = dict(zip(said[::2], said[1::2], strict=True))
        return int(facts[b"num-slaves"]) == replicas and (
            int(facts[b"num-other-sentinels"]) == _SENTINELS - 1
        )
