"""A run as figures: printed, and written as Markdown and JSON."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic_core import to_json
from rich import box
from rich.console import Console
from rich.table import Table

from tests.chaos.checker import Verdict
from tests.chaos.schedule import Round
from tests.chaos.timeline import Latency, Timeline, Timing, most, percentile
from tests.saboteur import STEPS

#: What rounds of several faults are called.
_MIXED: Final = ("several", "two or three of the above at once")

_FIGURES: Final = ("recovery p50 s", "max s", "latency p50 ms", "p99 ms", "max ms")


@dataclass(frozen=True, slots=True)
class Row:
    """What one kind of fault cost.

    Attributes:
        component: What it happened to.
        fault: What happened.
        times: How often.
        felt_from: Whence recovery is counted.
        recovery_p50: Median recovery, in seconds.
        recovery_most: Longest recovery, in seconds.
        latency: What callers saw from the injection to the recovery, in seconds.
    """

    component: str
    fault: str
    times: int
    felt_from: str
    recovery_p50: float
    recovery_most: float
    latency: Latency

    @property
    def is_death(self) -> bool:
        """Whether it is the death of one worker."""
        return self.component == "worker" and self.fault.startswith("killed ")

    def figures(self) -> tuple[str, ...]:
        """Return what the table shows behind the fault's name."""
        return (
            str(self.times),
            f"{self.recovery_p50:.2f}",
            f"{self.recovery_most:.2f}",
            *(f"{value * 1000:.0f}" for value in _percentiles(self.latency)),
        )


@dataclass(frozen=True, slots=True)
class Goal:
    """What a run ought to show, beside no violations; a busy machine may keep it from that."""

    name: str
    wanted: str
    found: str
    met: bool


@dataclass(frozen=True)
class Report:
    """One run.

    Attributes:
        seed: Makes the same faults come in the same order again.
        seconds: How long commands flowed.
        versions: Of the servers.
        workers: How many there were at a time.
        verdict: The checker's.
        published_again: How often a producer published a command again.
        killed_at: How many workers died at each step.
        normal_seconds: What counted as normal time.
        latency: What callers saw over the whole run, in seconds.
        undisturbed: What they saw before the first fault, in seconds.
        rows: What each kind of fault cost.
        mixed: Which faults came at once, and how long each time was felt, in seconds.
        evidence: The whole history of each call in which something is wrong.
    """

    seed: int
    seconds: float
    versions: Mapping[str, str]
    workers: int
    verdict: Verdict
    published_again: int
    killed_at: Mapping[str, int]
    normal_seconds: float
    latency: Latency
    undisturbed: Latency
    rows: Sequence[Row]
    mixed: Sequence[tuple[str, float]]
    evidence: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Commands per second, over the whole run."""
        return self.verdict.commands / self.seconds

    def goals(self) -> Iterator[Goal]:
        """Yield what the run ought to show."""
        deaths = [row for row in self.rows if row.is_death]
        least = min(self.killed_at.get(step, 0) for step in STEPS)
        yield Goal("deaths at each step of the pipeline", "20 or more", str(least), least >= 20)
        felt = most(sorted(row.recovery_most for row in deaths))
        yield Goal("recovery from a worker's death", "under 1 s", f"{felt:.2f} s at most", felt < 1)
        for row in self.rows:
            if row.fault.startswith("one killed every second"):
                p99 = row.latency.p99
                found = f"{p99 * 1000:.0f} ms"
                yield Goal("p99 while a worker dies every second", "under 300 ms", found, p99 < 0.3)
        yield Goal("load", "200 commands/s or more", f"{self.rate:.0f}", round(self.rate) >= 200)

    def facts(self) -> Iterator[tuple[str, str]]:
        """Yield what is not in the table."""
        verdict = self.verdict
        yield "servers", ", ".join(f"{name} {number}" for name, number in self.versions.items())
        yield "workers", str(self.workers)
        yield "seed", str(self.seed)
        yield "duration", f"{self.seconds:.0f} s"
        yield "faults", str(sum(row.times for row in self.rows))
        yield "commands", f"{verdict.commands} of {verdict.calls} calls, {self.rate:.0f} a second"
        yield "published again", f"{self.published_again}, their first outcome unknown or refused"
        yield "outcomes", str(verdict.outcomes)
        yield "copies", str(verdict.copies)
        yield "violations", str(len(verdict.violations))
        p50, p99, longest = _percentiles(self.latency)
        yield "latency", f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, max {longest:.1f} s"
        p50, p99, longest = _percentiles(self.undisturbed)
        yield (
            "undisturbed",
            (f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, max {longest * 1000:.0f} ms"),
        )
        steps = ", ".join(f"{step} {count}" for step, count in sorted(self.killed_at.items()))
        yield "killed at steps", steps or "none"

    def show(self, console: Console) -> None:
        """Print it."""
        table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
        table.add_column("fault", no_wrap=True)
        for name in ("times", *_FIGURES):
            table.add_column(name, justify="right")
        component = ""
        for row in self.rows:
            if row.component != component:
                component = row.component
                table.add_row(f"[bold]{component}")
            table.add_row(row.fault, *row.figures())
        console.print(table)
        facts = Table(show_header=False, box=None)
        for fact in self.facts():
            facts.add_row(*fact)
        for goal in self.goals():
            facts.add_row(goal.name, f"{goal.found} ({goal.wanted}: {_met(goal)})")
        console.print(facts)
        if self.verdict.violations:
            console.print(self.verdict.breaches(), style="red", markup=False, highlight=False)

    def write(self, directory: Path) -> None:
        """Write ``report.md`` and ``report.json``."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "report.json").write_bytes(
            to_json(asdict(self), indent=2, inf_nan_mode="null")
        )
        (directory / "report.md").write_text("\n".join(self._markdown()) + "\n")

    def _markdown(self) -> Iterator[str]:
        yield "# Chaos"
        yield ""
        yield "| | |"
        yield "| --- | --- |"
        for name, fact in self.facts():
            yield f"| {name} | {fact} |"
        yield ""
        yield f"| component | fault | times | recovery from | {' | '.join(_FIGURES)} |"
        yield f"|{' --- |' * (4 + len(_FIGURES))}"
        for row in self.rows:
            times, *figures = row.figures()
            cells = (row.component, row.fault, times, row.felt_from, *figures)
            yield f"| {' | '.join(cells)} |"
        yield ""
        yield "Recovery: from the fault or its healing to the last outcome of what was under way"
        yield f"or was answered late, after more than {self.normal_seconds * 1000:.0f} ms."
        yield "Latency: from when a caller had its command ready to the first event that a"
        yield "subscriber saw, of the commands between the injection and the recovery."
        yield ""
        yield "| goal | wanted | found | |"
        yield "| --- | --- | --- | --- |"
        for goal in self.goals():
            yield f"| {goal.name} | {goal.wanted} | {goal.found} | {_met(goal)} |"
        yield ""
        yield "| faults at once | recovery s |"
        yield "| --- | --- |"
        for names, felt in self.mixed:
            yield f"| {names} | {felt:.2f} |"
        if self.verdict.violations:
            yield ""
            yield "## Violations"
        for violation in self.verdict.violations:
            yield ""
            yield f"- {violation}"
        for where, lines in self.evidence.items():
            yield ""
            yield f"### {where}"
            yield ""
            for line in lines:
                yield f"    {line}"


