"""Workers, and a supervisor that starts another whenever one ends.

They are forked from a process that has loaded the worker's modules already: a worker is there in
tenths of a second, so that hundreds can be killed in minutes. Otherwise they are what
``callctl worker`` is, each a process of its own, with the hooks of ``tests.saboteur`` in it.
"""

import asyncio
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from ctypes import Array, c_double, c_int
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess
from multiprocessing.sharedctypes import RawArray, RawValue
from pathlib import Path
from random import Random
from typing import Final

from tests import saboteur
from tests.harness import eventually
from tests.shares import shares
from worker.cli.app import app
from worker.settings import PREFIX, EventLoop

_FORKING: Final = multiprocessing.get_context("forkserver")

#: Seconds between the end of a worker and the next: a supervisor's own reaction.
_RESPAWN_SECONDS: Final = 0.05

#: Seconds that a worker told to stop may take; its own grace period is 20.
_STOP_SECONDS: Final = 60.0

#: Seconds until a worker has joined, on a busy machine.
_JOIN_SECONDS: Final = 60.0

#: Workers have them in turn, so that both meet the faults.
_LOOPS: Final = (EventLoop.UVLOOP, EventLoop.ASYNCIO)

_STARTED: Final = '"worker started"'
_JOINED: Final = '"worker joined"'
_LOST: Final = '"session lost"'


class Worker:
    """One worker process.

    Attributes:
        process: The process.
        log: Its log.
        told_to_end: Whether its end was asked for.
        doomed_to: The step at which it is to be killed, if any.
    """

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        self.told_to_end = False
        self.doomed_to: str | None = None
        #: A step and a signal; 0 for none.
        self._doom = RawArray(c_int, (0, 0))
        self._clock = RawValue(c_double, 0.0)
        self.process: ForkServerProcess = _FORKING.Process(
            target=_work, args=(dict(environment), log, self._doom, self._clock), daemon=True
        )

    def start(self) -> None:
        """Start it."""
        self.log.touch()
        self.process.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.exitcode is None

    @property
    def name(self) -> str | None:
        """Its name among the heartbeats, once it has said it."""
        lines = self.log.read_text().splitlines()
        started = next((line for line in lines if _STARTED in line), None)
        return None if started is None else str(json.loads(started)["worker"])

    @property
    def joined(self) -> bool:
        """Whether it has joined, and not lost its session since."""
        log = self.log.read_text()
        return log.rfind(_JOINED) > log.rfind(_LOST)

    @property
    def struck_at(self) -> str | None:
        """The step it was killed or paused at last, if it was."""
        *_, last = self.log.read_text().splitlines() or [""]
        head, words, step = last.partition(saboteur.LAST_WORDS)
        return step if words and not head else None

    def send(self, number: signal.Signals) -> None:
        """Send a signal, to this process or to nobody."""
        if self.running and self.process.pid is not None:
            os.kill(self.process.pid, number)

    def doom(self, step: str, number: signal.Signals) -> None:
        """Let it send a signal to itself when it gets to a step of the pipeline."""
        self._doom[:] = [saboteur.STEPS.index(step), number]

    def set_clock(self, offset_seconds: float) -> None:
        """Let its clock be off."""
        self._clock.value = offset_seconds


