"""How fast a contender gets through a backlog, and at what cost."""

import asyncio
import time
from dataclasses import dataclass
from itertools import islice
from typing import Final

from tests.bench.commands import Sent, mixed
from tests.bench.results import Drained
from tests.bench.stage import JobNotDone, Sample, Stage

#: A contender counts as at work when it has taken so many commands, or this part of the backlog.
_STARTED_COMMANDS: Final = 500
_STARTED_PART: Final = 0.1

#: The part of the backlog after which the end of it could show.
_LAST_PART: Final = 0.9

#: Seconds that a contender may take to start on a busy machine.
START_SECONDS: Final = 60.0

#: Seconds between two looks at a contender, before it is measured and meanwhile; each costs the
#: broker one answer per queue.
_POLL_SECONDS: Final = 0.1
_LOOK_SECONDS: Final = 0.5

#: Seconds in which an event reaches the journal, whatever the machine has to do besides.
_JOURNAL_SECONDS: Final = 10.0


class BacklogTooSmall(Exception):
    """Raised when nothing is left of a backlog by the time that a contender has warmed up."""


@dataclass(frozen=True, slots=True)
class Window:
    """When a drain is measured.

    Attributes:
        settle_seconds: How long a contender may warm up, once it is at work.
        seconds: How long it is measured at most; less where the backlog ends before.
    """

    settle_seconds: float = 1.0
    seconds: float = 8.0


async def drain(
    stage: Stage, subject: str, round_: int, window: Window, processes: int = 1
) -> Drained:
    """Start a contender on what is published, measure it for a while, and stop it.

    Args:
        stage: The contender's place, with the backlog in it.
        subject: What the results call it.
        round_: The round.
        window: When to measure.
        processes: How many processes to start.

    Raises:
        JobNotDone: It has not done its job.
        BacklogTooSmall: It was too fast to be measured.
    """
    before = await stage.done()
    await stage.start(processes)
    await _warm(stage, before, window)
    end = before + (stage.published - before) * _LAST_PART
    first = last = await stage.sample()
    while last is first or (goes_on(first, last, window) and last.done < end):
        await asyncio.sleep(min(_LOOK_SECONDS, window.seconds / 10))
        last = await stage.sample()
    found = _drained(stage, subject, round_, first, last)
    await stage.stop()
    await check(stage)
    return found


def goes_on(first: Sample, last: Sample, window: Window) -> bool:
    """Tell whether a measurement goes on; for longer than planned while nothing has been done."""
    seconds = window.seconds if last.done > first.done else START_SECONDS
    return last.at - first.at < seconds


async def _warm(stage: Stage, before: int, window: Window) -> None:
    """Wait until it has been at work for a while, but leave half of the backlog.

    Of workers, until they have shared the partitions out.

    Raises:
        JobNotDone: It takes no commands.
    """
    backlog = stage.published - before
    wanted = min(_STARTED_COMMANDS, backlog * _STARTED_PART)
    started = time.monotonic()
    at_work: float | None = None
    while (done := await stage.done() - before) < backlog / 2:
        now = time.monotonic()
        if at_work is None and done >= wanted and stage.has_joined():
            at_work = now
        if at_work is not None and now - at_work >= window.settle_seconds:
            return
        if now - started > START_SECONDS:
            log = stage.processes[0].log.read_text()[-2000:]
            raise JobNotDone(f"{stage.contender.title} takes too few commands; its log: {log}")
        await asyncio.sleep(_POLL_SECONDS)


def _drained(stage: Stage, subject: str, round_: int, first: Sample, last: Sample) -> Drained:
    commands = last.done - first.done
    if commands <= 0:
        raise BacklogTooSmall(f"{stage.contender.title} has nothing left to be measured by")

    def per_command(before: float | None, after: float | None) -> float | None:
        return None if before is None or after is None else (after - before) * 1e6 / commands

    memory = stage.memory()
    return Drained(
        subject=subject,
        round=round_,
        commands=commands,
        seconds=last.at - first.at,
        cpu=(last.cpu - first.cpu) * 1e6 / commands,
        broker_cpu=per_command(first.broker_cpu, last.broker_cpu),
        redis_cpu=per_command(first.redis_cpu, last.redis_cpu),
        memory=memory.now,
        peak_memory=memory.peak,
    )


async def check(stage: Stage, patience_seconds: float = _JOURNAL_SECONDS) -> None:
    """Make sure that every command that is gone from the queue has its event.

    What was in hand when the contender stopped goes back to the queue.

    Raises:
        JobNotDone: Some have none.
    """
    if not stage.contender.consumes:
        return
    deadline = time.monotonic() + patience_seconds
    answered: set[str] = set()
    gone = stage.published - await stage.waiting()
    while len(answered) < gone and time.monotonic() < deadline:
        answered = await stage.answered(gone, seconds=patience_seconds / 5)
        gone = stage.published - await stage.waiting()
    if len(answered) < gone:
        raise JobNotDone(
            f"{stage.contender.title} has taken {gone} commands and answered {len(answered)}"
        )


def backlog(seed: int, count: int) -> list[Sent]:
    """Return what is published before a drain."""
    return list(islice(mixed(seed), count))
