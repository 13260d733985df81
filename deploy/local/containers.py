"""Handles for servers that run in containers."""

import time
from collections.abc import Callable
from typing import Any

from deploy.local.errors import CommandFailedError, ServerFailedError
from deploy.local.probes import rabbitmq_answers, redis_answers
from deploy.local.process import LOG_TAIL, POLL, wait_until

#: Seconds until a server in a container answers.
_START_TIMEOUT = 90.0

#: Seconds a clean shutdown may take before the engine kills it.
_STOP_TIMEOUT = 30

#: Seconds until the engine knows that a container ended.
_GONE_TIMEOUT = 30.0


class Container:
    """A server in a container; see ``services.Server``. Its published port never changes."""

    ready: Callable[[int], bool] = staticmethod(redis_answers)

    def __init__(self, container: Any, name: str, port: int) -> None:
        self._container = container
        self._name = name
        self._port = port

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            ServerFailedError: it ended or did not answer in time.
        """
        deadline = time.monotonic() + _START_TIMEOUT
        while not self.ready(self._port):
            if not self.running:
                raise ServerFailedError(f"{self._name} ended while starting\n{self.log()}")
            if time.monotonic() > deadline:
                raise ServerFailedError(f"{self._name} not ready in time\n{self.log()}")
            time.sleep(POLL)

    def start(self) -> None:
        """Start and wait until it answers."""
        if not self.running:
            self._container.start()
        self.wait()

    def stop(self) -> None:
        """Shut down cleanly."""
        self.resume()
        self._container.stop(timeout=_STOP_TIMEOUT)

    def kill(self) -> None:
        """End as a crash would."""
        self.resume()
        if self.running:
            self._container.kill()
            wait_until(lambda: not self.running, _GONE_TIMEOUT)

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze."""
        if self._status() == "running":
            self._container.pause()

    def resume(self) -> None:
        """Undo ``pause``."""
        if self._status() == "paused":
            self._container.unpause()

    @property
    def running(self) -> bool:
        """Whether the container runs."""
        return self._status() in ("created", "running", "paused", "restarting")

    def log(self) -> str:
        """Return the end of the log."""
        text: bytes = self._container.logs(tail=50)
        return text.decode(errors="replace")[-LOG_TAIL:]

    def _status(self) -> str:
        self._container.reload()
        return str(self._container.status)


class BrokerContainer(Container):
    """RabbitMQ in a container; see ``services.Broker``."""

    ready = staticmethod(rabbitmq_answers)

    def ctl(self, *args: str) -> str:
        """Return what ``rabbitmqctl`` prints."""
        code, output = self._container.exec_run(["rabbitmqctl", "--quiet", *args])
        said = str(output.decode(errors="replace"))
        if code:
            raise CommandFailedError(f"rabbitmqctl {' '.join(args)} failed:\n{said[-LOG_TAIL:]}")
        return said
