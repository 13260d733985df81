"""The figures of a report: latency and recovery, on times made up here."""

import math
from operator import attrgetter

import pytest

from tests.chaos.timeline import Latency, Timeline, Timing

#: A fault comes at 10 s, and calm is back at 20 s.
FAULT, CALM = 10.0, 20.0


def timeline(*timings: tuple[float, float]) -> Timeline:
    """Return a timeline of commands, each with when it was wanted and when it was answered."""
    made = Timeline()
    made.timings = [Timing(wanted, answered) for wanted, answered in timings]
    made.answers = sorted(made.timings, key=attrgetter("answered_at"))
    return made


def test_recovery_is_over_with_the_last_late_outcome() -> None:
    """What came later and was answered in normal time was not felt."""
    felt = timeline((11.0, 12.5), (13.0, 15.0), (18.0, 18.1)).recovery(FAULT, CALM)
    assert felt == pytest.approx(5.0)


def test_what_was_under_way_at_the_fault_counts_however_fast_it_was() -> None:
    """The last outcome after a worker's death is one of the commands it had in hand."""
    assert timeline((9.9, 10.05)).recovery(FAULT, CALM) == pytest.approx(0.05)


def test_what_was_answered_before_the_fault_or_is_left_to_the_next_one_does_not_count() -> None:
    """Nor does a fault that nobody felt."""
    others = timeline((5.0, 9.0), (19.9, math.inf), (19.9, 25.0))
    assert others.recovery(FAULT, CALM) == 0


def test_latency_is_of_the_commands_that_were_wanted_and_answered_in_a_span() -> None:
    """Those which the next fault delays are its own."""
    timings = timeline((9.0, 9.1), (11.0, 12.0), (12.0, 12.5), (19.9, 25.0)).between(FAULT, CALM)
    assert Latency.of(timings) == Latency(commands=2, p50=1.0, p99=1.0, most=1.0)


async def test_calm_is_only_what_came_after_the_fault() -> None:
    """A system that was calm until now shows nothing yet; one with an old command is not calm."""
    made = Timeline()
    made.wanted("message")
    (timing,) = made.timings
    made.answered("message")
    assert await made.until_calm(timing.wanted_at, 10)
    made.wanted("forgotten")
    made.timings[-1].wanted_at -= 100
    assert not await made.until_calm(timing.wanted_at, 0.1)
    assert made.forgotten(timing.wanted_at) == 1
