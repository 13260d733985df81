"""What a run finds, as it is written to ``results.json``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from tests.harness import ROOT

#: The run that the README shows.
RESULTS: Final = ROOT / "tests" / "bench" / "results.json"


@dataclass(frozen=True, slots=True)
class Drained:
    """One drain: what came of a backlog between two points in time well inside of it.

    Attributes:
        subject: What differs from the other drains: the contender, the number of calls …
        round: The round, from 1.
        commands: Commands taken from the queue in between.
        seconds: The time in between.
        cpu: CPU of the contender's processes in microseconds per command.
        broker_cpu: RabbitMQ's; None where its process is not seen.
        redis_cpu: Likewise.
        memory: Resident memory of its largest process at the end, in bytes.
        peak_memory: The most that was.
    """

    subject: str
    round: int
    commands: int
    seconds: float
    cpu: float
    broker_cpu: float | None
    redis_cpu: float | None
    memory: int
    peak_memory: int

    @property
    def rate(self) -> float:
        """Commands per second."""
        return self.commands / self.seconds


@dataclass(frozen=True, slots=True)
class Latency:
    """The time from when a command was due to when its event arrived, at one rate.

    Attributes:
        subject: The contender.
        round: The round, from 1.
        rate: Commands per second, by the schedule.
        commands: How many.
        unanswered: How many had no event when the wait for them ended; they count with the time
            that they had waited by then.
        p50: Milliseconds.
        p99: Likewise.
        p999: Likewise.
        producer_late: How late commands were sent, at the 99th percentile, in milliseconds; that
            is the benchmark's own doing, and part of the figures above.
        kept_up: Whether no more was waiting at the end of the schedule than half a second's worth.
    """

    subject: str
    round: int
    rate: int
    commands: int
    unanswered: int
    p50: float
    p99: float
    p999: float
    producer_late: float
    kept_up: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """What it ran on."""

    cpu: str
    cores: int
    memory: int
    kernel: str


@dataclass(slots=True)
class Results:
    """Everything a run finds; what was not asked for is empty.

    Attributes:
        machine: What it ran on.
        versions: Of everything, by name.
        settings: What the run was asked for.
        drain: By contender.
        latency: By contender and rate.
        live_calls: The worker's drains, by the number of live calls.
        history: Likewise, by the number of commands that each call has had.
        processes: Likewise, by the number of worker processes.
        shares: Likewise, where each has a share of a core and no more.
        call_bytes: Redis memory of a finished call of eight commands.
        first_event: Seconds from spawning a worker to its first event.
    """

    machine: Machine
    versions: dict[str, str]
    settings: dict[str, float]
    drain: list[Drained] = field(default_factory=list)
    latency: list[Latency] = field(default_factory=list)
    live_calls: list[Drained] = field(default_factory=list)
    history: list[Drained] = field(default_factory=list)
    processes: list[Drained] = field(default_factory=list)
    shares: list[Drained] = field(default_factory=list)
    call_bytes: float | None = None
    first_event: list[float] = field(default_factory=list)


_ADAPTER: Final = TypeAdapter(Results)


def write(results: Results, path: Path) -> None:
    """Write results as JSON."""
    path.write_bytes(_ADAPTER.dump_json(results, indent=1) + b"\n")


def read(path: Path) -> Results:
    """Read what ``write`` has written."""
    return _ADAPTER.validate_json(path.read_bytes())
