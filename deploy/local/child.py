"""Runs the command that uses the servers and passes signals on to it."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType

from deploy.local.errors import CommandFailedError

#: Seconds a command gets to end once it was told to.
_GRACE = 60.0

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_child(command: Sequence[str], env: Mapping[str, str]) -> int:
    """Run a command in the foreground and return its exit code, 128 + n after signal n.

    Raises:
        CommandFailedError: it cannot be started.
    """
    child: subprocess.Popen[bytes] | None = None
    told: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        del frame
        told.append(number)
        if child and (number != signal.SIGINT or not _terminal_signals_us()):
            child.send_signal(number)

    with _handled(pass_on):
        try:
            child = subprocess.Popen(command, env=env)  # noqa: S603 - the user's own command
        except OSError as error:
            raise CommandFailedError(f"{command[0]}: {error.strerror}") from error
        for number in told:
            # Came while the command was starting.
            child.send_signal(number)
        try:
            while not told:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return _code(child.wait(timeout=1))
            return _code(child.wait(_GRACE))
        except subprocess.TimeoutExpired:
            child.kill()
            return _code(child.wait())


@contextlib.contextmanager
def _handled(handler: signal.Handlers | object) -> Iterator[None]:
    before = {
        number: signal.signal(number, handler)  # type: ignore[arg-type]  # any callable will do
        for number in _SIGNALS
    }
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _terminal_signals_us() -> bool:
    """Return whether Ctrl-C reaches the child by itself, as part of the foreground group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _code(returned: int) -> int:
    return returned if returned >= 0 else 128 - returned
