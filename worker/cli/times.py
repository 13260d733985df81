"""Times on a command line."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from worker.errors import ConfigurationError

_AGO: Final = re.compile(r"(\d{1,6})([smhd])")
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


def clock(at_ms: int) -> str:
    """Return the local time of day of a time in milliseconds since the epoch."""
    return f"{datetime.fromtimestamp(at_ms / 1000, tz=UTC).astimezone():%H:%M:%S.%f}"[:-3]
