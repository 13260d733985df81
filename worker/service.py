"""One worker: start, share the partitions, reconnect, drain."""

import asyncio
import os
import random
import secrets
import socket
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Final

import structlog
from aio_pika.abc import AbstractConnection
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from worker import health, status, tracing
from worker.broker import connection as broker
from worker.broker.declaring import establish, is_there
from worker.broker.inbox import Inbox
from worker.broker.outbox import Outbox
from worker.broker.topology import topology_of
from worker.broker.watchdog import Watchdog
from worker.core.transitions import decide
from worker.errors import StoreRegressed, StoreUnavailable, Unavailable
from worker.event_loop import running_loop
from worker.gateways.loopback import decide_and_grant
from worker.membership import Heartbeat, claim_partition_count, ranking
from worker.metrics import Metrics
from worker.names import Names
from worker.observer import Observer, watch_lag
from worker.outgoing import Writer
from worker.pipeline import Pipeline
from worker.regression import Watch
from worker.settings import Gateway, Settings
from worker.store import (
    CallStore,
    RedisClient,
    Suspects,
    close,
    connect,
    reconnect,
)
from worker.store.epoch import Guard

_log: Final = structlog.get_logger(__name__)

#: Seconds between a lost session and the next one, at most; each wait is a random part of it.
_MOST_BACKOFF_SECONDS: Final = 5.0

#: Seconds between a session that had joined and the next one: a random time between these.
_PAUSE_SECONDS: Final = (0.05, 0.5)

#: A standby hands over to an owner that seems to live this much longer than a dead one would.
_PATIENCE_MARGIN_SECONDS: Final = 0.5


