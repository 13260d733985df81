"""All calls of a gateway: what is asked and what happens finds its call here."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Final, Self, TypeVar

import structlog

from schemas.reports import Failed
from worker.errors import AsteriskRefused, AsteriskUnavailable
from worker.gateways.asterisk.ari import Ari
from worker.gateways.asterisk.call import Adopted, Call, Restarted
from worker.gateways.asterisk.context import Asked, Context, Reporter
from worker.gateways.asterisk.events import Channel, Destroyed, Event, Replaced, Started, read_time
from worker.gateways.asterisk.found import Finder, FoundCall, unknown
from worker.gateways.asterisk.metrics import GatewayMetrics
from worker.gateways.asterisk.names import incoming_request_id
from worker.gateways.asterisk.notes import VARIABLE, Note
from worker.gateways.asterisk.settings import AsteriskSettings
from worker.gateways.asterisk.snapshot import Snapshot, take
from worker.gateways.asterisk.state import CallState

_log: Final = structlog.get_logger(__name__)
_T = TypeVar("_T")

#: How long the claim of an attempt that has failed is kept, in seconds.
CLAIM_SECONDS: Final = 60.0

#: Seconds between two looks at whether all is dealt with.
_LOOK_SECONDS: Final = 0.05

#: How much is asked of Asterisk, or told to RabbitMQ, at a time.
_AT_A_TIME: Final = 32


class Calls:
    """The calls of a gateway, each with a task of its own.

    Args:
        settings: The gateway's settings.
        ari: Asterisk.
        reporter: Whom to report to.
        metrics: What is counted.
    """

    def __init__(
        self, settings: AsteriskSettings, ari: Ari, reporter: Reporter, metrics: GatewayMetrics
    ) -> None:
        self._ctx = Context(settings, ari, reporter, metrics, expect=self._expect)
        self._finder = Finder(self._ctx.ids, settings.name, self._ctx.plan)
        self._calls: dict[str, Call] = {}
        self._call_of: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._started_at: str | None = None
        self._swept = False
        metrics.calls.set_function(lambda: len(self._calls))

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._calls

    @property
    def asterisk_started_at(self) -> float:
        """When Asterisk was started, in seconds since the epoch; 0 before ``meet``."""
        return read_time(self._started_at)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of all calls; on Asterisk they go on."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def ask(self, asked: Asked) -> None:
        """Have an action done."""
        action = asked.action
        self._ctx.metrics.actions.labels(action.action).inc()
        _log.info("action taken", request_id=action.request_id, action=str(action.action))
        self._get(action.request_id).put(asked)

    async def quiet(self) -> None:
        """Wait until all that was asked and all that has happened is dealt with and reported.

        What rings, and whoever talks, goes on.
        """
        while not all(call.is_quiet for call in self._calls.values()):  # noqa: ASYNC110 - see below
            # Calls come and go meanwhile; this is for the end of a process.
            await asyncio.sleep(_LOOK_SECONDS)

    def happen(self, event: Event) -> None:
        """Tell a call what has happened to it."""
        if isinstance(event, Replaced):
            return
        channel = event.channel
        request_id = self._call_of.get(channel.id)
        if isinstance(event, Destroyed):
            self._call_of.pop(channel.id, None)
        if request_id is None and isinstance(event, Started):
            request_id = self._arrived(channel, event.arguments)
        call = self._calls.get(request_id) if request_id is not None else None
        if call is not None:
            call.put(event)

    async def meet(self) -> None:
        """Find out whether it is the Asterisk that it was; ask before any of its events is told.

        Raises:
            AsteriskRefused: It is starting, and does not know yet what it is asked.
            AsteriskUnavailable: It does not answer.
        """
        started_at = await self._ctx.ari.started_at()
        if self._started_at not in (None, started_at):
            _log.warning("Asterisk was restarted", calls=len(self._calls))
            self._call_of.clear()
            for call in self._calls.values():
                call.put(Restarted())
        self._started_at = started_at

    async def compare(self) -> None:
        """Compare the calls with what there is on Asterisk, and make up for the difference.

        Raises:
            AsteriskRefused: It is starting, and does not know yet what it is asked.
            AsteriskUnavailable: It does not answer.
        """
        snapshot = await take(self._ctx.ari)
        strangers = {
            channel.id: channel
            for channel in snapshot.channels.values()
            if self._call_of.get(channel.id) not in self._calls
            and (self._finder.is_incoming(channel) or self._finder.is_leg(channel.id))
            and self._awaiting(channel.id) is None
        }
        notes = await self._notes(strangers.values())
        for call in self._calls.values():
            call.put(snapshot)
        found = self._finder.find(snapshot, strangers, notes)
        for stray in found.strays:
            self._hang_up(stray)
        for each in found.calls:
            await self._adopt(each)
        for report in found.reports:
            if self._ctx.outcomes.of(report.request_id, report.action_id or "") is None:
                await self._ctx.say(report)
        await self._sweep(snapshot)
        self._forget(snapshot)
        self._ctx.metrics.resyncs.inc()

    def _expect(self, channel_id: str, request_id: str) -> None:
        self._call_of[channel_id] = request_id

    def _get(self, request_id: str, state: CallState | None = None) -> Call:
        call = self._calls.get(request_id)
        if call is None:
            call = Call(self._ctx, state or CallState(request_id))
            self._calls[request_id] = call
            self._begin(self._run(call))
        return call

    async def _run(self, call: Call) -> None:
        try:
            await call.run()
        finally:
            # Nothing is awaited in between, so nothing can have been put there since it found
            # itself idle.
            del self._calls[call.state.request_id]

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _arrived(self, channel: Channel, arguments: tuple[str, ...]) -> str | None:
        """Return the call of a channel that has come to the application."""
        awaiting = self._awaiting(channel.id)
        if awaiting is not None:
            return awaiting
        if arguments[:1] != ("incoming",):
            # A leg whose call has been given up meanwhile, or somebody's mistake in the dialplan.
            self._hang_up(channel.id)
            return None
        request_id = incoming_request_id(self._ctx.settings.name, channel.id)
        self._expect(channel.id, request_id)
        self._get(request_id)
        return request_id

    def _awaiting(self, channel_id: str) -> str | None:
        """Return the call that is about to make a leg that another process has made meanwhile.

        For a moment both may act: one was paused, and does not know yet that it was replaced.
        """
        made = self._ctx.ids.read(channel_id)
        for request_id, call in self._calls.items():
            if made is not None and call.awaits(made):
                self._expect(channel_id, request_id)
                return request_id
        return None

    def _hang_up(self, channel_id: str) -> None:
        async def hang_up() -> None:
            try:
                await self._ctx.ari.hang_up(channel_id)
            except (AsteriskUnavailable, AsteriskRefused) as error:
                _log.warning("stray leg not hung up", why=str(error))

        self._ctx.metrics.strays.inc()
        _log.warning("hanging up a stray leg", channel=channel_id)
        self._begin(hang_up())

    async def _notes(self, channels: Iterable[Channel]) -> dict[str, Note | None]:
        async def read(channel_id: str) -> tuple[str, Note | None]:
            return channel_id, Note.read(await self._ctx.ari.variable(channel_id, VARIABLE))

        legs = [channel.id for channel in channels if self._finder.is_leg(channel.id)]
        return dict(await _some_at_a_time(partial(read, leg) for leg in legs))

    async def _adopt(self, found: FoundCall) -> None:
        """Take over a call that is there."""
        state = found.state
        if state.request_id in self._calls:
            # What is known of it is later. Any other leg is left of an earlier attempt.
            for leg in state.legs():
                if self._call_of.get(leg.id) != state.request_id:
                    self._hang_up(leg.id)
            return
        if self._has_failed(state):
            # Asterisk could not be reached when it was to be hung up.
            for leg in state.legs():
                self._hang_up(leg.id)
            return
        if state.incoming and not await self._subscribed(state):
            return
        for leg in state.legs():
            self._expect(leg.id, state.request_id)
        call = self._get(state.request_id, state)
        call.put(Adopted(found.reports))
        _log.info("call taken over", request_id=state.request_id)

    def _has_failed(self, state: CallState) -> bool:
        attempt = state.attempt
        return (
            attempt is not None
            and attempt.began
            and isinstance(self._ctx.outcomes.of(state.request_id, attempt.action_id), Failed)
        )

    async def _subscribed(self, state: CallState) -> bool:
        return state.near is not None and await self._ctx.ari.subscribe(state.near.id)

    async def _sweep(self, snapshot: Snapshot) -> None:
        """Say what is to be said of claims of which nothing else is left, and remove old ones."""
        now = time.monotonic()

        async def sweep(bridge: str, request_id: str, action_id: str) -> None:
            call = self._calls.get(request_id)
            if call is not None and call.uses(bridge):
                return
            if not self._swept and self._ctx.outcomes.of(request_id, action_id) is None:
                await self._ctx.say(unknown(request_id, action_id))
            left_at = self._ctx.claims.get(bridge)
            age = (
                now - left_at
                if left_at is not None
                else time.time() - snapshot.bridges[bridge].created_at
            )
            if age > CLAIM_SECONDS:
                await self._ctx.ari.remove_bridge(bridge)
                self._ctx.claims.pop(bridge, None)

        # Each attempt that failed in the last minutes has left one, and whoever takes over begins
        # with them.
        claims = self._finder.empty_claims(snapshot)
        await _some_at_a_time(partial(sweep, bridge, *action) for bridge, action in claims.items())
        self._swept = True

    def _forget(self, snapshot: Snapshot) -> None:
        """Forget channels that are gone without an event, and claims that are."""
        living = {leg.id for call in self._calls.values() for leg in call.state.legs()}
        for channel_id, request_id in list(self._call_of.items()):
            if (
                channel_id not in snapshot.channels
                and channel_id not in living
                and request_id not in self._calls
            ):
                del self._call_of[channel_id]
        for bridge, left_at in list(self._ctx.claims.items()):
            if bridge not in snapshot.bridges and left_at < snapshot.began_at:
                del self._ctx.claims[bridge]


async def _some_at_a_time(work: Iterable[Callable[[], Awaitable[_T]]]) -> list[_T]:
    """Do much at once, though not all of it, and return what comes of it in its order.

    Raises:
        AsteriskUnavailable: Or whatever else one of them raised, once all are over: whoever tries
            again must not find them under way.
    """
    slots = asyncio.Semaphore(_AT_A_TIME)

    async def one(each: Callable[[], Awaitable[_T]]) -> _T:
        async with slots:
            return await each()

    done = await asyncio.gather(*map(one, work), return_exceptions=True)
    for each in done:
        if isinstance(each, BaseException):
            raise each
    return [each for each in done if not isinstance(each, BaseException)]
