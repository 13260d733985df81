"""One call's own task: what is asked of it, and what happens to it, one after the other."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

import structlog

from schemas.actions import Answer, HangUp, Originate, Redirect, Transfer
from schemas.reports import Failed, Offered, Report
from worker.errors import AsteriskRefused, AsteriskUnavailable, place
from worker.gateways.asterisk import midcall, ringing
from worker.gateways.asterisk.causes import end_status, failure_status, phrase
from worker.gateways.asterisk.context import Asked, Context, Refusal
from worker.gateways.asterisk.events import (
    Changed,
    Channel,
    ChannelState,
    Destroyed,
    Entered,
    Event,
    Left,
    Progressed,
    Started,
)
from worker.gateways.asterisk.mending import mend
from worker.gateways.asterisk.names import Made, action_key, call_key
from worker.gateways.asterisk.snapshot import Snapshot
from worker.gateways.asterisk.state import Attempt, CallState, Leg
from worker.gateways.asterisk.teardown import end, fail, gone_with_asterisk

_log: Final = structlog.get_logger(__name__)

#: How long the legs of a call that is over are waited for, in seconds.
_DYING_SECONDS: Final = 30.0

#: How much too early Asterisk may find that something has rung for too long, in seconds.
_EARLY_SECONDS: Final = 0.5

_NOT_CALLED: Final = "it did not ring, and whether it was called is not known"
_MISSED: Final = "what happened was missed, and is not known"


@dataclass(frozen=True, slots=True)
class Adopted:
    """A call that another process, or nobody yet, has had; with what is to be said of it."""

    reports: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class Restarted:
    """Asterisk has been started anew: all calls are gone."""


Item = Asked | Event | Snapshot | Adopted | Restarted


class Call:
    """A call.

    Args:
        ctx: What calls share.
        state: What is known of it.
    """

    def __init__(self, ctx: Context, state: CallState) -> None:
        self.state = state
        self._ctx = ctx
        self._inbox: asyncio.Queue[Item] = asyncio.Queue()
        self._is_busy = False

    @property
    def is_quiet(self) -> bool:
        """Whether all that has been asked and has happened is dealt with."""
        return self._inbox.empty() and not self._is_busy

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing left to do of it."""
        state = self.state
        return self._inbox.empty() and not state.dying and not state.exists

    def uses(self, bridge: str) -> bool:
        """Tell whether a bridge is among what the call needs."""
        attempt = self.state.attempt
        return bridge in (self.state.bridge, attempt.bridge if attempt is not None else None)

    def awaits(self, made: Made) -> bool:
        """Tell whether a leg is one that the call is about to make."""
        attempt = self.state.attempt
        return (
            attempt is not None
            and made.key == call_key(self.state.request_id)
            and made.action == action_key(attempt.action_id)
        )

    def put(self, item: Item) -> None:
        """Have something done, behind what there is to do already."""
        if isinstance(item, Asked):
            if isinstance(item.action, HangUp):
                self.state.interrupted.set()
        elif not isinstance(item, Snapshot | Adopted | Restarted):
            self.state.note(item)
        self._inbox.put_nowait(item)

    async def run(self) -> None:
        """Do what there is to do, until nothing is left of the call."""
        while True:
            item = await self._next()
            if item is not None:
                await self._safely(item)
            elif self.state.attempt is not None:
                await self._safely(self.state.attempt)
            if self.is_idle:
                return

    async def _next(self) -> Item | None:
        """Return what is to be done next; None when the time for what is going on is over."""
        attempt = self.state.attempt
        deadline = attempt.deadline if attempt is not None else None
        if deadline is None and not self.state.exists:
            deadline = time.monotonic() + _DYING_SECONDS
        try:
            async with asyncio.timeout(
                None if deadline is None else max(0.0, deadline - time.monotonic())
            ):
                return await self._inbox.get()
        except TimeoutError:
            if attempt is None:
                # Whatever is left of it is found when it is compared with Asterisk.
                self.state.dying.clear()
            return None

    async def _give_up(self, attempt: Attempt) -> None:
        if attempt.deadline < attempt.give_up_at:
            await fail(self._ctx, self.state, 500, _NOT_CALLED)
        else:
            await fail(self._ctx, self.state, 408, "it rang for too long")

    async def _safely(self, item: Item | Attempt) -> None:
        self._is_busy = True
        try:
            await self._handle(item)
        except (AsteriskUnavailable, AsteriskRefused) as error:
            _log.warning("not done", request_id=self.state.request_id, why=str(error))
        except Exception as error:  # noqa: BLE001 - see below
            # A bug costs this step of this call. The text may quote a number.
            _log.error(
                "bug", request_id=self.state.request_id, error=type(error).__name__, at=place(error)
            )
        finally:
            self._is_busy = False

    async def _handle(self, item: Item | Attempt) -> None:
        match item:
            case Asked():
                await self._act(item)
            case Snapshot():
                await self._compare(item)
            case Restarted():
                await gone_with_asterisk(self._ctx, self.state)
            case Adopted():
                for report in item.reports:
                    await self._ctx.say(report)
                await ringing.advance(self._ctx, self.state)
                if self.state.near and self.state.is_offered and self.state.attempt is None:
                    # Whoever had it may have come no further than to say that it is there.
                    await self._ctx.ari.ring(self.state.near.id)
            case Attempt():
                await self._give_up(item)
            case _:
                await self._happen(item)

    async def _act(self, asked: Asked) -> None:
        ctx, state, action = self._ctx, self.state, asked.action
        known = ctx.outcomes.of(action.request_id, action.action_id)
        attempt = state.attempt
        report: Report | None = None
        if known is not None:
            report = known
        elif attempt is None or attempt.action_id != action.action_id:
            try:
                report = await self._do(asked)
            except Refusal as refusal:
                report = self._failed(asked, refusal.status, refusal.reason)
            except AsteriskRefused:
                report = self._failed(asked, 500, phrase(500, "Asterisk does not do it"))
            except AsteriskUnavailable:
                report = self._failed(asked, 503, phrase(503, "Asterisk does not answer"))
            except Exception:
                await ctx.say(self._failed(asked, 500, phrase(500)))
                await asked.settle()
                raise
            finally:
                state.interrupted.clear()
        if report is not None:
            await ctx.say(report)
            if isinstance(report, Failed) and report.status == 481 and self._was_ours(asked):  # noqa: PLR2004 - Call Does Not Exist
                # The worker believes that there is a call.
                await end(ctx, state, 503, "it is not on Asterisk any more")
        await asked.settle()

    async def _do(self, asked: Asked) -> Report | None:
        action = asked.action
        if isinstance(action, Originate | Answer | Redirect | Transfer):
            await ringing.begin(self._ctx, self.state, action)
            return None
        return await midcall.do(self._ctx, self.state, action, asked)

    def _failed(self, asked: Asked, status: int, reason: str) -> Failed:
        return Failed(
            request_id=self.state.request_id,
            action_id=asked.action.action_id,
            status=status,
            reason=reason,
        )

    def _was_ours(self, asked: Asked) -> bool:
        return not self.state.exists and asked.action.gateway == self._ctx.settings.name

    async def _happen(self, event: Event) -> None:
        ctx, state = self._ctx, self.state
        if isinstance(event, Destroyed):
            await self._gone(event)
            return
        if isinstance(event, Started) and event.arguments[:1] == ("incoming",):
            await self._offer(event)
            return
        if not isinstance(event, Started | Changed | Progressed | Entered | Left):
            return
        leg = state.leg(event.channel.id)
        if leg is None:
            return
        leg.touch()
        attempt = state.attempt
        is_target = attempt is not None and leg is attempt.leg
        if isinstance(event, Entered):
            leg.bridge = event.bridge_id
        elif isinstance(event, Left):
            leg.bridge = None if leg.bridge == event.bridge_id else leg.bridge
        elif isinstance(event, Progressed):
            if is_target:
                await ringing.rings(ctx, state, 180 if event.ringing else 183)
        else:
            await self._reached(leg, event.channel.state)
        await ringing.advance(ctx, state)

    async def _reached(self, leg: Leg, reached: ChannelState) -> None:
        """Note how far a leg is; it never goes back."""
        if leg.is_up or reached is ChannelState.DOWN:
            return
        leg.state = reached
        attempt = self.state.attempt
        if attempt is not None and leg is (attempt.leg or self.state.near):
            attempt.silent_until = None
        if reached is ChannelState.RINGING and attempt is not None and leg is attempt.leg:
            await ringing.rings(self._ctx, self.state, 180)

    async def _offer(self, event: Started) -> None:
        """Report a call that comes in."""
        ctx, state, channel = self._ctx, self.state, event.channel
        if state.exists:
            return
        state.incoming, state.over = True, False
        state.near = Leg(channel.id, channel.state)
        state.origin = ctx.plan.address(channel.caller)
        state.destination = ctx.plan.address(event.arguments[1] if event.arguments[1:] else "")
        try:
            there = await ctx.ari.subscribe(channel.id)
        except AsteriskUnavailable as error:
            # Its end will be seen when it is compared with Asterisk.
            _log.warning("not subscribed", request_id=state.request_id, why=str(error))
            there = True
        if not there:
            # It was over before it could be offered.
            state.near, state.over = None, True
            return
        await ctx.say(offered(state))
        # Behind that: better a caller who hears nothing than one of whom nobody knows.
        await ctx.ari.ring(channel.id)

    async def _gone(self, event: Destroyed, detail: str = "") -> None:
        """Draw the consequences of a leg that is gone."""
        ctx, state = self._ctx, self.state
        channel, cause, tech_cause = event
        if state.dying.pop(channel.id, None) is not None:
            return
        leg, attempt = state.leg(channel.id), state.attempt
        if leg is None:
            return
        is_late = attempt is not None and attempt.until - time.monotonic() < _EARLY_SECONDS
        unheard_of = is_late and leg.state is ChannelState.DOWN
        failed = 500 if detail else failure_status(cause, tech_cause, unheard_of=unheard_of)
        if attempt is not None and leg is attempt.leg:
            attempt.leg = None
            await fail(ctx, state, failed, detail)
        elif leg is state.near and attempt is not None and attempt.began:
            state.near = None
            status = 487 if leg.is_up and not detail else failed
            await fail(ctx, state, status, detail or ("the origin hung up" if leg.is_up else ""))
        elif leg is state.near:
            state.near = None
            answered = state.far is not None
            await end(ctx, state, end_status(cause, tech_cause, answered=answered), detail)
        else:
            state.far = None
            if attempt is None:
                await end(ctx, state, end_status(cause, tech_cause), detail)

    async def _compare(self, snapshot: Snapshot) -> None:
        """Make up for events that were missed."""
        state = self.state
        for channel_id in list(state.dying):
            if channel_id not in snapshot.channels:
                del state.dying[channel_id]
            else:
                await self._ctx.ari.hang_up(channel_id)
        for leg in list(state.legs()):
            if leg.touched_at >= snapshot.began_at:
                continue
            channel = snapshot.channels.get(leg.id)
            if channel is None:
                await self._gone(Destroyed(Channel(leg.id)), _MISSED)
                continue
            leg.bridge = snapshot.bridge_of(leg.id)
            await self._reached(leg, channel.state)
        await mend(self._ctx, state, snapshot)
        if state.attempt is not None:
            state.attempt.asked -= {leg.id for leg in state.legs()} | {"answer"}
        await ringing.advance(self._ctx, state)


def offered(state: CallState) -> Offered:
    """Return the report of a call that comes in."""
    return Offered(request_id=state.request_id, origin=state.origin, destination=state.destination)
