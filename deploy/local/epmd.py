"""Erlang's port mapper, private to one node or to the nodes of one cluster."""

from pathlib import Path

from deploy.local.probes import epmd_answers
from deploy.local.process import Process, free_port
from deploy.local.runtime import Runtime

#: Seconds until it answers; it has nothing to load.
_START_TIMEOUT = 10.0


class Epmd:
    """epmd on a free port of 127.0.0.1.

    Left to Erlang, the first node would start a shared one that outlives it and listens on all
    interfaces.
    """

    def __init__(self, runtime: Runtime, directory: Path) -> None:
        directory.mkdir(parents=True)
        port = free_port()
        #: What a node needs to find it.
        self.variables = {"ERL_EPMD_ADDRESS": "127.0.0.1", "ERL_EPMD_PORT": str(port)}
        command = runtime.command(["epmd", "-port", str(port), "-address", "127.0.0.1"], directory)
        env = runtime.environment() | self.variables
        self._process = Process("epmd", command, env, directory)
        self._port = port

    def start(self) -> None:
        """Start and wait until it answers: a node that finds none starts one itself.

        Raises:
            ServerFailedError: it did not.
        """
        if not self._process.running:
            self._process.spawn()
            self._process.wait_ready(lambda: epmd_answers(self._port), _START_TIMEOUT)

    def discard(self) -> None:
        """End it at once."""
        self._process.kill()
