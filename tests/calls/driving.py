"""A gateway without RabbitMQ: its calls on a real Asterisk, asked and heard directly."""

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from schemas.actions import Action, HangUp, Originate
from schemas.reports import Report, Ringing
from worker.errors import BrokerUnavailable
from worker.gateways.asterisk.ari import Ari
from worker.gateways.asterisk.calls import Calls
from worker.gateways.asterisk.context import Asked, Reporter
from worker.gateways.asterisk.events import Replaced
from worker.gateways.asterisk.metrics import GatewayMetrics
from worker.gateways.asterisk.settings import AsteriskSettings

_R = TypeVar("_R", bound=Report)

#: Seconds that something may take which takes milliseconds on a quiet machine.
PATIENCE_SECONDS = 20.0

#: How long phones may ring, in seconds, unless a test is about that.
RING_SECONDS = 20.0


class Memory:
    """Where reports go.

    Attributes:
        reports: All that has been said, in order.
        away: Whether nothing can be said at the moment.
    """

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.away = False
        self.settled: list[str] = []
        self._outcomes: defaultdict[str, asyncio.Future[Report]] = defaultdict(
            asyncio.get_running_loop().create_future
        )

    async def outcome(self, action_id: str) -> Report:
        """Wait for what comes of an action, and return it."""
        return await asyncio.wait_for(asyncio.shield(self._outcomes[action_id]), PATIENCE_SECONDS)

    async def say(self, report: Report) -> None:
        """Keep a report."""
        await asyncio.sleep(0)
        if self.away:
            raise BrokerUnavailable("RabbitMQ: away")
        self.reports.append(report)
        if report.action_id is not None and not isinstance(report, Ringing):
            outcome = self._outcomes[report.action_id]
            if not outcome.done():
                outcome.set_result(report)


class Driven:
    """A gateway's calls, and what they report.

    Args:
        calls: The calls.
        ari: Asterisk, for a look of one's own.
        memory: Where reports go.
    """

    def __init__(self, calls: Calls, ari: Ari, memory: Memory) -> None:
        self.calls = calls
        self.ari = ari
        self.memory = memory

    @property
    def reports(self) -> list[Report]:
        """What has been reported."""
        return self.memory.reports

    def ask(self, action: Action, *, redelivered: bool = False) -> str:
        """Ask for an action; return its id."""

        async def acknowledge() -> None:
            self.memory.settled.append(action.action_id)

        self.calls.ask(Asked(action, redelivered, acknowledge))
        return action.action_id

    async def heard(
        self, kind: type[_R], is_it: Callable[[_R], bool] = lambda _: True, *, times: int = 1
    ) -> _R:
        """Wait for a report of a kind, and return it; the last one of so many."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = [each for each in self.reports if isinstance(each, kind) and is_it(each)]
            if len(found) >= times:
                return found[times - 1]
            if time.monotonic() > deadline:
                raise AssertionError(f"no {kind.__name__} among {self.reports}")
            await asyncio.sleep(0.01)

    async def outcome(self, action_id: str) -> Report:
        """Wait for what comes of an action, and return it."""
        return await self.memory.outcome(action_id)

    async def done(self, action: Action, *, redelivered: bool = False) -> Report:
        """Ask for an action, and return what comes of it."""
        return await self.outcome(self.ask(action, redelivered=redelivered))

    async def connected(self, origin: str, destination: str) -> str:
        """Call, and return the request_id once both are connected."""
        request_id = some_id()
        report = await self.done(originate(origin, destination, request_id))
        assert report.network_report == "answered", report
        return request_id

    async def hang_up(self, request_id: str) -> Report:
        """End a call."""
        return await self.done(HangUp(request_id=request_id, action_id=some_id()))

    async def idle(self) -> None:
        """Wait until there is no call, and nothing left of any on Asterisk but claims."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.calls) or await self.ari.channels():
            if time.monotonic() > deadline:
                raise AssertionError(f"left: {len(self.calls)}, {await self.ari.channels()}")
            await asyncio.sleep(0.05)


def some_id() -> str:
    """Return a new id, with what ids may have in them."""
    return (
        f"{secrets.token_hex(6)} a.*#%\"'é"[:20] if secrets.randbelow(2) else secrets.token_hex(6)
    )


def originate(
    origin: str, destination: str, request_id: str, seconds: float = RING_SECONDS
) -> Originate:
    """Return an action that calls two addresses."""
    return Originate(
        request_id=request_id,
        action_id=some_id(),
        origin=origin,
        destination=destination,
        timeout_seconds=seconds,
    )


@asynccontextmanager
async def driven(settings: AsteriskSettings, memory: Memory | None = None) -> AsyncIterator[Driven]:
    """Yield a gateway that is connected; its calls stay on Asterisk when it is gone."""
    memory = memory or Memory()
    reporter = Reporter()
    reporter.connect(memory)
    ari = Ari(
        settings.url,
        settings.user,
        settings.password.get_secret_value(),
        settings.application,
        settings.request_seconds,
    )
    async with ari, Calls(settings, ari, reporter, GatewayMetrics()) as calls:
        async with ari.events() as events:

            async def read() -> None:
                async for event in events:
                    if isinstance(event, Replaced):
                        return
                    calls.happen(event)

            reading = asyncio.create_task(read())
            try:
                await calls.compare()
                yield Driven(calls, ari, memory)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