def mixed(all_rounds: Sequence[Round]) -> list[tuple[str, float]]:
    """Return which faults came at once, and how long that was felt."""
    return [
        (" + ".join(map(str, each.faults)), each.felt_seconds)
        for each in all_rounds
        if len(each.faults) > 1
    ]


def rows(all_rounds: Sequence[Round], timeline: Timeline) -> list[Row]:
    """Summarise rounds by kind of fault, in the order in which the kinds came first."""
    kinds: dict[tuple[str, str], list[Round]] = defaultdict(list)
    for each in all_rounds:
        fault = each.faults[0]
        kinds[(fault.component, fault.name) if len(each.faults) == 1 else _MIXED].append(each)
    # Rounds of several faults come first with a second turn of single ones still ahead.
    ordered = sorted(kinds.items(), key=lambda kind: kind[0] == _MIXED)
    return [_row(kind, of_kind, timeline) for kind, of_kind in ordered]


def _row(kind: tuple[str, str], of_kind: Sequence[Round], timeline: Timeline) -> Row:
    recoveries = sorted(each.felt_seconds for each in of_kind)
    timings: list[Timing] = []
    for each in of_kind:
        timings += timeline.between(each.began, each.calm)
    return Row(
        component=kind[0],
        fault=kind[1],
        times=len(of_kind),
        felt_from=of_kind[0].faults[0].felt_from if kind != _MIXED else "the last of them",
        recovery_p50=percentile(recoveries, 50),
        recovery_most=most(recoveries),
        latency=Latency.of(timings),
    )


def _met(goal: Goal) -> str:
    return "met" if goal.met else "MISSED"


def _percentiles(latency: Latency) -> tuple[Any, ...]:
    return latency.p50, latency.p99, latency.most
