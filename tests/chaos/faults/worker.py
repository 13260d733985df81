"""Workers that die, sleep, are told to go, or have the wrong time."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from typing import Final

from tests.chaos.target import Fault, Target, fault
from tests.saboteur import STEPS

_COMPONENT: Final = "worker"

#: How often a worker is killed at each step.
_TIMES: Final = 20

#: How many workers are killed one after the other, a second apart.
_KILLS: Final = 10

_AN_HOUR_SECONDS: Final = 3600.0


@fault(_COMPONENT, "killed at any moment", times=5)
async def killed(target: Target) -> AsyncIterator[None]:
    """SIGKILL."""
    await target.fleet.killed(target.fleet.any())
    yield


def _killed_at(step: str) -> Callable[[Target], AsyncIterator[None]]:
    async def injection(target: Target) -> AsyncIterator[None]:
        await target.fleet.killed_at_step(target.fleet.any(), step)
        yield

    return injection


killed_at_steps: Final[tuple[Fault, ...]] = tuple(
    fault(_COMPONENT, f"killed {step.replace('_', ' ')}", times=_TIMES)(_killed_at(step))
    for step in STEPS
)


@fault(_COMPONENT, f"one killed every second for {_KILLS} s")
async def killed_every_second(target: Target) -> AsyncIterator[None]:
    """SIGKILL, again and again."""
    for _ in range(_KILLS):
        await target.fleet.killed(target.fleet.any())
        await asyncio.sleep(1)
    yield


@fault(_COMPONENT, "paused until the broker drops it", lasting=7, felt_from="fault")
async def paused(target: Target) -> AsyncIterator[None]:
    """SIGSTOP for longer than RabbitMQ waits for a heartbeat, then SIGCONT: a zombie wakes.

    It is paused with commands in hand, decided, and nothing committed. When it wakes
    others have done them, and only the compare-and-set stands in its way.
    """
    worker = target.fleet.any()
    await target.fleet.paused_at_step(worker, "before_commit")
    try:
        yield
    finally:
        worker.send(signal.SIGCONT)


@fault(_COMPONENT, "all restarted by SIGTERM in turn")
async def rolling_restart(target: Target) -> AsyncIterator[None]:
    """What a deployment does."""
    for worker in list(target.fleet.workers):
        await target.fleet.replace_by_sigterm(worker)
    yield


@fault(_COMPONENT, "clock of one an hour off", lasting=4, felt_from="fault")
async def clock_off(target: Target) -> AsyncIterator[None]:
    """Its time jumps, forward or back, and jumps back later."""
    worker = target.fleet.any()
    worker.set_clock(target.random.choice((-1, 1)) * _AN_HOUR_SECONDS)
    try:
        yield
    finally:
        worker.set_clock(0)
