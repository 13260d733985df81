"""What processes cost, as the kernel counts it."""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")

#: The state of a listening socket in /proc/net/tcp (Linux, include/net/tcp_states.h).
_LISTENING: Final = "0A"

#: Processes of one contender, at most: a bound for the walk through them.
_MOST_PROCESSES: Final = 100


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process has in memory, and what it had at most, in bytes."""

    now: int
    peak: int


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it, parents before children."""
    found = [pid]
    for each in found:
        if len(found) > _MOST_PROCESSES:
            break
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:
                continue
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU time of processes, in user mode and in the kernel's, all threads together."""
    return sum(map(_cpu_seconds, pids))


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory(pids: list[int]) -> Memory:
    """Return the memory of the largest of some processes: of the one that does the work."""
    return max(map(_memory, pids), key=lambda each: each.now)


def _memory(pid: int) -> Memory:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return Memory(0, 0)
    found = dict(re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", status))
    return Memory(now=int(found.get("VmRSS", 0)) * 1024, peak=int(found.get("VmHWM", 0)) * 1024)


def listener(port: int) -> list[int]:
    """Return the process that listens on a TCP port of this machine; nothing if it is not seen."""
    inodes = {
        fields[9]
        for table in ("tcp", "tcp6")
        for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:])
        if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port
    }
    sockets = {f"socket:[{inode}]" for inode in inodes}
    return [int(each.name) for each in Path("/proc").glob("[0-9]*") if sockets & _open(each)]


def _open(process: Path) -> set[str]:
    found = set()
    # It may end, or close something, while it is looked at.
    with suppress(OSError):
        for each in (process / "fd").iterdir():
            with suppress(OSError):
                found.add(str(each.readlink()))
    return found
