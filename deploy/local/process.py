"""Processes started here: found again, signalled and ended by pid, never by name."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import CommandFailedError, ServerFailedError

#: Seconds between two looks at something that is waited for.
POLL = 0.02

#: Seconds a process gets to end after SIGKILL, which only the kernel can delay.
KILL_TIMEOUT = 10.0

#: Characters of a log that an error quotes.
LOG_TAIL = 2000

#: Ports are taken from below the range that outgoing connections use, so that none of them
#: can sit on a server's port while the server restarts.
PORTS = range(20000, 32768)


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, told apart from a later one that got the same pid."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        """Return the identity of a process, or None when it is gone or a zombie."""
        try:
            # The name in brackets may itself hold brackets and blanks.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]), boot)

    @classmethod
    def parse(cls, text: str) -> "Identity":
        """Read what ``str`` wrote.

        Raises:
            ValueError: the text is something else.
        """
        pid, started, boot = text.split()
        return cls(int(pid), int(started), boot)

    def __str__(self) -> str:
        return f"{self.pid} {self.started} {self.boot}"

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Identity.of(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Send a signal, to this process or to nobody."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def descendants(pid: int) -> list[Identity]:
    """Return every process below this one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    below: list[int] = []
    level = [pid]
    while level:
        level = [child for parent in level for child in children.get(parent, [])]
        below += level
    return [identity for child in below if (identity := Identity.of(child))]


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Return whether the condition came true within the timeout (seconds)."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def end(processes: Sequence[Identity], grace: float) -> None:
    """Let processes end by themselves for ``grace`` seconds, then kill what is left."""
    if not wait_until(lambda: not any(each.alive for each in processes), grace):
        for each in processes:
            each.send(signal.SIGKILL)
        wait_until(lambda: not any(each.alive for each in processes), KILL_TIMEOUT)


def free_port(address: str = "127.0.0.1", kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port of a loopback address on which nothing listens.

    Args:
        address: One of 127.0.0.0/8.
        kind: Of TCP, or with ``SOCK_DGRAM`` of UDP.

    Raises:
        ServerFailedError: a thousand tries found none.
    """
    for port in random.sample(PORTS, 1000):
        with socket.socket(type=kind) as probe:
            if kind is socket.SOCK_STREAM:
                # What remains of former connections is in nobody's way.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise ServerFailedError(f"no free port on {address}")


def run(
    command: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    text: str = "",
) -> str:
    """Run a command with ``text`` as its standard input and return its standard output.

    Raises:
        CommandFailedError: it is missing, failed or took longer than ``timeout`` seconds.
    """
    try:
        done = subprocess.run(  # noqa: S603 - commands are built here, from no outside input
            command,
            timeout=timeout,
            env=env,
            check=True,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
        )
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout)[-LOG_TAIL:]
        raise CommandFailedError(f"{' '.join(command)} failed:\n{said}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandFailedError(f"{' '.join(command)}: {error}") from error
    return done.stdout


class Process:
    """One process of ours: its log, its children and the record that ``clean`` finds it by."""

    def __init__(
        self, name: str, command: Sequence[str], env: Mapping[str, str], directory: Path
    ) -> None:
        self._name = name
        self._command = list(command)
        self._env = dict(env)
        self._log = directory / f"{name}.out"
        self._record = directory / f"{name}.pid"
        self._popen: subprocess.Popen[bytes] | None = None

    def spawn(self) -> None:
        """Start it, in a session of its own so that Ctrl-C does not reach it."""
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(  # noqa: S603 - built here, from no outside input
                self._command,
                env=self._env,
                cwd=self._log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        identity = Identity.of(self._popen.pid)
        if identity:
            self._record.write_text(str(identity))

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self._popen is not None and self._popen.poll() is None

    def wait_ready(self, ready: Callable[[], bool], timeout: float) -> None:
        """Return once ``ready`` says so.

        Raises:
            ServerFailedError: the process ended, or was not ready in time (and was killed).
        """
        if wait_until(lambda: not self.running or ready(), timeout) and self.running:
            return
        if self.running:
            self.kill()
            raise ServerFailedError(f"{self._name} not ready after {timeout:g} s\n{self.log()}")
        raise ServerFailedError(f"{self._name} ended while starting\n{self.log()}")

    def finish(self, timeout: float) -> None:
        """Run it to its end.

        Raises:
            CommandFailedError: it failed, or took longer than ``timeout`` seconds.
        """
        self.spawn()
        try:
            ended = wait_until(lambda: not self.running, timeout)
            if not ended or self._popen is None or self._popen.returncode:
                raise CommandFailedError(f"{self._name} failed\n{self.log()}")
        finally:
            self.kill()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process itself, none when it is gone."""
        if self._popen is not None:
            self._popen.send_signal(number)

    def stop(self, grace: float) -> None:
        """End it with SIGTERM, after ``grace`` seconds with SIGKILL, and its children with it."""
        self._end(signal.SIGTERM, grace)

    def kill(self) -> None:
        """End it with SIGKILL, and its children with it."""
        self._end(signal.SIGKILL, KILL_TIMEOUT)

    def log(self) -> str:
        """Return the end of what it printed."""
        try:
            return self._log.read_text(errors="replace")[-LOG_TAIL:]
        except OSError:
            return ""

    def _end(self, number: signal.Signals, grace: float) -> None:
        if self._popen is None:
            return
        children = descendants(self._popen.pid)
        self.send(number)
        # A stopped process acts on nothing but SIGKILL until it is continued.
        self.send(signal.SIGCONT)
        try:
            self._popen.wait(grace)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(KILL_TIMEOUT)
        end(children, grace=2)
        self._record.unlink(missing_ok=True)
        self._popen = None
