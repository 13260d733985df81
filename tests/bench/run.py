"""The whole run: what is measured, in which order, how often."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from itertools import product
from typing import Final

from deploy.local import Services
from tests.bench.contenders import WORKER, Contender
from tests.bench.drain import Window, backlog, drain
from tests.bench.latency import latency
from tests.bench.machine import machine, versions
from tests.bench.results import Drained, Results
from tests.bench.scaling import bytes_per_call, drain_loaded, first_event, loaded
from tests.bench.shares import NoShares, share_of_a_core
from tests.bench.stage import stage

#: Told of each step: what was measured, and what came of it.
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is asked for; within a round, everybody comes once.

    Attributes:
        contenders: Who competes.
        rounds: How often every drain is measured.
        commands: The backlog of each.
        window: When it is measured.
        rates: Rates at which latency is measured, in commands per second; at the last, FastStream
            falls behind.
        latency_rounds: How often every schedule is measured: of what is rare there is less to see.
        latency_seconds: How long the schedule of each is.
        live_calls: Numbers of live calls.
        history: Numbers of commands that calls have had.
        scaling_commands: The backlog for calls that are there already.
        processes: Numbers of worker processes.
        share: The part of a core that each of one and of two workers gets, where RabbitMQ is not to
            be what limits them.
        share_commands: The backlog for these.
        starts: How often a worker's start is measured.
        seed: Of the commands.
    """

    contenders: Sequence[Contender]
    rounds: int = 3
    commands: int = 50_000
    window: Window = field(default_factory=Window)
    rates: Sequence[int] = (100, 300, 600, 1500)
    latency_rounds: int = 5
    latency_seconds: float = 6.0
    live_calls: Sequence[int] = (1_000, 10_000, 100_000, 1_000_000)
    history: Sequence[int] = (10, 100, 1000)
    scaling_commands: int = 20_000
    processes: Sequence[int] = (1, 2, 4)
    share: float = 0.25
    share_commands: int = 100_000
    starts: int = 5
    seed: int = 1

    @property
    def rounds_from_1(self) -> range:
        """The rounds."""
        return range(1, self.rounds + 1)


