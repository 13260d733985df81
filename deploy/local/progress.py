"""Short lines about what takes long: a spinner at a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from rich.status import Status


class ShownProgress:
    """Shows each step with the seconds since the first; call it with the line to show."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._status: Status | None = None

    def __call__(self, line: str) -> None:
        """Show that a step begins."""
        if not self._console.is_terminal:
            self._print(line)
            return
        self.pause()
        self._status = self._console.status(f"{line} …")
        self._status.start()

    def done(self, line: str) -> None:
        """Show a line that stays."""
        self.pause()
        self._print(line)

    def pause(self) -> None:
        """Leave the terminal to somebody else."""
        if self._status:
            self._status.stop()
            self._status = None

    def _print(self, line: str) -> None:
        elapsed = time.monotonic() - self._began
        self._console.print(f"{elapsed:6.1f} s  {line}", markup=False, highlight=False)


@contextlib.contextmanager
def shown_progress() -> Iterator[ShownProgress]:
    """Yield a progress that writes to standard error and leaves no spinner behind."""
    progress = ShownProgress(Console(stderr=True, soft_wrap=True))
    try:
        yield progress
    finally:
        progress.pause()
