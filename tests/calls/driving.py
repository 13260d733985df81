"""A gateway without RabbitMQ: its calls on a real Asterisk, asked and heard directly."""

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from pydantic import SecretStr

from deploy.local import Asterisk
from deploy.local.phones import Phone
from schemas.actions import (
    Action,
    Answer,
    HangUp,
    Hold,
    Mute,
    Originate,
    Redirect,
    Reject,
    Retrieve,
    SendDigits,
    Transfer,
    UnMute,
)
from schemas.reports import Answered, Ended, Failed, Offered, Report, Ringing
from worker.errors import BrokerUnavailable
from worker.gateways.asterisk.ari import Ari
from worker.gateways.asterisk.calls import Calls
from worker.gateways.asterisk.context import Asked, Reporter
from worker.gateways.asterisk.metrics import GatewayMetrics
from worker.gateways.asterisk.settings import AsteriskSettings

_R = TypeVar("_R", bound=Report)
_A = TypeVar("_A", Hold, Retrieve, Mute, UnMute, HangUp)

_TRUNK = "PJSIP/trunk/"
_NUMBER = "+15550001"

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
        reporter: What brings them there.
    """

    def __init__(self, calls: Calls, ari: Ari, memory: Memory, reporter: Reporter) -> None:
        self.calls = calls
        self.ari = ari
        self.memory = memory
        self.reporter = reporter

    @property
    def reports(self) -> list[Report]:
        """What has been reported."""
        return self.memory.reports

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Be connected to the events."""
        async with self.ari.events() as events:
            await self.calls.meet()

            async def read() -> None:
                async for event in events:
                    self.calls.happen(event)

            reading = asyncio.create_task(read())
            try:
                yield
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    def ask(self, action: Action, *, redelivered: bool = False) -> str:
        """Ask for an action; return its id."""

        async def acknowledge(*, heard: bool = False) -> None:
            del heard
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

    async def connected(self, origin: Phone, destination: Phone) -> str:
        """Call, and return the request_id once both are connected."""
        request_id = some_id()
        report = await self.done(originate(origin, destination, request_id))
        assert isinstance(report, Answered), report
        return request_id

    async def failure(self, action: Action, *, redelivered: bool = False) -> tuple[int, str]:
        """Ask for an action, and return why it fails."""
        report = await self.done(action, redelivered=redelivered)
        assert isinstance(report, Failed), report
        return report.status, report.reason or ""

    async def ended(self, request_id: str) -> tuple[int, str]:
        """Wait until a call is reported to be over, and return why."""
        report = await self.heard(Ended, lambda each: each.request_id == request_id)
        return report.status, report.reason or ""

    async def rings(self, request_id: str) -> None:
        """Wait until a call is reported to ring."""
        await self.heard(Ringing, lambda each: each.request_id == request_id)

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


def address(phone: Phone | str) -> str:
    """Return a phone's address; an address as it is."""
    return phone if isinstance(phone, str) else phone.endpoint(_NUMBER).removeprefix(_TRUNK)


def originate(
    origin: Phone | str,
    destination: Phone | str,
    request_id: str | None = None,
    seconds: float = RING_SECONDS,
) -> Originate:
    """Return an action that calls two parties."""
    return Originate(
        request_id=request_id or some_id(),
        action_id=some_id(),
        origin=address(origin),
        destination=address(destination),
        timeout_seconds=seconds,
    )


def transfer(request_id: str, endpoint: Phone | str, seconds: float = RING_SECONDS) -> Transfer:
    """Return an action that transfers a call."""
    return Transfer(
        request_id=request_id,
        action_id=some_id(),
        endpoint=address(endpoint),
        timeout_seconds=seconds,
    )


def answer(offered: Offered, destination: Phone | str, seconds: float = RING_SECONDS) -> Answer:
    """Return an action that accepts a call for a phone."""
    return Answer(
        request_id=offered.request_id,
        action_id=some_id(),
        endpoint=offered.origin,
        destination=address(destination),
        timeout_seconds=seconds,
    )


def redirect(offered: Offered, endpoint: Phone | str, seconds: float = RING_SECONDS) -> Redirect:
    """Return an action that redirects a call to a phone."""
    return Redirect(
        request_id=offered.request_id,
        action_id=some_id(),
        endpoint=address(endpoint),
        timeout_seconds=seconds,
    )


def reject(offered: Offered) -> Reject:
    """Return an action that rejects a call."""
    return Reject(request_id=offered.request_id, action_id=some_id(), endpoint=offered.origin)


def digits(request_id: str, keys: str) -> SendDigits:
    """Return an action that sends digits."""
    return SendDigits(request_id=request_id, action_id=some_id(), digits=SecretStr(keys))


def simple(model: type[_A], request_id: str) -> _A:
    """Return an action that says nothing but its call."""
    return model(request_id=request_id, action_id=some_id())


def settings_of(asterisk: Asterisk, **more: Any) -> AsteriskSettings:
    """Return the settings of a gateway to an Asterisk, on which any phone may be called."""
    return AsteriskSettings(
        name="gateway",
        url=asterisk.ari_url,
        user=asterisk.ari_user,
        password=SecretStr(asterisk.ari_password),
        sip_endpoint=f"{_TRUNK}{{uri}}",
        **more,
    )


@asynccontextmanager
async def driven(settings: AsteriskSettings, *, listens: bool = True) -> AsyncIterator[Driven]:
    """Yield a gateway that is connected; its calls stay on Asterisk when it is gone.

    Args:
        settings: Its settings.
        listens: Whether it is connected to the events; else the test sees to that.
    """
    memory = Memory()
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
        driver = Driven(calls, ari, memory, reporter)
        if not listens:
            yield driver
            return
        async with driver.listening():
            await calls.compare()
            yield driver