def worker_name() -> str:
    """Return a name that no other process has, and that people can find in the broker's lists."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


class Service:
    """A worker with its settings.

    A session is one pair of connections to RabbitMQ with the partitions subscribed on them. When
    anything in it fails, all of it is dropped and begun again: what was taken and not
    acknowledged comes back, and its records answer what had been committed.
    """

    def __init__(self, settings: Settings, name: str | None = None) -> None:
        self.name = name or worker_name()
        self._settings = settings
        self._names = Names(settings.namespace)
        self._stop = asyncio.Event()
        self._standing = health.Standing()
        self._started_at = time.monotonic()
        self._inbox: Inbox | None = None
        self._metrics = Metrics()
        self._metrics.owned.set_function(lambda: self._inbox.active if self._inbox else 0)
        self._metrics.unsettled_age.set_function(
            lambda: self._inbox.unsettled_seconds if self._inbox else 0.0
        )
        self._spans = tracing.open_spans(settings, self.name)
        # Half the time for which any call is kept, so that clocks may jump a good deal.
        shortest = min(settings.ended_retention_seconds, settings.idle_expiry_seconds)
        self._guard = Guard(self._names.epoch, remember_seconds=shortest / 2)
        self.http_port: int | None = None

    def stop(self) -> None:
        """Begin to drain: finish what has been taken, take no more, and return from ``run``."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether it drains."""
        return self._stop.is_set()

    def problems(self) -> list[str]:
        """Say what keeps the worker from taking commands; nothing when it is ready."""
        stopping = ["stopping"] if self.stopping else []
        return stopping + self._standing.problems(self._settings.lapse_seconds)

    async def run(self) -> None:
        """Work until ``stop``.

        Raises:
            ConfigurationError: The settings and the services do not fit together.
        """
        structlog.contextvars.bind_contextvars(worker=self.name)
        redis = connect(self._settings.redis_url.get_secret_value(), self._guard.servers)
        suspects = Suspects(redis, prefix=self._names.suspect_prefix, worker=self.name)
        lag = asyncio.create_task(watch_lag(self._metrics.loop_lag))
        try:
            async with health.serve(
                self._settings.http_host, self._settings.http_port, self.problems, self._metrics
            ) as self.http_port:
                _log.info("worker started", http_port=self.http_port, event_loop=running_loop())
                while not self._stop.is_set():
                    await self._start_session(redis, suspects)
                    await self._sleep_unless_stopped(random.uniform(*_PAUSE_SECONDS))  # noqa: S311 - jitter
        finally:
            lag.cancel()
            await close(redis)
            if self._spans is not None:
                await asyncio.to_thread(self._spans.close)
        _log.info("worker stopped")

    def _status(self) -> status.Status:
        return status.Status.of(
            self.name,
            self._metrics,
            self._inbox,
            problems=self.problems(),
            http_port=self.http_port,
            uptime_seconds=time.monotonic() - self._started_at,
        )

    async def _start_session(self, redis: RedisClient, suspects: Suspects) -> None:
        """Run one session to its end; begin as often as it takes to join.

        The backoff grows only while sessions fail to join, so a worker that lost its connection
        after a year is back as fast as one that lost it after a minute.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Unavailable),
            wait=wait_random_exponential(multiplier=0.2, max=_MOST_BACKOFF_SECONDS),
            sleep=self._sleep_unless_stopped,
            stop=lambda _: self._stop.is_set(),
            before_sleep=self._log_retry,
            reraise=True,
        )
        with suppress(Unavailable):
            await retrying(self._session, redis, suspects)

    async def _sleep_unless_stopped(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _session(self, redis: RedisClient, suspects: Suspects) -> None:
        settings, names = self._settings, self._names
        store = CallStore.of(redis, settings, self._guard)
        await reconnect(redis)
        await claim_partition_count(redis, names.partition_count, settings.partitions)
        await store.verify(names.probe)
        await suspects.withdraw()
        async with AsyncExitStack() as closing:
            consuming = await self._connect(closing, "consuming")
            publishing = await self._connect(closing, "publishing")
            journal_is_new = not await is_there(publishing, names.journal)
            await establish(publishing, topology_of(settings))
            watch = Watch(publishing, names.journal, redis, store, self._guard)
            await watch.begin(journal_is_new=journal_is_new)
            self._inbox = inbox = Inbox(
                consuming,
                names,
                worker=self.name,
                prefetch=settings.prefetch,
                patience_seconds=settings.lapse_seconds + _PATIENCE_MARGIN_SECONDS,
            )
            external = settings.gateway is Gateway.EXTERNAL
            pipeline = Pipeline(
                inbox=inbox,
                store=store,
                outbox=Outbox(
                    publishing,
                    confirm_seconds=settings.confirm_seconds,
                    unconfirmed=self._metrics.unconfirmed,
                ),
                suspects=suspects,
                observer=Observer(self._metrics, self._spans),
                decide=decide if external else decide_and_grant,
                writer=Writer.of(settings),
                batch_size=settings.batch_size,
                hold_seconds=settings.hold_seconds,
            )
            heartbeat = Heartbeat(
                redis, key=names.workers, worker=self.name, lapse_seconds=settings.lapse_seconds
            )
            watchdog = Watchdog(
                consuming,
                inbox,
                names,
                channel_number=settings.partitions + 1,
                stall_seconds=settings.stall_seconds,
                report=self._report_stalled,
            )
            failure: Unavailable | None = None
            try:
                await self._work(
                    pipeline,
                    heartbeat,
                    broker.until_lost(consuming, publishing),
                    watchdog.run(),
                    self._watch_blocking(publishing),
                    status.tell(redis, names.worker(self.name), self._status),
                )
            except* Unavailable as failures:
                # Raised below: what is raised in here comes out as a group again.
                failure = _first(failures)
            finally:
                had_joined = self._standing.joined
                self._standing = health.Standing(regressed=self._standing.regressed)
                self._inbox = None
                self._metrics.stalled.set(0)
                self._metrics.blocked.set(0)
                inbox.abort()
                with suppress(StoreUnavailable):
                    await heartbeat.leave()
            if failure is not None:
                if not had_joined:
                    raise failure
                self._log_failure("session lost", failure)

    async def _connect(self, closing: AsyncExitStack, purpose: str) -> broker.Connection:
        url = self._settings.amqp_url.get_secret_value()
        connection = await broker.connect(url, f"{self.name} {purpose}")
        closing.push_async_callback(broker.close, connection)
        return connection

    async def _work(
        self,
        pipeline: Pipeline,
        heartbeat: Heartbeat,
        *watches: Coroutine[None, None, None],
    ) -> None:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(each) for each in (pipeline.inbox.failure(), *watches)]
            # Subscribe first, announce afterwards: when the others step back, somebody is there.
            pipeline.inbox.follow(self._rankings(await heartbeat.others() | {self.name}))
            await pipeline.inbox.in_place()
            beating = tasks.create_task(self._beat(heartbeat, pipeline))
            # Not before: a backlog would keep the subscriptions waiting for seconds.
            running.append(tasks.create_task(pipeline.run()))
            await self._stop.wait()
            beating.cancel()
            await self._drain(heartbeat, pipeline.inbox)
            for task in running:
                task.cancel()

    def _rankings(self, workers: frozenset[str]) -> dict[int, tuple[str, ...]]:
        depth = 1 + self._settings.standbys
        return {
            partition: ranking(workers, partition, depth)
            for partition in range(self._settings.partitions)
        }

    async def _beat(self, heartbeat: Heartbeat, pipeline: Pipeline) -> None:
        """Beat, and follow who lives; while Redis is away, the last view holds.

        Raises:
            StoreRegressed: Redis has lost calls, which a worker without commands notices here.
        """
        workers: frozenset[str] = frozenset()
        rankings: dict[int, tuple[str, ...]] = {}
        while True:
            try:
                await pipeline.store.look()
                living = await heartbeat.beat()
            except StoreUnavailable as error:
                _log.warning("no heartbeat", why=str(error))
                await pipeline.store.reconnect()
            else:
                self._standing.beaten_at = time.monotonic()
                if living != workers:
                    workers, rankings = living, self._rankings(living)
                    owned = sum(ranked[0] == self.name for ranked in rankings.values())
                    _log.info("workers changed", workers=len(workers), owned=owned)
            if not self._standing.joined and self.name in workers:
                self._standing.joined, self._standing.regressed = True, None
                self._metrics.regressed.set(0)
                self._metrics.sessions.inc()
                _log.info("worker joined")
            pipeline.inbox.follow(rankings)
            await asyncio.sleep(self._settings.heartbeat_seconds)

    async def _watch_blocking(self, publishing: AbstractConnection) -> None:
        while True:
            blocked = await broker.is_blocked(publishing)
            if blocked != self._standing.blocked:
                self._standing.blocked = blocked
                self._metrics.blocked.set(blocked)
                _log.warning("publishing blocked" if blocked else "publishing unblocked")
            await asyncio.sleep(self._settings.heartbeat_seconds)

    def _report_stalled(self, partitions: frozenset[int]) -> None:
        self._metrics.stalls.inc(len(partitions - self._standing.stalled))
        self._metrics.stalled.set(len(partitions))
        self._standing.stalled = partitions

    async def _drain(self, heartbeat: Heartbeat, inbox: Inbox) -> None:
        _log.info("draining", partitions=inbox.partitions)
        try:
            async with asyncio.timeout(self._settings.grace_seconds):
                with suppress(StoreUnavailable):
                    await heartbeat.leave()
                await inbox.close()
        except TimeoutError:
            # Nothing is lost: what is not acknowledged is delivered to another worker.
            _log.warning("grace period over", grace_seconds=self._settings.grace_seconds)

    def _log_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        seconds = state.next_action.sleep if state.next_action else 0.0
        self._log_failure("cannot join", error, retry_seconds=round(seconds, 2))

    def _log_failure(self, event: str, error: BaseException | None, **more: float) -> None:
        if isinstance(error, StoreRegressed):
            self._standing.regressed = error
            self._metrics.regressed.set(1)
            _log.error(event, why=str(error), **more)
        else:
            _log.warning(event, why=str(error), **more)


def _first(group: BaseExceptionGroup[Unavailable]) -> Unavailable:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
