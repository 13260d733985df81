"""When commands were wanted and when they were answered: latency, and recovery from faults."""

import asyncio
import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

#: Commands have to be answered in normal time for so long before a fault counts as overcome.
_CALM_SECONDS: Final = 0.25

#: The least that is called normal time: scheduling on a busy machine takes part of it.
_LEAST_NORMAL_SECONDS: Final = 0.25

#: Normal time is so many times the undisturbed 99th percentile.
_MARGIN: Final = 2.0


@dataclass(slots=True)
class Timing:
    """One command: when its caller wanted it published, and when its first event was seen."""

    wanted_at: float
    answered_at: float = float("inf")

    @property
    def latency(self) -> float:
        """Seconds that the caller waited; infinite where nothing came."""
        return self.answered_at - self.wanted_at


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles, in seconds."""

    commands: int
    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, timings: Iterable[Timing]) -> "Latency":
        """Summarise timings."""
        latencies = sorted(timing.latency for timing in timings)
        return cls(
            len(latencies), percentile(latencies, 50), percentile(latencies, 99), most(latencies)
        )


def percentile(values: Sequence[float], per_cent: float) -> float:
    """Return a percentile of sorted values; 0 of none."""
    return values[min(len(values) - 1, int(len(values) * per_cent / 100))] if values else 0.0


def most(values: Sequence[float]) -> float:
    """Return the last of sorted values; 0 of none."""
    return values[-1] if values else 0.0


class Timeline:
    """All commands of a run in the order in which they were wanted.

    A command is wanted when its caller has it ready, so waiting for a broker that is away counts.
    """

    def __init__(self) -> None:
        self.timings: list[Timing] = []
        self.outstanding: dict[str, Timing] = {}
        #: Those that have been answered, in the order of their answers.
        self.answers: list[Timing] = []
        self._normal_seconds = _LEAST_NORMAL_SECONDS
        self._last_late = float("-inf")

    @property
    def normal_seconds(self) -> float:
        """What counts as normal time in this run."""
        return self._normal_seconds

    def wanted(self, message: str) -> None:
        """Note that a message is to be published now."""
        timing = Timing(time.monotonic())
        self.timings.append(timing)
        self.outstanding[message] = timing

    def answered(self, message: str) -> None:
        """Note that an event answers a message; only the first one counts."""
        timing = self.outstanding.pop(message, None)
        if timing is not None:
            timing.answered_at = time.monotonic()
            self.answers.append(timing)
            if timing.latency > self._normal_seconds:
                self._last_late = max(self._last_late, timing.wanted_at)

    def calibrate(self, undisturbed: Latency) -> None:
        """Set what is normal by what callers saw without faults."""
        self._normal_seconds = max(_LEAST_NORMAL_SECONDS, _MARGIN * undisturbed.p99)

    async def until_calm(self, since: float, seconds: float) -> bool:
        """Wait until commands are answered in normal time; return whether that came in time.

        Args:
            since: Only what came later shows anything.
            seconds: How long to wait.
        """
        deadline = time.monotonic() + seconds
        while not self._calm(since):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    def forgotten(self, since: float) -> int:
        """Return how many commands were wanted before a time and are not answered yet."""
        return sum(timing.wanted_at < since for timing in self.outstanding.values())

    def _calm(self, since: float) -> bool:
        judged = time.monotonic() - self._normal_seconds
        oldest = next(iter(self.outstanding.values()), None)
        if oldest is not None and oldest.wanted_at < judged:
            return False
        return judged - max(self._last_late, since) > _CALM_SECONDS

    def recovery(self, since: float, until: float) -> float:
        """Return how long a fault was felt, in seconds.

        Until the last outcome of what was under way at ``since``, or came later and was answered
        late.

        Args:
            since: When the fault was, or its healing.
            until: When all was calm again.
        """
        # Looking at all there ever were would take as long as what is measured.
        at = attrgetter("answered_at")
        first, end = (bisect_right(self.answers, time, key=at) for time in (since, until))
        for timing in reversed(self.answers[first:end]):
            if timing.wanted_at <= since or timing.latency > self._normal_seconds:
                return timing.answered_at - since
        return 0.0

    def between(self, since: float, until: float) -> list[Timing]:
        """Return the commands that were wanted and answered in a span of time."""
        return [
            timing
            for timing in self.timings
            if since <= timing.wanted_at and timing.answered_at <= until
        ]
