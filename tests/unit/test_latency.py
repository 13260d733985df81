"""How long a command has been under way, by what its producer says."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pamqp.commands import Basic

from worker.observer import latency_seconds

NOW = 1_800_000_000.25


def sent(at: float) -> datetime:
    """A timestamp as AMQP has it."""
    return datetime.fromtimestamp(int(at), tz=UTC)


@pytest.mark.parametrize(
    ("headers", "timestamp", "expected"),
    [
        ({"timestamp_in_ms": int(NOW * 1000) - 125}, None, 0.125),
        ({"timestamp_in_ms": int(NOW * 1000) - 125}, sent(NOW - 60), 0.125),
        ({}, sent(NOW - 2), 2.25),
        ({"timestamp_in_ms": "soon"}, sent(NOW - 2), 2.25),
        ({"timestamp_in_ms": True}, sent(NOW - 2), 2.25),
        ({}, None, None),
    ],
    ids=["milliseconds", "both", "whole seconds", "a string", "a boolean", "neither"],
)
def test_milliseconds_go_before_whole_seconds(
    headers: dict[str, Any], timestamp: datetime | None, expected: float | None
) -> None:
    """What is in the header without being a time counts as not there."""
    found = latency_seconds(Basic.Properties(headers=headers, timestamp=timestamp), NOW)
    assert found == (None if expected is None else pytest.approx(expected, abs=0.001))


def test_a_clock_that_is_ahead_gives_no_negative_time() -> None:
    """A histogram of seconds would be pulled down by it."""
    ahead = Basic.Properties(headers={"timestamp_in_ms": int(NOW * 1000) + 5000})
    assert latency_seconds(ahead, NOW) == 0


@pytest.mark.parametrize("milliseconds", [0, -1, int(NOW), int(NOW * 1_000_000), -(2**63)])
def test_a_time_that_makes_no_sense_is_left_out(milliseconds: int) -> None:
    """One sample of a wrong unit would outweigh all others in the sum."""
    wrong = Basic.Properties(headers={"timestamp_in_ms": milliseconds})
    assert latency_seconds(wrong, NOW) is None