@dataclass(frozen=True, slots=True)
class Run:
    """One run.

    Args:
        services: RabbitMQ and Redis.
        plan: What is asked for.
        results: What has been found so far.
        progress: Told of each step.
    """

    services: Services
    plan: Plan
    results: Results
    progress: Progress

    async def drain(self) -> None:
        """Have every contender drain a backlog."""
        for round_ in self.plan.rounds_from_1:
            for contender in self.plan.contenders:
                found = await self._drained(contender, contender.key, round_)
                self._add(self.results.drain, contender.title, found)

    async def latency(self) -> None:
        """Give every contender commands on a schedule."""
        peers = [each for each in self.plan.contenders if not each.is_limit]
        rounds = range(1, self.plan.latency_rounds + 1)
        for round_, rate, contender in product(rounds, self.plan.rates, peers):
            async with stage(self.services, contender) as place:
                found = await latency(
                    place, round_, rate, self.plan.latency_seconds, seed=self.plan.seed + round_
                )
            self.results.latency.append(found)
            self.progress(
                f"round {round_}, {contender.title} at {rate}/s: p50 {found.p50:.1f} ms, p99"
                f" {found.p99:.1f} ms{'' if found.kept_up else ', falling behind'}"
            )

    async def live_calls(self) -> None:
        """Have the worker drain commands of few and of many live calls."""
        places = {count: (count, 1) for count in self.plan.live_calls}
        await self._scaled("live calls", places, self.results.live_calls)

    async def history(self) -> None:
        """Have the worker drain commands of calls with short and with long histories."""
        places = {length: (self.plan.live_calls[0], length) for length in self.plan.history}
        await self._scaled("commands a call has had", places, self.results.history)

    async def _scaled(
        self, what: str, places: dict[int, tuple[int, int]], found: list[Drained]
    ) -> None:
        async with AsyncExitStack() as stack:
            ready = {}
            for number, (calls, history) in places.items():
                self.progress(f"storing {calls} calls that have had {history} commands each")
                ready[number] = await stack.enter_async_context(
                    loaded(self.services, calls, history)
                )
            for round_ in self.plan.rounds_from_1:
                for number, place in ready.items():
                    drained = await drain_loaded(
                        place, f"{number}", round_, self.plan.scaling_commands, self.plan.window
                    )
                    self._add(found, f"{number} {what}", drained)

    async def processes(self) -> None:
        """Have several worker processes drain a backlog."""
        for round_ in self.plan.rounds_from_1:
            for count in self.plan.processes:
                found = await self._drained(WORKER, f"{count}", round_, count)
                self._add(self.results.processes, f"{count} worker processes", found)

    async def shares(self) -> None:
        """Have one and two workers drain a backlog that have a share of a core each."""
        try:
            with ExitStack() as stack:
                groups = [stack.enter_context(share_of_a_core(self.plan.share)) for _ in range(2)]
                for round_, count in product(self.plan.rounds_from_1, (1, 2)):
                    async with stage(self.services, WORKER) as place:
                        place.shares = groups
                        await place.publish(
                            backlog(self.plan.seed + round_, self.plan.share_commands)
                        )
                        found = await drain(place, f"{count}", round_, self.plan.window, count)
                    title = f"{count} worker processes, {self.plan.share:.0%} of a core each"
                    self._add(self.results.shares, title, found)
        except NoShares as error:
            self.progress(f"not measured: {error}")

    async def memory(self) -> None:
        """Look at what finished calls take in Redis."""
        self.results.call_bytes = await bytes_per_call(self.services)
        self.progress(f"a finished call of 8 commands: {self.results.call_bytes:.0f} bytes")

    async def start(self) -> None:
        """Start workers, and wait for their first events."""
        for _ in range(self.plan.starts):
            seconds = await first_event(self.services)
            self.results.first_event.append(seconds)
            self.progress(f"start to first event: {seconds:.2f} s")

    async def _drained(
        self, contender: Contender, subject: str, round_: int, processes: int = 1
    ) -> Drained:
        async with stage(self.services, contender) as place:
            await place.publish(backlog(self.plan.seed + round_, self.plan.commands))
            return await drain(place, subject, round_, self.plan.window, processes)

    def _add(self, to: list[Drained], title: str, found: Drained) -> None:
        to.append(found)
        self.progress(
            f"round {found.round}, {title}: {found.rate:.0f} commands/s, {found.cpu:.0f} us each"
        )


#: What can be measured, by the name it has on the command line.
MEASUREMENTS: Final[dict[str, Callable[[Run], Awaitable[None]]]] = {
    "drain": Run.drain,
    "latency": Run.latency,
    "live-calls": Run.live_calls,
    "history": Run.history,
    "processes": Run.processes,
    "shares": Run.shares,
    "memory": Run.memory,
    "start": Run.start,
}


async def run(services: Services, plan: Plan, wanted: Sequence[str], progress: Progress) -> Results:
    """Measure what is wanted.

    Raises:
        JobNotDone: A contender has not done its job, so that its figures mean nothing.
        BacklogTooSmall: A contender was too fast to be measured.
    """
    results = Results(
        machine=machine(),
        versions=await versions(services),
        settings={
            "rounds": plan.rounds,
            "commands": plan.commands,
            "scaling_commands": plan.scaling_commands,
            "drain_seconds": plan.window.seconds,
            "latency_rounds": plan.latency_rounds,
            "latency_seconds": plan.latency_seconds,
            "share": plan.share,
            "seed": plan.seed,
        },
    )
    for name in wanted:
        await MEASUREMENTS[name](Run(services, plan, results, progress))
    return results
