"""Medians, ratios and percentiles; nothing here measures anything."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from tests.bench.results import Drained, Latency


def percentile(sorted_values: Sequence[float], part: float) -> float:
    """Return the smallest value that at least this part of all values do not exceed.

    The nearest-rank method: always a value that was measured, and of few values rather the worst
    than one between.

    Args:
        sorted_values: At least one value, in ascending order.
        part: More than 0 and at most 1.
    """
    return sorted_values[max(1, math.ceil(part * len(sorted_values) - 1e-9)) - 1]


def waits(due: Mapping[str, float], came: Mapping[str, float], now: float) -> list[float]:
    """Return how long each took from when it was due to when it came, in order, in milliseconds.

    What has not come has waited until now.

    Args:
        due: When each was due, in seconds.
        came: When it came, of those that did.
        now: The present.
    """
    return sorted(1000 * (came.get(each, now) - at) for each, at in due.items())


def typical(found: Iterable[Latency]) -> list[Latency]:
    """Return for each contender and rate one that has the medians over its rounds.

    Who has kept up in most rounds has kept up.
    """
    groups: dict[tuple[str, int], list[Latency]] = defaultdict(list)
    for each in found:
        groups[each.subject, each.rate].append(each)
    return [
        replace(
            rounds[0],
            p50=median(each.p50 for each in rounds),
            p99=median(each.p99 for each in rounds),
            p999=median(each.p999 for each in rounds),
            kept_up=2 * sum(each.kept_up for each in rounds) > len(rounds),
        )
        for rounds in groups.values()
    ]


def by_subject(drains: Iterable[Drained]) -> dict[str, list[Drained]]:
    """Return the drains of each subject, in the order in which subjects first come."""
    found: dict[str, list[Drained]] = defaultdict(list)
    for drain in drains:
        found[drain.subject].append(drain)
    return dict(found)


def median_rate(drains: Iterable[Drained]) -> float:
    """Return the median of the rates, in commands per second."""
    return median(drain.rate for drain in drains)


def median_cpu(drains: Iterable[Drained]) -> float:
    """Return the median of the CPU times, in microseconds per command."""
    return median(drain.cpu for drain in drains)


def rate_ratios(drains: Iterable[Drained], base: str) -> dict[str, float]:
    """Return for each subject the median over the rounds of its rate by the base's in that round.

    The machine's speed changes during a run; within a round it matters least.
    """
    return _ratios(drains, base, lambda drain: drain.rate)


def cpu_ratios(drains: Iterable[Drained], base: str) -> dict[str, float]:
    """Return likewise the ratios of the CPU time per command."""
    return _ratios(drains, base, lambda drain: drain.cpu)


def _ratios(
    drains: Iterable[Drained], base: str, figure: Callable[[Drained], float]
) -> dict[str, float]:
    found = by_subject(drains)
    bases = {drain.round: figure(drain) for drain in found.get(base, [])}
    ratios = {
        subject: [figure(each) / bases[each.round] for each in of_subject if each.round in bases]
        for subject, of_subject in found.items()
    }
    return {subject: median(values) for subject, values in ratios.items() if values}
