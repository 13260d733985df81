"""Asterisk and telephones, on the loopback.

Telephones are processes of this machine even where a Docker engine provides Asterisk.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from typing import Unpack

from deploy.local import docker, rootfs
from deploy.local.asterisk import AsteriskProcess, Options
from deploy.local.cleaning import sweep
from deploy.local.errors import CommandFailedError, NoProviderError
from deploy.local.phones.box import Phones
from deploy.local.process import run
from deploy.local.provide import FORCE
from deploy.local.running import running
from deploy.local.runtime import ChrootRuntime, HostRuntime, Runtime, program_path
from deploy.local.services import Asterisk, Progress, silent
from deploy.local.session import session, termination_unwinds

#: The oldest Asterisk that has what the configuration names.
_OLDEST = 20

#: Seconds for Asterisk to print its version.
_VERSION_TIMEOUT = 10.0


@contextlib.contextmanager
def asterisk_server(
    *, progress: Progress = silent, **options: Unpack[Options]
) -> Iterator[Asterisk]:
    """Yield an Asterisk; it stops when the block is left.

    It is a container where there is an engine that can make its image, else a process.

    Args:
        progress: Called with a line when something takes long.
        options: Where it is, and what it is told besides; see ``asterisk.Configured``.

    Raises:
        NoProviderError: neither an engine, nor PATH, nor a Debian tree has it.
        ServerFailedError: it did not start; carries the end of its log.
    """
    with termination_unwinds():
        sweep()
        with _started(progress, options) as asterisk:
            yield asterisk


@contextlib.contextmanager
def _started(progress: Progress, options: Options) -> Iterator[Asterisk]:
    if _has_image(progress):
        with docker.asterisk(options) as container:
            yield container
        return
    runtime = _runtime("asterisk", progress)
    with running(lambda directory: AsteriskProcess(runtime, directory, **options)) as process:
        yield process


def _has_image(progress: Progress) -> bool:
    """Return whether an engine has the image, once it has had the time to make it."""
    forced = os.environ.get(FORCE)
    if forced not in (None, "", "docker"):
        return False
    reason = docker.missing()
    if reason is None:
        try:
            docker.make_asterisk(progress)
        except CommandFailedError as error:
            reason = str(error)
    if reason is not None and forced:
        raise NoProviderError(f"no Asterisk in a container: {reason}")
    return reason is None


@contextlib.contextmanager
def telephones(progress: Progress = silent) -> Iterator[Phones]:
    """Yield where telephones come from; they end when the block is left.

    Raises:
        NoProviderError: neither PATH nor a Debian tree has sipp.
    """
    with termination_unwinds():
        sweep()
        runtime = _runtime("sipp", progress)
        with session() as directory:
            box = Phones(runtime, directory)
            try:
                yield box
            finally:
                box.discard()


def _runtime(program: str, progress: Progress) -> Runtime:
    """Return where a program is: on PATH, unless a tree is asked for, or in the tree."""
    reason = _missing(program)
    if reason is None and os.environ.get(FORCE) not in rootfs.TREES:
        return HostRuntime()
    impossible = rootfs.missing()
    if impossible is not None:
        raise NoProviderError(f"no {program} to start here: {reason}; a Debian tree {impossible}")
    return ChrootRuntime(rootfs.ensure(progress, rootfs.ASTERISK))


def _missing(program: str) -> str | None:
    """Return what keeps a program of this machine from being used, or None."""
    if not shutil.which(program, path=program_path()):
        return f"{program} is not on PATH"
    if program != "asterisk":
        return None
    try:
        said = run(["asterisk", "-V"], timeout=_VERSION_TIMEOUT, env=HostRuntime().environment())
    except CommandFailedError as error:
        return str(error)
    found = re.search(r"Asterisk (?:certified/|certified-)?(\d+)", said)
    # A version that cannot be told is tried.
    if found is None or int(found[1]) >= _OLDEST:
        return None
    return f"{found[0]} is older than {_OLDEST}"
