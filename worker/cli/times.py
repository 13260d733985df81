"""Times on a command line."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from worker.errors import ConfigurationError

_AGO: Final = re.compile(r"(\d{1,6})([smhd])")
_MINUTE: Final = 60

#: Units longer than a second, in seconds, each used from twice its length on.
_LONGER: Final = ((2 * 86_400, 86_400, "d"), (2 * 3600, 3600, "h"), (0, _MINUTE, "min"))

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str) -> datetime:
    """Read ``90s``, ``10m``, ``2h`` or ``7d`` ago, or a time of ISO 8601, local unless it says.

    Raises:
        ConfigurationError: It is neither.
    """
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigurationError(
            "--since: expected 90s, 10m, 2h, 7d, or a time like 2026-01-31T12:00"
        ) from None


def when(at_ms: int) -> str:
    """Return the time of a time in milliseconds since the epoch, in ISO 8601 and UTC."""
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat(timespec="milliseconds")


def duration(seconds: float) -> str:
    """Return a duration as people say it: ``820 ms``, ``4.2 s``, ``3 min``, ``5 h``, ``2 d``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    unit, name = next(each[1:] for each in _LONGER if seconds >= each[0])
    return f"{seconds / unit:.0f} {name}"


def clock(at_ms: int) -> str:
    """Return the local time of day of a time in milliseconds since the epoch."""
    return f"{datetime.fromtimestamp(at_ms / 1000, tz=UTC).astimezone():%H:%M:%S.%f}"[:-3]
