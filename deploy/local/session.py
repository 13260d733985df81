"""The directory of one use of the servers, and what is done about one left behind."""

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from deploy.local.process import Identity, descendants, end

CACHE = Path(__file__).parent.parent.parent / ".cache"

#: Also the label of containers and the prefix of compose projects, so that they are found.
LABEL = "call-control.session"

_PREFIX = "services-"
_OWNER = "owner"

#: Seconds after which a directory without an owner is no longer one being made.
_YOUNG = 60.0

#: Seconds that servers of a session left behind get for SIGTERM.
_GRACE = 15.0

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def session() -> Iterator[Path]:
    """Yield a directory for servers, which goes when the block is left."""
    CACHE.mkdir(exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=CACHE))
    (directory / _OWNER).write_text(str(Identity.of(os.getpid())))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let bounded cleaning up finish: signals that arrive meanwhile are dropped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def termination_unwinds() -> Iterator[None]:
    """Make SIGTERM and SIGHUP leave the block like Ctrl-C does, cleaning up on the way."""
    mine = []
    if threading.current_thread() is threading.main_thread():
        # Whoever handles these already also decides how the program ends.
        mine = [
            number
            for number in (signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(number) is signal.SIG_DFL
        ]
    for number in mine:
        signal.signal(number, _exit)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def _exit(number: int, frame: FrameType | None) -> None:
    del frame
    raise SystemExit(128 + number)


def sessions() -> list[Path]:
    """Return the directories of all sessions, in use or left behind."""
    return sorted(CACHE.glob(f"{_PREFIX}*"))


def owner(directory: Path) -> Identity | None:
    """Return the process that made a session's directory, None while that is not known."""
    try:
        return Identity.parse((directory / _OWNER).read_text())
    except (OSError, ValueError):
        return None


def left_behind(directory: Path) -> bool:
    """Return whether the process that made a session's directory is gone."""
    known = owner(directory)
    if known:
        return not known.alive
    try:
        return time.time() - directory.stat().st_mtime > _YOUNG
    except OSError:
        return False


def stop_processes(directory: Path) -> None:
    """Stop the processes recorded below a directory, if they still run."""
    found: list[Identity] = []
    for record in directory.rglob("*.pid"):
        with contextlib.suppress(OSError, ValueError):
            identity = Identity.parse(record.read_text())
            if identity.alive:
                found += [identity, *descendants(identity.pid)]
    for each in found:
        each.send(signal.SIGCONT)
        each.send(signal.SIGTERM)
    end(found, _GRACE)
