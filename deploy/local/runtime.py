"""Where a private server's programs come from: this machine's PATH, or a Debian tree."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

#: Variables of ours that reach a server. RabbitMQ reads dozens; none may leak in.
_PASSED_ON = ("LANG", "TMPDIR")

#: Servers are installed in sbin, which is on PATH for root only.
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"

#: Where a server's directory appears inside the root file system; Debian keeps it empty.
_MOUNT_POINT = "/mnt"

# The mounts live in the process' own mount namespace: they end with it, and two users of the
# same tree never see each other's. exec keeps the pid: the pid that is started is the server.
_ENTER = """set -e
mount --rbind /dev {root}/dev
mount -t proc proc {root}/proc
mount --bind {directory} {root}{mount_point}
exec chroot {root} "$@"
"""


def program_path() -> str:
    """Return PATH with the directories of servers at its end."""
    return f"{os.environ.get('PATH', os.defpath)}:{_SBIN}"


class Runtime(Protocol):
    """Turns a program and its directory into something that can be started."""

    def command(self, argv: Sequence[str], directory: Path) -> list[str]:
        """Return the command that runs ``argv`` with access to ``directory``."""

    def path(self, directory: Path) -> str:
        """Return how the program sees its ``directory``."""

    def environment(self) -> dict[str, str]:
        """Return the environment to add a program's own variables to."""

    def program(self, *candidates: str) -> str:
        """Return the first of the candidates that exists, else the last."""


@dataclass(frozen=True, slots=True)
class HostRuntime:
    """Programs of this machine."""

    def command(self, argv: Sequence[str], directory: Path) -> list[str]:
        """Return ``argv``."""
        del directory
        return list(argv)

    def path(self, directory: Path) -> str:
        """Return the directory itself."""
        return str(directory)

    def environment(self) -> dict[str, str]:
        """Return the few variables that programs need."""
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return passed | {"PATH": program_path()}

    def program(self, *candidates: str) -> str:
        """Return the first candidate that exists, else the last."""
        return next((each for each in candidates if Path(each).exists()), candidates[-1])


@dataclass(frozen=True, slots=True)
class ChrootRuntime:
    """Programs of a Debian root file system; needs root."""

    root: Path

    def command(self, argv: Sequence[str], directory: Path) -> list[str]:
        """Return the command that enters the tree in a mount namespace of its own."""
        script = _ENTER.format(
            root=shlex.quote(str(self.root)),
            directory=shlex.quote(str(directory)),
            mount_point=_MOUNT_POINT,
        )
        return ["unshare", "--mount", "sh", "-c", script, "enter", *argv]

    def path(self, directory: Path) -> str:
        """Return the mount point: every process sees only its own directory there."""
        del directory
        return _MOUNT_POINT

    def environment(self) -> dict[str, str]:
        """Return Debian's own PATH."""
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

    def program(self, *candidates: str) -> str:
        """Return the first candidate that exists in the tree, else the last."""
        return next(
            (each for each in candidates if (self.root / each.lstrip("/")).exists()),
            candidates[-1],
        )
