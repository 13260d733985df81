"""What servers that are one process of this machine have in common."""

import signal
from abc import ABC, abstractmethod
from typing import ClassVar

from deploy.local.process import Process


class ProcessServer(ABC):
    """A server, as ``services.Server`` has it, that is one process.

    Attributes:
        start_seconds: How long it may take until it answers.
        stop_seconds: How long a clean shutdown may take.
    """

    start_seconds: ClassVar[float]
    stop_seconds: ClassVar[float] = 20.0
    _process: Process

    @abstractmethod
    def answers(self) -> bool:
        """Return whether it serves its clients."""

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self._process.running

    def begin(self) -> None:
        """Start without waiting, so that others can start meanwhile."""
        if not self.running:
            self._process.spawn()

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            ServerFailedError: it did not.
        """
        self._process.wait_ready(self.answers, self.start_seconds)

    def start(self) -> None:
        """Start and wait until it answers; see ``services.Server``."""
        self.begin()
        self.wait()

    def stop(self) -> None:
        """Shut down cleanly."""
        self._process.stop(self.stop_seconds)

    def kill(self) -> None:
        """End as a crash would."""
        self._process.kill()

    def discard(self) -> None:
        """End it at once, its data no longer wanted."""
        self.kill()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze."""
        self._process.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo ``pause``."""
        self._process.send(signal.SIGCONT)

    def log(self) -> str:
        """Return the end of the log."""
        return self._process.log()
