"""What a check finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: Names that are written out before the rest are counted.
_WRITTEN_OUT: Final = 3


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: How bad it is.
        service: Where: ``RabbitMQ``, ``Redis`` or ``workers``.
        check: What was looked at; the same text whatever is found.
        found: What was found.
        remedy: What to do about it; empty where nothing is to be done.
    """

    level: Level
    service: str
    check: str
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """Findings about one service, for which a check has a name."""

    service: str
    findings: list[Finding]

    def ok(self, check: str, found: str) -> None:
        """Note that all is well."""
        self.findings.append(Finding(Level.OK, self.service, check, found))

    def unknown(self, check: str, found: str, remedy: str) -> None:
        """Note what cannot be seen from here, and how it can be."""
        self.findings.append(Finding(Level.UNKNOWN, self.service, check, found, remedy))

    def warning(self, check: str, found: str, remedy: str) -> None:
        """Note what works, but not as well as it might."""
        self.findings.append(Finding(Level.WARNING, self.service, check, found, remedy))

    def bad(self, check: str, found: str, remedy: str) -> None:
        """Note what breaks a promise, or will."""
        self.findings.append(Finding(Level.BAD, self.service, check, found, remedy))


def written_out(names: Sequence[str]) -> str:
    """Return names for people, the first ones of very many."""
    more = len(names) - _WRITTEN_OUT
    return ", ".join(names[:_WRITTEN_OUT]) + (f" and {more} more" if more > 0 else "")
