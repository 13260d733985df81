"""A private redis-server."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import redis

from deploy.local.errors import ServerFailedError
from deploy.local.probes import listens, redis_answers
from deploy.local.process import Process, free_port, wait_until
from deploy.local.runtime import Runtime
from deploy.local.server import ProcessServer

CONFIG = Path(__file__).parent.parent / "redis"

#: Seconds until several servers agree: on who follows whom, or on a new primary.
_AGREEMENT_TIMEOUT = 30.0

#: Seconds that an answer may take.
_ANSWER_TIMEOUT = 10.0


class RedisProcess(ProcessServer):
    """redis-server on a free port, with its data below ``directory``.

    Args:
        runtime: Where the program comes from.
        directory: Where its configuration, data and log are; made here.
        options: Further options, such as ``--sentinel``; files are named relative to the directory.
        tls: Whether ``tls.conf`` is included, with the certificates of ``files``.
        files: Files to put into the directory, by name.

    Attributes:
        directory: Where its data are.
        port: Where clients connect.
        plain_port: Where they connect in the clear; with TLS nobody listens there.
    """

    #: Seconds until it answers, loading its log included.
    start_seconds = 30.0

    def __init__(
        self,
        runtime: Runtime,
        directory: Path,
        *options: str,
        tls: bool = False,
        files: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        for name, content in files.items():
            (directory / name).write_text(content)
        shutil.copy(CONFIG / "redis.conf", directory / "redis.conf")
        self.plain_port = free_port()
        self.port = free_port() if tls else self.plain_port
        self._tls = tls
        if tls:
            # The lines that name a port or a place have to name this server's.
            shipped = (CONFIG / "tls.conf").read_text().replace("/etc/redis/tls/", "")
            own = shipped.replace("tls-port 6379", f"tls-port {self.port}")
            (directory / "tls.conf").write_text(own)
            # Later than the plain port, in spite of which it lets nobody in there.
            options = ("--include", "tls.conf", *options)
        home = runtime.path(directory)
        command = [
            "redis-server",
            f"{home}/redis.conf",
            *("--port", str(self.plain_port)),
            *("--bind", "127.0.0.1"),
            *("--dir", home),
            *options,
        ]
        env = runtime.environment()
        self._process = Process("redis", runtime.command(command, directory), env, directory)

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"redis{'s' if self._tls else ''}://127.0.0.1:{self.port}/0"

    def answers(self) -> bool:
        """Return whether it takes commands, or connections where it speaks TLS."""
        return listens(self.port) if self._tls else redis_answers(self.port)


def asked(port: int, *command: str | bytes | int, password: str | None = None) -> Any:
    """Return a server's answer to one command, as it is on the wire.

    Raises:
        redis.RedisError: it is not there, or refuses.
    """
    # A connection and not a client: a client forms some answers and leaves others.
    connection: Any = redis.Connection(  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        host="127.0.0.1",
        port=port,
        password=password,
        protocol=2,
        socket_timeout=_ANSWER_TIMEOUT,
    )
    try:
        connection.send_command(*command)
        return connection.read_response()
    finally:
        connection.disconnect()


def wait_agreed(condition: Callable[[], bool], what: str, server: RedisProcess) -> None:
    """Wait until servers agree; those that do not answer, or contradict each other, do not yet.

    Raises:
        ServerFailedError: they do not; says ``what``, with the end of the server's log.
    """

    def holds() -> bool:
        try:
            return condition()
        except (redis.RedisError, ServerFailedError):
            return False

    if not wait_until(holds, _AGREEMENT_TIMEOUT):
        raise ServerFailedError(f"{what}\n{server.log()}")
