"""Undoes what a Docker engine changes in the machine's network."""

import re
from pathlib import Path

from deploy.local.process import run

_TABLES = ("filter", "nat")
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_LINKS = Path("/sys/class/net")

#: Name of the file in a session's directory that says how the network was before.
_RECORD = "network"

#: Chains, rules and links that only an engine makes.
_ENGINES = re.compile(r"DOCKER|\bdocker0\b|\bbr-[0-9a-f]{12}\b")

#: Seconds for one look at the packet filter, or one change.
_TIMEOUT = 30.0


def remember(directory: Path) -> None:
    """Record in a session's directory how forwarding was before the engine."""
    before = [_FORWARDING.read_text().strip(), *_rules("filter")]
    (directory / _RECORD).write_text("\n".join(before))


def put_back(directory: Path) -> None:
    """Remove an engine's rules and links; everybody else's stay as they are now.

    Does nothing when the session had no engine, or when the machine had another before.
    """
    try:
        forwarding, *before = (directory / _RECORD).read_text().splitlines()
    except FileNotFoundError:
        return
    if any(_ENGINES.search(line) for line in before):
        return
    # The engine makes dropping what is to be forwarded the policy.
    policy = next((line for line in before if line.startswith(":FORWARD")), ":FORWARD ACCEPT [0:0]")
    for table in _TABLES:
        kept = [
            policy if table == "filter" and line.startswith(":FORWARD") else line
            for line in _rules(table)
            if not _ENGINES.search(line)
        ]
        run(["iptables-restore"], text="\n".join(kept) + "\n", timeout=_TIMEOUT)
    for link in _LINKS.iterdir():
        if _ENGINES.fullmatch(link.name):
            run(["ip", "link", "delete", link.name], timeout=_TIMEOUT)
    _FORWARDING.write_text(forwarding)
    (directory / _RECORD).unlink()


def _rules(table: str) -> list[str]:
    return run(["iptables-save", "-t", table], timeout=_TIMEOUT).splitlines()
