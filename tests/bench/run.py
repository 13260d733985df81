"""The whole run: what is measured, in which order, how often."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from deploy.local import Services
from tests.bench.contenders import Contender
from tests.bench.drain import Window, backlog, drain
from tests.bench.latency import latency
from tests.bench.machine import machine, versions
from tests.bench.results import Results
from tests.bench.stage import stage

#: Told of each step: what was measured, and what came of it.
Progress = Callable[[str], None]

#: Rates at which latency is measured, in commands per second; at the last, FastStream falls behind.
RATES: Final = (100, 300, 600, 1500)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is asked for.

    Attributes:
        contenders: Who competes.
        rounds: How often everything is measured; within a round, everybody comes once.
        commands: The backlog of each drain.
        window: When a drain is measured.
        latency_seconds: How long the schedule of one rate is.
        seed: Of the commands.
    """

    contenders: Sequence[Contender]
    rounds: int = 3
    commands: int = 50_000
    window: Window = field(default_factory=Window)
    latency_seconds: float = 12.0
    seed: int = 1


#: One measurement: told what is missing of the results, it adds to them.
Measurement = Callable[[Services, Plan, Results, Progress], Awaitable[None]]


async def _drain(services: Services, plan: Plan, results: Results, progress: Progress) -> None:
    for round_ in range(1, plan.rounds + 1):
        for contender in plan.contenders:
            async with stage(services, contender) as place:
                await place.publish(backlog(plan.seed + round_, plan.commands))
                found = await drain(place, contender.key, round_, plan.window)
            results.drain.append(found)
            progress(
                f"drain, round {round_}: {contender.title}: {found.rate:.0f} commands/s,"
                f" {found.cpu:.0f} us each"
            )


async def _latency(services: Services, plan: Plan, results: Results, progress: Progress) -> None:
    for rate in RATES:
        for contender in plan.contenders:
            if contender.is_limit:
                continue
            async with stage(services, contender) as place:
                found = await latency(place, rate, plan.latency_seconds, seed=plan.seed)
            results.latency.append(found)
            progress(
                f"latency at {rate}/s: {contender.title}: p50 {found.p50:.1f} ms,"
                f" p99 {found.p99:.1f} ms{'' if found.kept_up else ', and falls behind'}"
            )


#: What can be asked for, by the name it has on the command line.
MEASUREMENTS: Final[dict[str, Measurement]] = {
    "drain": _drain,
    "latency": _latency,
}


async def run(services: Services, plan: Plan, wanted: Sequence[str], progress: Progress) -> Results:
    """Measure what is wanted.

    Raises:
        JobNotDone: A contender has not done its job, so that its figures mean nothing.
    """
    results = Results(
        machine=machine(),
        versions=await versions(services),
        settings={
            "rounds": plan.rounds,
            "commands": plan.commands,
            "drain_seconds": plan.window.seconds,
            "latency_seconds": plan.latency_seconds,
            "seed": plan.seed,
        },
    )
    for name in wanted:
        await MEASUREMENTS[name](services, plan, results, progress)
    return results
