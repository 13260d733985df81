"""The arithmetic behind the figures."""

import pytest

from tests.bench.figures import by_subject, cpu_ratios, percentile, rate_ratios, typical, waits
from tests.bench.results import Drained, Latency


def drained(subject: str, round_: int, rate: float, cpu: float = 100) -> Drained:
    """A drain at a rate."""
    return Drained(
        subject=subject,
        round=round_,
        commands=round(rate * 10),
        seconds=10,
        cpu=cpu,
        broker_cpu=None,
        redis_cpu=None,
        memory=0,
        peak_memory=0,
    )


@pytest.mark.parametrize(
    ("count", "part", "expected"),
    [(100, 0.5, 50), (100, 0.99, 99), (1000, 0.999, 999), (10, 0.99, 10), (1, 0.5, 1), (3, 1, 3)],
)
def test_a_percentile_is_a_value_that_was_measured_and_of_few_rather_the_worst(
    count: int, part: float, expected: int
) -> None:
    """Nearest rank: ten values have no 99th percentile below their greatest."""
    assert percentile(range(1, count + 1), part) == expected


def test_a_stall_is_charged_with_every_command_that_was_due_in_it() -> None:
    """Coordinated omission: whoever waits for answers sends one command in it, and counts one."""
    due = {f"{number}": number / 100 for number in range(200)}
    came = {name: max(at, 1.0) for name, at in due.items()}
    found = waits(due, came, now=2.0)
    assert percentile(found, 0.5) == pytest.approx(0, abs=1e-6)
    assert sum(wait > 100 for wait in found) == 90
    assert found[-1] == pytest.approx(1000)


def test_what_has_not_come_has_waited_until_now() -> None:
    """Leaving it out would make whoever answers least look best."""
    assert waits({"a": 1.0, "b": 2.0}, {"b": 2.5}, now=4.0) == [500, 3000]


def test_a_ratio_is_the_median_of_each_rounds_own() -> None:
    """A machine that is half as fast in one round changes none of them."""
    drains = [
        *(drained("base", round_, rate) for round_, rate in enumerate((100, 50, 100))),
        *(drained("worker", round_, rate) for round_, rate in enumerate((600, 300, 610))),
    ]
    assert rate_ratios(drains, "base") == {"base": 1, "worker": 6}


def test_a_round_without_the_base_says_nothing_of_ratios() -> None:
    """Nor does a run without it."""
    drains = [drained("base", 1, 100, cpu=1000), drained("worker", 1, 500, cpu=200)]
    assert cpu_ratios([*drains, drained("worker", 2, 900, cpu=1)], "base")["worker"] == 0.2
    assert rate_ratios(drains, "nobody") == {}


def test_subjects_keep_the_order_in_which_they_come() -> None:
    """The tables and the plots show them so."""
    drains = [drained(subject, 1, 100) for subject in ("b", "a", "c", "a")]
    assert {key: len(found) for key, found in by_subject(drains).items()} == {
        "b": 1,
        "a": 2,
        "c": 1,
    }
    assert list(by_subject(drains)) == ["b", "a", "c"]


def waited(round_: int, p99: float, *, kept_up: bool = True, rate: int = 100) -> Latency:
    """What came of a schedule in a round."""
    return Latency("a", round_, rate, 1000, 0, p99 / 2, p99, p99 * 2, 0, kept_up)


def test_of_several_rounds_the_medians_are_shown() -> None:
    """A machine that stands still in one of three changes nothing."""
    (found,) = typical([waited(1, 4), waited(2, 900, kept_up=False), waited(3, 6)])
    assert (found.p50, found.p99, found.p999, found.kept_up) == (3, 6, 12, True)


def test_who_falls_behind_in_most_rounds_falls_behind() -> None:
    """At one rate; another rate is another matter."""
    rounds = [waited(1, 4, kept_up=False), waited(2, 5, kept_up=False), waited(3, 6)]
    found = typical([*rounds, waited(1, 3, rate=50)])
    assert [(each.rate, each.kept_up) for each in found] == [(100, False), (50, True)]
