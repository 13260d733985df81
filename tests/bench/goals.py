"""What the worker has to reach beside its peers, and whether it does."""

from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.bench.contenders import BASE, WORKER
from tests.bench.figures import by_subject, cpu_ratios, rate_ratios, typical
from tests.bench.results import Latency, Results

#: Cores below which two workers, RabbitMQ, Redis and the benchmark are in each other's way.
_ENOUGH_CORES: Final = 5


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal.

    Attributes:
        text: What is compared.
        wanted: What it should be.
        measured: What it is; empty where it was not measured.
        is_met: Whether it is so; None where that was not measured, or cannot be here.
    """

    text: str
    wanted: str
    measured: str = ""
    is_met: bool | None = None


def goals(results: Results) -> list[Goal]:
    """Return every goal, with what was measured of it."""
    return [
        *_throughput(results),
        *_cpu(results),
        *_latency(results),
        _growth(results),
        _memory(results),
        _workers(results),
        _start(results),
    ]


def _throughput(results: Results) -> list[Goal]:
    found = []
    for base, title, times in ((BASE, "FastStream", 6.0), ("aio-pika", "plain aio-pika", 3.5)):
        goal = Goal(f"drain throughput, one worker, by that of {title}", f"≥ {times:g}")
        ratio = rate_ratios(results.drain, base).get(WORKER.key)
        if ratio is not None:
            goal = Goal(goal.text, goal.wanted, f"{ratio:.2f}", ratio >= times)
        found.append(goal)
    return found


def _cpu(results: Results) -> list[Goal]:
    part = Goal("CPU per command, by FastStream's", "≤ 1/6")
    scaled = Goal("CPU per command where FastStream takes 1000 µs", "≤ 150 µs")
    ratio = cpu_ratios(results.drain, BASE).get(WORKER.key)
    if ratio is None:
        return [part, scaled]
    return [
        Goal(part.text, part.wanted, f"1/{1 / ratio:.1f}", ratio <= 1 / 6),
        Goal(scaled.text, scaled.wanted, f"{1000 * ratio:.0f} µs", 1000 * ratio <= 150),
    ]


def _latency(results: Results) -> list[Goal]:
    found = []
    waited = typical(results.latency)
    for rate in sorted({each.rate for each in waited}):
        at_rate = {each.subject: each for each in waited if each.rate == rate}
        ours = at_rate.get(WORKER.key)
        peers = [each for key, each in at_rate.items() if not key.startswith(WORKER.key)]
        for kept_up, part in ((True, 1.0), (False, 0.2)):
            their = [each.p99 for each in peers if each.kept_up is kept_up]
            if ours is not None and their:
                found.append(_against(ours, min(their), part))
    return found or [
        Goal("p99 where peers keep up", "≤ the best peer's"),
        Goal("p99 where peers fall behind", "≤ 1/5 of theirs"),
    ]


def _against(ours: Latency, theirs: float, part: float) -> Goal:
    where = "that keep up" if part == 1 else "that fall behind"
    wanted = "≤ the best's" if part == 1 else "≤ 1/5 of the best's"
    return Goal(
        f"p99 at {ours.rate}/s, by that of peers {where}",
        wanted,
        f"{ours.p99:.1f} ms to {theirs:.1f} ms",
        ours.p99 <= theirs * part,
    )


def _growth(results: Results) -> Goal:
    goal = Goal("throughput with most live calls, by that with fewest", "≥ 0.95")
    found = by_subject(results.live_calls)
    if len(found) > 1:
        fewest, *_, most = found
        ratio = rate_ratios(results.live_calls, fewest)[most]
        goal = Goal(
            f"throughput with {int(most):,} live calls, by that with {int(fewest):,}",
            goal.wanted,
            f"{ratio:.2f}",
            ratio >= 0.95,
        )
    return goal


def _memory(results: Results) -> Goal:
    goal = Goal("Redis memory of a finished call of 8 commands", "≤ 1 KiB")
    found = results.call_bytes
    if found is not None:
        goal = Goal(goal.text, goal.wanted, f"{found:.0f} bytes", found <= 1024)
    return goal


def _workers(results: Results) -> Goal:
    goal = Goal("throughput of two workers, by that of one", "≥ 1.8")
    shared = rate_ratios(results.shares, "1").get("2")
    if shared is not None:
        part = results.settings["share"]
        text = f"{goal.text}, each with {part:.0%} of a core"
        return Goal(text, goal.wanted, f"{shared:.2f}", shared >= 1.8)
    ratio = rate_ratios(results.processes, "1").get("2")
    if ratio is None:
        return goal
    if ratio < 1.8 and results.machine.cores < _ENOUGH_CORES:
        measured = f"{ratio:.2f}, with {results.machine.cores} cores for everything"
        return Goal(goal.text, goal.wanted, measured)
    return Goal(goal.text, goal.wanted, f"{ratio:.2f}", ratio >= 1.8)


def _start(results: Results) -> Goal:
    goal = Goal("start to first event", "≤ 1 s")
    if results.first_event:
        seconds = median(results.first_event)
        goal = Goal(goal.text, goal.wanted, f"{seconds:.2f} s", seconds <= 1)
    return goal
