"""One gateway process: stand by, take over, follow Asterisk and RabbitMQ, step down, drain."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

import structlog

from worker import health
from worker.errors import (
    AsteriskRefused,
    AsteriskUnavailable,
    BrokerUnavailable,
    ConfigurationError,
    Unavailable,
)
from worker.event_loop import running_loop
from worker.gateways.asterisk import lost
from worker.gateways.asterisk.ari import Ari
from worker.gateways.asterisk.calls import Calls
from worker.gateways.asterisk.context import Asked, Reporter
from worker.gateways.asterisk.events import Event, Replaced
from worker.gateways.asterisk.metrics import GatewayMetrics
from worker.gateways.asterisk.settings import AsteriskSettings
from worker.gateways.port import Port, open_port
from worker.settings import Settings

_log: Final = structlog.get_logger(__name__)

#: Seconds between two attempts to reach a service, at most; each wait is a random part of it.
_FIRST_BACKOFF_SECONDS: Final = 0.1
_MOST_BACKOFF_SECONDS: Final = 3.0

#: What has worked for so long, in seconds, is tried again as soon as if it had never failed.
_STEADY_SECONDS: Final = 5.0

#: Seconds between two comparisons with Asterisk that nothing has given rise to.
_COMPARE_SECONDS: Final = 60.0

#: Seconds before a process that was replaced stands by: a random time between these.
_STEPPED_DOWN_SECONDS: Final = (1.0, 3.0)


class SteppedDown(Exception):
    """Raised when another client has connected as the application."""


@dataclass(slots=True)
class _Term:
    """What a process has while it is the one that acts.

    Attributes:
        calls: The calls.
        reporter: Where reports go.
        claimed: Set while it has the gateway's queue.
        connected: Set while it is connected to Asterisk.
        compared: Set while its calls are those of Asterisk.
        accounted: Whether the calls have been reported that ended before.
    """

    calls: Calls
    reporter: Reporter
    claimed: asyncio.Event = field(default_factory=asyncio.Event)
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    compared: asyncio.Event = field(default_factory=asyncio.Event)
    accounted: bool = False


class Service:
    """A gateway with its settings.

    Of all processes of a gateway one has its queue, and so its Asterisk; the others stand by. It
    keeps its calls as long as it has them, whichever connection it loses meanwhile; one that comes
    anew finds them on Asterisk.
    """

    def __init__(self, settings: Settings, asterisk: AsteriskSettings) -> None:
        self._settings = settings
        self._asterisk = asterisk
        self._stop = asyncio.Event()
        self._metrics = GatewayMetrics()
        self._term: _Term | None = None
        self._problem = "starting"
        self.http_port: int | None = None

    def stop(self) -> None:
        """Begin to drain: settle what has been taken, take no more, and return from ``run``."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether it drains."""
        return self._stop.is_set()

    def problems(self) -> list[str]:
        """Say what keeps the gateway from taking actions; nothing when it is ready."""
        term = self._term
        found = ["stopping"] if self.stopping else []
        if term is None or not term.claimed.is_set():
            found.append(self._problem)
        elif not term.compared.is_set():
            found.append("not connected to Asterisk")
        return found

    async def run(self) -> None:
        """Work until ``stop``.

        Raises:
            ConfigurationError: The settings and the services do not fit together.
        """
        asterisk = self._asterisk
        structlog.contextvars.bind_contextvars(gateway=asterisk.name)
        async with (
            health.serve(
                self._settings.http_host, self._settings.http_port, self.problems, self._metrics
            ) as self.http_port,
            Ari(
                asterisk.url,
                asterisk.user,
                asterisk.password.get_secret_value(),
                asterisk.application,
                asterisk.request_seconds,
            ) as ari,
        ):
            _log.info("gateway started", http_port=self.http_port, event_loop=running_loop())
            while not self._stop.is_set():
                await self._serve_a_term(ari)
        _log.info("gateway stopped")

    async def _serve_a_term(self, ari: Ari) -> None:
        """Stand by, act, and step down when another process acts."""
        mistake: ConfigurationError | None = None
        reporter = Reporter()
        async with Calls(self._asterisk, ari, reporter, self._metrics) as calls:
            self._term = term = _Term(calls, reporter)
            try:
                async with asyncio.TaskGroup() as tasks:
                    running = [
                        tasks.create_task(_for_ever(partial(self._hold_the_queue, ari, term))),
                        tasks.create_task(_for_ever(partial(self._follow_asterisk, ari, term))),
                    ]
                    await self._stop.wait()
                    await self._drain(term)
                    for task in running:
                        task.cancel()
            except* SteppedDown:
                log = _log.error if term.claimed.is_set() else _log.warning
                log("another client is connected as the application", application=ari.application)
                self._problem = "standing by: another client is connected as the application"
            except* ConfigurationError as mistakes:
                mistake = _first(mistakes)
            finally:
                self._term = None
                self._metrics.active.set(0)
        if mistake is not None:
            raise mistake
        with suppress(TimeoutError):
            await asyncio.wait_for(
                self._stop.wait(),
                random.uniform(*_STEPPED_DOWN_SECONDS),  # noqa: S311 - jitter
            )

    async def _hold_the_queue(self, ari: Ari, term: _Term) -> None:
        """Have the gateway's queue while Asterisk can be reached, once nobody else has it."""
        try:
            if not term.connected.is_set():
                await ari.started_at()
            await self._serve_the_queue(term)
        except (Unavailable, AsteriskRefused) as error:
            self._problem = str(error)
            raise

    async def _serve_the_queue(self, term: _Term) -> None:
        async with open_port(self._settings, self._asterisk.name) as port:
            self._problem = "standing by: another process has the gateway's queue"
            await port.claim()
            _log.info("gateway's queue claimed")
            term.reporter.connect(port)
            term.claimed.set()
            self._metrics.active.set(1)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(port.until_lost())
                    tasks.create_task(self._watch_asterisk(term))
                    tasks.create_task(self._take(port, term))
            except* Unavailable as failures:
                _log.warning("gateway's queue left", why=str(_first(failures)))
            finally:
                self._problem = "RabbitMQ or Asterisk was lost"
                term.claimed.clear()
                term.reporter.disconnect()
                self._metrics.active.set(0)

    async def _take(self, port: Port, term: _Term) -> None:
        while True:
            await term.compared.wait()
            taken = await port.take()
            if self._stop.is_set():
                # Another process gets it.
                await asyncio.Event().wait()
            # What is known of the calls must not be older than what is asked of them.
            await term.compared.wait()
            term.calls.ask(Asked(taken.action, taken.redelivered, partial(port.settle, taken)))

    async def _watch_asterisk(self, term: _Term) -> None:
        """Wait until Asterisk has been away for too long.

        Raises:
            AsteriskUnavailable: Always, then. What is asked is for others to do, or expires.
        """
        patience = self._asterisk.patience_seconds
        while True:
            try:
                await asyncio.wait_for(term.connected.wait(), patience)
            except TimeoutError:
                raise AsteriskUnavailable(f"Asterisk: away for {patience:g} s") from None
            await asyncio.sleep(patience / 4)

    async def _follow_asterisk(self, ari: Ari, term: _Term) -> None:
        """Be connected to Asterisk, from the moment on in which the gateway's queue is had.

        Raises:
            SteppedDown: Another client has connected.
            AsteriskUnavailable: The connection is gone.
        """
        # Not before: it would cut off the process that has the queue.
        await term.claimed.wait()
        failure: Unavailable | None = None
        async with ari.events() as events:
            # Before any event is read: one of a new Asterisk is of a call that goes on.
            await term.calls.meet()
            _log.info("connected to Asterisk")
            term.connected.set()
            self._metrics.connected.set(1)
            try:
                async with asyncio.TaskGroup() as tasks:
                    # At once, and whatever else takes long: Asterisk cuts slow readers off.
                    tasks.create_task(self._read(events, term))
                    tasks.create_task(self._keep_comparing(term))
                    tasks.create_task(self._account(term))
            except* Unavailable as failures:
                failure = _first(failures)
            finally:
                term.connected.clear()
                term.compared.clear()
                self._metrics.connected.set(0)
        if failure is not None:
            raise failure

    async def _read(self, events: AsyncIterator[Event], term: _Term) -> None:
        async for event in events:
            if isinstance(event, Replaced):
                raise SteppedDown
            term.calls.happen(event)
        raise AsteriskUnavailable("Asterisk: connection lost")

    async def _keep_comparing(self, term: _Term) -> None:
        """Compare the calls with Asterisk's: now, and from time to time, in case one was missed.

        Raises:
            AsteriskUnavailable: It does not answer, so that nobody knows what there is.
        """
        while True:
            try:
                await term.calls.compare()
            except (AsteriskUnavailable, AsteriskRefused) as error:
                if not term.compared.is_set():
                    raise AsteriskUnavailable(str(error)) from None
                # Events go on, and the connection tells if they do not.
                _log.warning("not compared", why=str(error))
            else:
                if not term.compared.is_set():
                    term.compared.set()
                    _log.info("gateway ready", calls=len(term.calls))
            await asyncio.sleep(_COMPARE_SECONDS)

    async def _account(self, term: _Term) -> None:
        """Report the calls that ended while no gateway was there."""
        # What is known of the calls must not be older than what is read.
        await term.compared.wait()
        if term.accounted:
            return
        calls = None
        while calls is None:
            try:
                calls = await lost.living(self._settings, self._asterisk.name)
            except BrokerUnavailable as error:
                _log.warning("journal not read", why=str(error))
                await asyncio.sleep(_COMPARE_SECONDS)
        for report in lost.ended(calls, term.calls.__contains__, term.calls.asterisk_started_at):
            _log.warning("call was lost", request_id=report.request_id)
            await term.reporter.say(report)
        term.accounted = True

    async def _drain(self, term: _Term) -> None:
        _log.info("draining", calls=len(term.calls))
        try:
            async with asyncio.timeout(self._settings.grace_seconds):
                await term.calls.quiet()
        except TimeoutError:
            # What is not settled is delivered to another process. Digits are; of those whose report
            # waits, nobody knows, and the command is answered 504.
            _log.warning("grace period over", grace_seconds=self._settings.grace_seconds)


async def _for_ever(step: Callable[[], Awaitable[None]]) -> None:
    """Repeat a step; wait ever longer while it fails at once, each time a random time."""
    failures = 0
    while True:
        began_at = time.monotonic()
        try:
            await step()
        except (Unavailable, AsteriskRefused) as error:
            # An Asterisk that is starting refuses what it does not know yet.
            _log.warning("not available", why=str(error))
        if time.monotonic() - began_at > _STEADY_SECONDS:
            failures = 0
        failures += 1
        most = min(_MOST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2**failures)
        await asyncio.sleep(random.uniform(0, most))  # noqa: S311 - jitter


_E = TypeVar("_E", bound=Exception)


def _first(group: ExceptionGroup[_E]) -> _E:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first
