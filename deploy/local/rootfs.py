"""Debian root file systems with servers, unpacked beside the repository's caches.

Nothing else on the system changes: no service is installed, enabled or started.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from deploy.local.errors import CommandFailedError
from deploy.local.process import Process, run, wait_until
from deploy.local.services import Progress
from deploy.local.session import CACHE, session


@dataclass(frozen=True, slots=True)
class Tree:
    """What a root file system is made of.

    Attributes:
        directory: Its name among the caches.
        release: Debian's release, which decides the servers' versions.
        packages: What it includes besides the least.
        size: What it takes on the disk, roughly, in MB.
        links: Further names of programs, each with the program that it stands for.
    """

    directory: str
    release: str
    packages: tuple[str, ...] = ("rabbitmq-server", "redis-server")
    size: int = 250
    links: tuple[tuple[str, str], ...] = ()


#: The tree that is used unless another is asked for.
DEFAULT: Final = "debian"

#: The trees with RabbitMQ and Redis by the names they are asked for, with the versions that are
#: supported.
TREES: Final[Mapping[str, Tree]] = {
    # RabbitMQ 4.0, Redis 8.0
    DEFAULT: Tree("rootfs", "trixie"),
    # RabbitMQ 3.10, Redis 7.0
    "bookworm": Tree("rootfs-bookworm", "bookworm"),
    # RabbitMQ 4.3, Redis 8.0
    "forky": Tree("rootfs-forky", "forky"),
    # RabbitMQ 4.0, Valkey 8.1; a successor takes the same options.
    "valkey": Tree(
        "rootfs-valkey",
        "trixie",
        packages=("rabbitmq-server", "valkey-server"),
        links=(("redis-server", "valkey-server"),),
    ),
}

#: The tree with Asterisk 22, and with sipp for the telephones; Debian 12 and 13 have no Asterisk.
ASTERISK: Final = Tree(
    "rootfs-asterisk", "forky", packages=("asterisk", "procps", "sip-tester"), size=350
)

#: Seconds for unpacking; 20 are usual, a slow mirror takes minutes.
_BUILD_TIMEOUT = 900.0

#: Seconds for an update of apt's lists or the installation of one package.
_APT_TIMEOUT = 600.0


def missing() -> str | None:
    """Return what keeps this machine from unpacking and running the tree, or None."""
    if shutil.which("apt-get") is None:
        return "needs Debian or a relative of it"
    if os.geteuid() != 0:
        return "needs root (for chroot)"
    return None


def ensure(progress: Progress, tree: Tree = TREES[DEFAULT]) -> Path:
    """Return a root file system, unpacking it first where it is not there yet.

    Args:
        progress: Called with a line when something takes long.
        tree: Which one.

    Raises:
        CommandFailedError: apt or mmdebstrap failed; carries the end of what it said.
    """
    root = CACHE / tree.directory
    if root.exists():
        return root
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked(CACHE / f"{tree.directory}.lock"):
        if root.exists():
            return root
        if not shutil.which("mmdebstrap"):
            progress("installing mmdebstrap")
            apt_install("mmdebstrap")
        packages = " and ".join(tree.packages)
        progress(f"unpacking Debian {tree.release} with {packages} (once, {tree.size} MB)")
        with session() as directory:
            _unpack(tree, directory / "rootfs", directory)
            (directory / "rootfs").rename(root)
    return root


def apt_install(*packages: str) -> None:
    """Install Debian packages.

    Raises:
        CommandFailedError: apt-get failed.
    """
    env = dict(os.environ) | {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-q"], timeout=_APT_TIMEOUT, env=env)
    wait = f"DPkg::Lock::Timeout={_APT_TIMEOUT:.0f}"
    command = ["apt-get", "install", "-qy", "-o", wait, "--no-install-recommends", *packages]
    run(command, timeout=_APT_TIMEOUT, env=env)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; the kernel drops it with the process that holds it.

    Raises:
        CommandFailedError: another process held it for longer than a build may take.
    """
    with path.open("w") as lock:
        if not wait_until(lambda: _acquired(lock), _BUILD_TIMEOUT):
            raise CommandFailedError(f"{path} stays locked by another process")
        yield


def _acquired(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unpack(tree: Tree, target: Path, directory: Path) -> None:
    # apt reads what it has loaded as a user of its own.
    directory.chmod(0o711)
    command = [
        # In namespaces of its own, whatever ends this ends all of it, mounts included.
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
        "mmdebstrap",
        "--variant=minbase",
        # A mirror that is a snapshot has release files older than their validity.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        f"--include={','.join(tree.packages)}",
        tree.release,
        str(target),
        _mirror(),
    ]
    Process("mmdebstrap", command, os.environ, directory).finish(_BUILD_TIMEOUT)
    # The node is called something@localhost; minbase leaves the file out.
    (target / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    for name, program in tree.links:
        (target / "usr" / "bin" / name).symlink_to(program)


def _mirror() -> str:
    for attempt in range(2):
        if attempt:
            run(["apt-get", "update", "-q"], timeout=_APT_TIMEOUT)
        found = run(
            [
                *("apt-get", "indextargets", "--format", "$(REPO_URI)"),
                *("Created-By: Packages", "Label: Debian"),
            ],
            timeout=60,
        ).split()
        if found:
            return found[0]
    raise CommandFailedError("apt knows no Debian mirror; see /etc/apt/sources.list")
