"""One run: services, workers behind proxies, producers, a witness, faults, and the verdict."""

import asyncio
import gc
import os
import shutil
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Final
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from deploy.local import Services
from tests.chaos.checker import Kind, Violation, check
from tests.chaos.fleet import Fleet
from tests.chaos.history import History
from tests.chaos.proxy import Proxy
from tests.chaos.report import Report, mixed, rows
from tests.chaos.schedule import Round, rounds
from tests.chaos.target import Fault, Target
from tests.chaos.timeline import Latency
from tests.chaos.traffic import Traffic
from tests.harness import Installation, installation
from worker.broker import connection as broker
from worker.settings import PREFIX

#: Seconds without a fault at the beginning, from which normal time is taken.
_UNDISTURBED_SECONDS: Final = 5.0

#: Seconds that the first commands are not counted as normal.
_WARMING_UP_SECONDS: Final = 2.0

#: RabbitMQ drops a silent worker after two of these, in seconds; a worker RabbitMQ after nine.
_AMQP_HEARTBEAT_SECONDS: Final = 2

#: Ended calls are kept for longer than any run takes, in seconds.
_RETENTION_SECONDS: Final = 7_200

#: Commands are held for a shorter time than Redis is paused, in seconds: they are let go too.
_HOLD_SECONDS: Final = 5

#: Calls whose whole history a report shows.
_MOST_EVIDENCE: Final = 50


@dataclass(frozen=True)
class Plan:
    """What a run is to be.

    Attributes:
        faults: What is to come.
        seconds: How long, at least; every fault comes once all the same.
        seed: Where all that is random comes from.
        directory: Where the workers' logs go, and the report.
        workers: How many at a time.
        rate: Commands per second.
        partitions: The number of partitions.
    """

    faults: Sequence[Fault]
    seconds: float
    seed: int
    directory: Path
    workers: int = 3
    rate: float = 240.0
    partitions: int = 64


#: Told after each round what came and how long it was felt.
Told = Callable[[Round], None]


async def run(services: Services, plan: Plan, told: Told = lambda _: None) -> Report:
    """Run a plan, and return what came of it."""
    async with installation(
        services,
        partitions=plan.partitions,
        ended_retention_seconds=_RETENTION_SECONDS,
        hold_seconds=_HOLD_SECONDS,
    ) as made:
        # Collecting among a million objects takes long enough to look like a worker's delay.
        gc.disable()
        try:
            return await _Run(made, plan).run(told)
        finally:
            gc.enable()