class Fleet:
    """A number of workers, kept up.

    Args:
        environment: Their environment.
        directory: Where their logs go.
        random: Chooses victims.
        partitions: The number of partitions that they share.
    """

    def __init__(
        self, environment: Mapping[str, str], directory: Path, random: Random, partitions: int
    ) -> None:
        self.workers: list[Worker] = []
        #: How many workers died at each step of the pipeline.
        self.killed_at: Counter[str] = Counter()
        #: The workers that ended without being told to, with the end of their logs.
        self.crashes: list[tuple[str, str]] = []
        self._environment = environment
        self._directory = directory
        self._random = random
        self._partitions = partitions
        self._stopping = False
        self._started = 0
        self._loop = asyncio.get_running_loop()

    async def start(self, count: int) -> None:
        """Start workers, and return when they have joined."""
        _FORKING.set_forkserver_preload(["tests.saboteur", "worker.cli.worker"])
        for _ in range(count):
            self._spawn()
        await self.whole()

    async def whole(self) -> None:
        """Wait until all workers have joined."""
        await eventually(
            lambda: all(worker.running and worker.joined for worker in self.workers),
            "all workers join",
            _JOIN_SECONDS,
        )

    def any(self) -> Worker:
        """Return some worker that runs, has partitions and has joined, or just any.

        One without partitions has no commands: it never gets to a step, and nobody misses it.
        """
        named = {worker.name: worker for worker in self.workers if worker.running}
        names = [name for name in named if name is not None]
        busy = [named[name] for name in shares(names, self._partitions)] if names else []
        joined = [worker for worker in busy if worker.joined]
        return self._random.choice(joined or busy or self.workers)

    async def killed(self, worker: Worker) -> None:
        """End a worker with SIGKILL."""
        worker.told_to_end = True
        worker.send(signal.SIGKILL)
        await self.ended(worker)

    async def killed_at_step(self, worker: Worker, step: str) -> None:
        """Let a worker be killed when it gets to a step of the pipeline, and wait for that."""
        worker.doomed_to = step
        worker.doom(step, signal.SIGKILL)
        await self.ended(worker)

    async def paused_at_step(self, worker: Worker, step: str) -> None:
        """Let a worker be paused when it gets to a step of the pipeline, and wait for that."""
        worker.doom(step, signal.SIGSTOP)
        await eventually(
            lambda: worker.struck_at == step or not worker.running, "a worker pauses", _STOP_SECONDS
        )

    async def ended(self, worker: Worker) -> None:
        """Wait until a worker has ended."""
        await eventually(lambda: not worker.running, "a worker ends", _STOP_SECONDS)

    async def replace_by_sigterm(self, worker: Worker) -> None:
        """Stop a worker cleanly, and wait for its successor."""
        worker.told_to_end = True
        worker.send(signal.SIGTERM)
        await self.ended(worker)
        if worker.process.exitcode != 0:
            self._note_crash(worker)
        await eventually(lambda: worker not in self.workers, "a successor starts")
        await self.whole()

    async def stop(self) -> None:
        """End all workers."""
        self._stopping = True
        for worker in self.workers:
            await self.killed(worker)

    def _spawn(self) -> None:
        loop = _LOOPS[self._started % len(_LOOPS)]
        environment = {**self._environment, f"{PREFIX}EVENT_LOOP": loop}
        worker = Worker(environment, self._directory / f"worker-{self._started}.log")
        self._started += 1
        worker.start()
        self.workers.append(worker)
        self._loop.add_reader(worker.process.sentinel, self._on_end, worker)

    def _on_end(self, worker: Worker) -> None:
        self._loop.remove_reader(worker.process.sentinel)
        worker.process.join()
        step = worker.struck_at
        if step is not None and worker.process.exitcode == -signal.SIGKILL:
            self.killed_at[step] += 1
        if not worker.told_to_end and (step is None or step != worker.doomed_to):
            self._note_crash(worker)
        if not self._stopping:
            self._loop.call_later(_RESPAWN_SECONDS, self._succeed, worker)

    def _succeed(self, worker: Worker) -> None:
        if not self._stopping:
            self.workers.remove(worker)
            self._spawn()

    def _note_crash(self, worker: Worker) -> None:
        tail = worker.log.read_text()[-3000:]
        self.crashes.append((worker.log.name, f"exit code {worker.process.exitcode}; {tail}"))


def _work(environment: Mapping[str, str], log: Path, doom: Array[c_int], clock: c_double) -> None:
    """Be a worker: what runs in the forked process."""
    os.environ.clear()
    os.environ.update(environment)
    with log.open("ab") as stderr:
        os.dup2(stderr.fileno(), sys.stderr.fileno())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    saboteur.strike_when(_doomed_by(doom))
    saboteur.set_clock(lambda: clock.value)
    app(["worker"])


def _doomed_by(doom: Array[c_int]) -> saboteur.Doom:
    def doomed(step: str) -> int:
        at, number = doom[:]
        if not number or saboteur.STEPS[at] != step:
            return 0
        doom[1] = 0
        return number

    return doomed


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
