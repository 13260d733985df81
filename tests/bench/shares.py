"""Hold processes to a share of a core, so that they and nothing else are what limits a run.

Where all share a few cores, a second worker takes from RabbitMQ what it needs itself. With control
groups each worker has the same to itself, and RabbitMQ has enough (Linux documentation, "CFS
Bandwidth Control" and "Control Group v2").
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Final

#: How long a share is summed up, in microseconds: short beside a batch's way through RabbitMQ.
_PERIOD_US: Final = 10_000

_FIRST_VERSION: Final = Path("/sys/fs/cgroup/cpu")
_SECOND_VERSION: Final = Path("/sys/fs/cgroup")


class NoShares(Exception):
    """Raised where this machine lets nobody make control groups."""


@contextmanager
def share_of_a_core(part: float) -> Iterator[Path]:
    """Make a control group that gets a part of one core; processes are put into it by ``hold``.

    Raises:
        NoShares: That is not possible here.
    """
    first = (_FIRST_VERSION / "cpu.cfs_quota_us").exists()
    group = (_FIRST_VERSION if first else _SECOND_VERSION) / f"call-control-{token_hex(4)}"
    quota = round(part * _PERIOD_US)
    try:
        group.mkdir()
        if first:
            (group / "cpu.cfs_period_us").write_text(f"{_PERIOD_US}")
            (group / "cpu.cfs_quota_us").write_text(f"{quota}")
        else:
            (group / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        raise NoShares(f"no control groups for CPU: {error}") from error
    try:
        yield group
    finally:
        # The kernel does it once its processes have ended.
        with suppress(OSError):
            group.rmdir()


def hold(group: Path, pid: int) -> None:
    """Put a process into a control group."""
    (group / "cgroup.procs").write_text(f"{pid}")