class _Run:
    def __init__(self, made: Installation, plan: Plan) -> None:
        self._installation = made
        self._plan = plan
        self._random = Random(plan.seed)  # noqa: S311 - repeatable, not secret
        self._traffic = Traffic(made, self._random, plan.rate)
        self._timeline = self._traffic.timeline

    async def run(self, told: Told) -> Report:
        versions = await self._versions()
        logs = self._plan.directory / "logs"
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir(parents=True)
        all_rounds: list[Round] = []
        cut_short: list[Violation] = []
        async with self._target(logs) as target:
            async with self._traffic.flowing():
                began = time.monotonic()
                undisturbed = await self._undisturbed()
                until = began + self._plan.seconds
                try:
                    async for each in rounds(self._plan.faults, target, self._timeline, until):
                        all_rounds.append(each)
                        told(each)
                except Exception as error:  # noqa: BLE001 - what was seen until then is judged
                    detail = "".join(traceback.format_exception(error))
                    cut_short.append(Violation(Kind.CUT_SHORT, "fault", detail))
            seconds = time.monotonic() - began
            history = await self._traffic.history()
        verdict = check(history)
        verdict = replace(
            verdict,
            violations=(
                *cut_short,
                *self._violations(all_rounds, target.fleet),
                *verdict.violations,
            ),
        )
        return Report(
            seed=self._plan.seed,
            seconds=seconds,
            versions=versions,
            workers=self._plan.workers,
            verdict=verdict,
            published_again=self._traffic.load.published_again,
            killed_at=dict(target.fleet.killed_at),
            normal_seconds=self._timeline.normal_seconds,
            latency=Latency.of(self._timeline.timings),
            undisturbed=undisturbed,
            rows=rows(all_rounds, self._timeline),
            mixed=mixed(all_rounds),
            evidence=_evidence(history, verdict.violations),
        )

    @asynccontextmanager
    async def _target(self, logs: Path) -> AsyncIterator[Target]:
        services = self._installation.services
        assert services.rabbitmq is not None, "RabbitMQ has to be one that may be broken"
        assert services.redis is not None, "Redis has to be one that may be broken"
        amqp, redis = _proxy(services.amqp_url), _proxy(services.redis_url)
        await amqp.start()
        await redis.start()
        behind = {
            "AMQP_URL": f"{_by(services.amqp_url, amqp)}?heartbeat={_AMQP_HEARTBEAT_SECONDS}",
            "REDIS_URL": _by(services.redis_url, redis),
        }
        fleet = Fleet(
            {
                **{name: value for name, value in os.environ.items() if PREFIX not in name},
                **self._installation.environment,
                **{PREFIX + name: value for name, value in behind.items()},
            },
            logs,
            self._random,
            self._plan.partitions,
        )
        # Its connection does not outlive the faults.
        admin = Redis.from_url(services.redis_url, retry=Retry(NoBackoff(), 1))
        try:
            await fleet.start(self._plan.workers)
            yield Target(
                installation=self._installation,
                fleet=fleet,
                load=self._traffic.load,
                rabbitmq=services.rabbitmq,
                redis=services.redis,
                admin=admin,
                amqp_proxy=amqp,
                redis_proxy=redis,
                random=self._random,
            )
        finally:
            await fleet.stop()
            await admin.aclose()
            await amqp.close()
            await redis.close()

    async def _undisturbed(self) -> Latency:
        await asyncio.sleep(_WARMING_UP_SECONDS)
        since = time.monotonic()
        await asyncio.sleep(_UNDISTURBED_SECONDS)
        latency = Latency.of(self._timeline.between(since, time.monotonic()))
        self._timeline.calibrate(latency)
        return latency

    async def _versions(self) -> dict[str, str]:
        services = self._installation.services
        connection = await broker.connect(services.amqp_url, "chaos")
        version = broker.broker_version(connection)
        await broker.close(connection)
        async with Redis.from_url(services.redis_url) as redis:
            info = await redis.info("server")
        name = "Valkey" if "valkey_version" in info else "Redis"
        return {
            "RabbitMQ": version,
            name: str(info.get("valkey_version") or info["redis_version"]),
        }

    def _violations(self, all_rounds: Sequence[Round], fleet: Fleet) -> Iterator[Violation]:
        for log, detail in fleet.crashes:
            yield Violation(Kind.CRASH, log, detail)
        for each in all_rounds:
            if each.forgotten:
                where = " and ".join(map(str, each.faults))
                yield Violation(Kind.STALL, where, f"{each.forgotten} commands are not answered")


def _proxy(url: str) -> Proxy:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return Proxy(parts.hostname, parts.port)


def _by(url: str, proxy: Proxy) -> str:
    parts = urlsplit(url)
    credentials, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{credentials}{at}127.0.0.1:{proxy.port}").geturl()


def _evidence(history: History, violations: Sequence[Violation]) -> dict[str, list[str]]:
    """Return the whole history of the calls in which something is wrong."""
    wrong = list(dict.fromkeys(violation.where for violation in violations))
    return {
        call: [
            *(f"published {message}" for message in history.published.get(call, ())),
            *(f"journal   {event}" for event in history.journal if event.request_id == call),
            *(f"seen      {event}" for event in history.seen if event.request_id == call),
            f"stored    {history.stored.get(call)}",
        ]
        for call in wrong[:_MOST_EVIDENCE]
        if call in history.published
    }
