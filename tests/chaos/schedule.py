"""When which faults come: each alone in turn, then some at once, and so on."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Final

from tests.chaos.target import Fault, Target
from tests.chaos.timeline import Timeline

#: Seconds after which a system that is still behind gets the next fault all the same; if commands
#: from before the healing wait until then, nobody cares for them any more.
_RECOVERY_SECONDS: Final = 60.0

#: How many faults come at once, at most, each of another component.
_MOST_AT_ONCE: Final = 3

#: Seconds within which faults at once begin.
_SPREAD_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Round:
    """One fault, or several at once, and the recovery from it.

    Attributes:
        faults: What came.
        began: When.
        calm: When commands were answered in normal time again, or the next fault was due.
        felt_seconds: The recovery; see ``Fault.felt_from`` and ``Timeline.recovery``.
        forgotten: How many commands from before the healing were not answered by then.
    """

    faults: tuple[Fault, ...]
    began: float
    calm: float
    felt_seconds: float
    forgotten: int


async def rounds(
    faults: Sequence[Fault], target: Target, timeline: Timeline, until: float
) -> AsyncIterator[Round]:
    """Inject every fault alone, then some at once, and so on until it is time to end.

    Every fault comes once, however long that takes; those that are to come more often come again
    in the next turns.

    Args:
        faults: The faults.
        target: What they happen to.
        timeline: What callers see meanwhile.
        until: The time to end, by ``time.monotonic``.
    """
    most = max(fault.times for fault in faults)
    by_component: dict[str, list[Fault]] = {}
    for fault in faults:
        if fault.mixes:
            by_component.setdefault(fault.component, []).append(fault)
    for turn in count():
        for fault in faults:
            # Those that come once have theirs again when the others have had all of theirs.
            due = turn % most < fault.times
            if due and (turn == 0 or time.monotonic() < until):
                yield await _round((fault,), target, timeline)
        if time.monotonic() > until:
            return
        if len(by_component) > 1:
            yield await _round(_mixed(by_component, target.random), target, timeline)


def _mixed(by_component: Mapping[str, Sequence[Fault]], random: Random) -> list[Fault]:
    """Choose faults to come at once: two of one component would undo each other."""
    number = min(len(by_component), random.randint(2, _MOST_AT_ONCE))
    return [
        random.choice(by_component[component])
        for component in random.sample(list(by_component), number)
    ]


async def _round(faults: Sequence[Fault], target: Target, timeline: Timeline) -> Round:
    began = time.monotonic()
    alone = len(faults) == 1
    felt_from = await asyncio.gather(
        *(_suffer(fault, target, 0.0 if alone else _SPREAD_SECONDS) for fault in faults)
    )
    await target.fleet.whole()
    healed = time.monotonic()
    await timeline.until_calm(healed, _RECOVERY_SECONDS)
    calm = time.monotonic()
    felt = timeline.recovery(max(felt_from), calm)
    return Round(tuple(faults), began, calm, felt, timeline.forgotten(healed))


async def _suffer(fault: Fault, target: Target, spread_seconds: float) -> float:
    """Inject a fault and heal it; return the time from which its recovery is counted."""
    await asyncio.sleep(target.random.uniform(0, spread_seconds))
    async with AsyncExitStack() as healing:
        await healing.enter_async_context(fault.injected(target))
        injected = time.monotonic()
        await asyncio.sleep(fault.lasting)
    return injected if fault.felt_from == "fault" else time.monotonic()
