"""Asterisk and telephones, on the loopback, as processes of this machine."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from deploy.local import rootfs
from deploy.local.asterisk import AsteriskProcess
from deploy.local.cleaning import sweep
from deploy.local.errors import CommandFailedError, NoProviderError
from deploy.local.phones.box import Phones
from deploy.local.process import run
from deploy.local.provide import FORCE
from deploy.local.running import running
from deploy.local.runtime import ChrootRuntime, HostRuntime, Runtime, program_path
from deploy.local.services import Progress, silent
from deploy.local.session import session, termination_unwinds

#: The oldest Asterisk that has what the configuration names.
_OLDEST = 20

#: Seconds for Asterisk to print its version.
_VERSION_TIMEOUT = 10.0


@contextlib.contextmanager
def asterisk_server(
    *,
    address: str = "127.0.0.1",
    sip_port: int = 0,
    rtp_ports: range | None = None,
    trunk: str = "127.0.0.2:5060",
    config: Mapping[str, str] = MappingProxyType({}),
    progress: Progress = silent,
) -> Iterator[AsteriskProcess]:
    """Yield an Asterisk; it stops when the block is left.

    Args:
        address: Where SIP and RTP are, one of 127.0.0.0/8.
        sip_port: Where SIP is; 0 for a free one.
        rtp_ports: Where its media are; else a thousand of its own.
        trunk: Where ``PJSIP/<number>@trunk`` is dialled.
        config: Lines to add to files of its configuration, by the files' names.
        progress: Called with a line when something takes long.

    Raises:
        NoProviderError: neither PATH nor a Debian tree has it.
        ServerFailedError: it did not start; carries the end of its log.
    """
    with termination_unwinds():
        sweep()
        runtime = _runtime("asterisk", progress)
        with running(
            lambda directory: AsteriskProcess(
                runtime,
                directory,
                address=address,
                sip_port=sip_port,
                rtp_ports=rtp_ports,
                trunk=trunk,
                config=config,
            )
        ) as asterisk:
            yield asterisk


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
