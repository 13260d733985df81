"""Results as Markdown: what the README shows between ``<!-- bench -->`` and ``<!-- end -->``."""

import re
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final

from tests.bench.contenders import BASE, contender_of
from tests.bench.figures import by_subject, median_cpu, median_rate, rate_ratios, typical
from tests.bench.goals import goals
from tests.bench.results import Drained, Latency, Results

_BLOCK: Final = re.compile(r"(<!-- bench -->\n).*?(<!-- end -->)", re.DOTALL)

_MET: Final = {True: "yes", False: "no", None: "-"}


def renewed(page: str, results: Results) -> str:
    """Return a page with what it shows of the results made anew."""
    shown = "\n".join(part for part in _parts(results) if part)
    return _BLOCK.sub(lambda found: f"{found[1]}{shown}{found[2]}", page)


def _parts(results: Results) -> list[str]:
    return [
        _drain(results.drain),
        _latency(results.latency),
        _scaling(results),
        _goals(results),
        _circumstances(results),
    ]


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _drain(drains: Sequence[Drained]) -> str:
    if not drains:
        return ""
    ratios = rate_ratios(drains, BASE)
    return _markdown(
        [
            "draining a backlog",
            "commands/s",
            "x FastStream",
            "CPU per command",
            "of RabbitMQ",
            "of Redis",
            "memory",
        ],
        (
            [
                contender_of(key).title,
                f"{median_rate(of_one):.0f}",
                f"{ratios[key]:.1f}" if key in ratios else "-",
                _microseconds(median_cpu(of_one)),
                _microseconds(_median(each.broker_cpu for each in of_one)),
                _microseconds(_median(each.redis_cpu for each in of_one)),
                f"{median(each.peak_memory for each in of_one) / 2**20:.0f} MiB",
            ]
            for key, of_one in by_subject(drains).items()
        ),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _microseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} µs"


def _latency(rounds: Sequence[Latency]) -> str:
    if not rounds:
        return ""
    found = typical(rounds)
    rates = sorted({each.rate for each in found})
    at = {(each.subject, each.rate): each for each in found}
    keys = dict.fromkeys(each.subject for each in found)
    return _markdown(
        ["p50 / p99 / p99.9 in ms, at", *(f"{rate}/s" for rate in rates)],
        (
            [contender_of(key).title, *(_waits(at.get((key, rate))) for rate in rates)]
            for key in keys
        ),
    )


def _waits(found: Latency | None) -> str:
    if found is None:
        return "-"
    if not found.kept_up:
        return f"falls behind ({found.p99 / 1000:.1f} s)"
    return f"{found.p50:.1f} / {found.p99:.1f} / {found.p999:.1f}"


def _scaling(results: Results) -> str:
    rows = [
        *_growth("{} live calls", results.live_calls),
        *_growth("calls that have had {} commands", results.history),
        *_growth("{} worker process(es)", results.processes),
        *_growth(
            f"{{}} worker process(es), {results.settings.get('share', 0):.0%} of a core each",
            results.shares,
        ),
    ]
    if not rows:
        return ""
    return _markdown(["one worker, as things grow", "commands/s", "ratio", "CPU per command"], rows)


def _growth(text: str, drains: Sequence[Drained]) -> list[list[str]]:
    found = by_subject(drains)
    if not found:
        return []
    ratios = rate_ratios(drains, next(iter(found)))
    return [
        [
            text.format(f"{int(subject):,}"),
            f"{median_rate(of_one):.0f}",
            f"{ratios[subject]:.2f}",
            _microseconds(median_cpu(of_one)),
        ]
        for subject, of_one in found.items()
    ]


def _goals(results: Results) -> str:
    return _markdown(
        ["goal", "wanted", "measured", "met"],
        (
            [goal.text, goal.wanted, goal.measured or "-", _MET[goal.is_met]]
            for goal in goals(results)
        ),
    )


def _circumstances(results: Results) -> str:
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return (
        f"{machine.cpu}, {machine.cores} cores for everything, {machine.memory / 2**30:.0f} GiB,"
        f" Linux {machine.kernel}. {versions}. {results.settings['rounds']:g} rounds, of the"
        f" schedules {results.settings['latency_rounds']:g}.\n"
    )
