"""The actions that ring: both parties of a call, a caller's destination, a transfer's.

Each has a bridge of its own. To make it is to claim the action: Asterisk lets one process do that,
once. The parties are connected in it, and a leg that is called is put into it first, so that the
other party hears what the network says before it answers, and is connected even if no gateway is
there at that moment.

``advance`` goes on from whatever has come about, so it does not matter how often it is called, nor
by which process.
"""

import asyncio
import time
from typing import Final

import structlog

from schemas.actions import Answer, Originate, Redirect, Transfer
from schemas.contract import ActionName
from schemas.reports import Answered, Done, Ringing
from worker.errors import AsteriskRefused, AsteriskUnavailable
from worker.gateways.asterisk.causes import phrase
from worker.gateways.asterisk.context import Context, Refusal
from worker.gateways.asterisk.dialing import NotDialable, shown
from worker.gateways.asterisk.events import ChannelState, Event, Started
from worker.gateways.asterisk.names import Role
from worker.gateways.asterisk.notes import VARIABLE, Note, bridge_name
from worker.gateways.asterisk.snapshot import take
from worker.gateways.asterisk.state import Attempt, CallState, Leg
from worker.gateways.asterisk.teardown import clear, drop, fail, remove

_log: Final = structlog.get_logger(__name__)

#: How long after it has rung for long enough an attempt is given up here, in seconds. Asterisk
#: itself is to end it.
MARGIN_SECONDS: Final = 5.0

#: How long a leg that has not rung yet is waited for, in seconds. Whether another process has
#: dialled it cannot be seen.
SILENT_SECONDS: Final = 10.0

#: How long a leg may take to come to the application once it is made, in seconds.
_START_SECONDS: Final = 2.0

Dialling = Originate | Answer | Redirect | Transfer


async def begin(ctx: Context, call: CallState, action: Dialling) -> None:
    """Begin an action; its report comes when somebody has answered, or nobody has.

    Raises:
        Refusal: It cannot be begun, or may have been begun before.
        AsteriskUnavailable: Asterisk does not answer; nobody has been called.
    """
    target = _target(call, action)
    endpoint = _endpoint(ctx, action.origin if isinstance(action, Originate) else target)
    if isinstance(action, Originate):
        # It calls the origin first, and must know then that it can call the destination.
        _endpoint(ctx, target)
        # A call that nobody waits for any more.
        await clear(ctx, call)
    elif isinstance(action, Redirect) and call.attempt is not None:
        await _make_way(ctx, call)
    bridge = ctx.ids.bridge(call.request_id, action.action_id)
    if not await ctx.ari.make_bridge(bridge, bridge_name(call.request_id, action.action_id)):
        raise Refusal(500, "it was begun before, and what came of it is not known")
    until = time.monotonic() + action.timeout_seconds
    attempt = Attempt(
        action_id=action.action_id,
        kind=action.action,
        bridge=bridge,
        target=target,
        until=until,
        give_up_at=until + MARGIN_SECONDS,
    )
    call.attempt, call.over = attempt, False
    try:
        if isinstance(action, Originate):
            call.origin, call.destination = action.origin, target
            call.near, _ = await _make(ctx, call, Role.ORIGIN, endpoint, _parties(ctx, action))
            await _dial(ctx, call.near, None, attempt)
        else:
            attempt.leg, _ = await _make(ctx, call, Role.TARGET, endpoint, {})
            await ctx.ari.add(bridge, attempt.leg.id)
            await _dial(ctx, attempt.leg, call.near, attempt)
    except (Refusal, AsteriskRefused, AsteriskUnavailable):
        await _undo(ctx, call, attempt)
        raise


def _target(call: CallState, action: Dialling) -> str:
    if isinstance(action, Originate):
        return action.destination
    if call.near is None:
        raise Refusal(481)
    if call.attempt is not None and not isinstance(action, Redirect):
        raise Refusal(491, "another endpoint is ringing")
    if isinstance(action, Transfer):
        if not call.is_connected:
            raise Refusal(481, "nobody is connected")
        return action.endpoint
    if not call.is_offered:
        raise Refusal(491, "the call is connected")
    if isinstance(action, Answer):
        return action.destination or call.destination
    return action.endpoint


def _endpoint(ctx: Context, address: str) -> str:
    try:
        return ctx.plan.dial_string(address)
    except NotDialable as error:
        raise Refusal(404, str(error)) from None


def _parties(ctx: Context, action: Originate) -> dict[str, str]:
    """Return what the parties are shown of each other."""
    fixed = ctx.settings.caller_id
    numbers = {
        "CALLERID(num)": fixed or shown(action.origin),
        "CONNECTEDLINE(num)": fixed or shown(action.destination),
    }
    return {name: number for name, number in numbers.items() if number}


async def _make(
    ctx: Context, call: CallState, role: Role, endpoint: str, variables: dict[str, str]
) -> tuple[Leg, bool]:
    """Make a leg, which calls nobody yet; return it, and whether it was not there yet."""
    attempt = call.attempt
    if attempt is None:
        raise Refusal(487)
    leg = Leg(ctx.ids.leg(call.request_id, attempt.action_id, role))
    note = Note(
        request_id=call.request_id,
        action_id=attempt.action_id,
        action=attempt.kind,
        target=attempt.target,
        until=time.time() + attempt.until - time.monotonic(),
    )
    ctx.expect(leg.id, call.request_id)
    originator = call.near.id if call.near is not None else None

    def has_started(event: Event) -> bool:
        return isinstance(event, Started) and event.channel.id == leg.id

    with call.expecting(has_started) as started:
        try:
            made = {VARIABLE: note.write(), **variables}
            is_new = await ctx.ari.make_leg(leg.id, endpoint, originator, made)
        except AsteriskRefused as refused:
            _log.warning("leg refused", request_id=call.request_id, why=str(refused))
            raise Refusal(404, "Asterisk has no such endpoint") from None
        # Before that the application can do nothing with it, and is refused.
        if is_new:
            await asyncio.wait([started], timeout=_START_SECONDS)
    leg.touch()
    return leg, is_new


async def _dial(ctx: Context, leg: Leg, caller: Leg | None, attempt: Attempt) -> None:
    """Call a leg's endpoint. What came of it, if that is not known, its events will tell."""
    try:
        await ctx.ari.dial(leg.id, caller.id if caller else None, attempt.ring_seconds)
    except AsteriskUnavailable:
        leg.touch()
        attempt.silent_until = time.monotonic() + SILENT_SECONDS


async def _undo(ctx: Context, call: CallState, attempt: Attempt) -> None:
    call.attempt = None
    ctx.claims[attempt.bridge] = time.monotonic()
    if attempt.leg is not None:
        await drop(ctx, call, attempt.leg)
    if attempt.began:
        call.over = True
        await clear(ctx, call)


async def _make_way(ctx: Context, call: CallState) -> None:
    await fail(ctx, call, 487)


async def advance(ctx: Context, call: CallState) -> None:
    """Do what is to be done next, now that something has come about."""
    attempt, near = call.attempt, call.near
    if attempt is None or near is None:
        return
    try:
        if attempt.leg is None:
            if near.is_up:
                await _call_destination(ctx, call, attempt, near)
        elif attempt.leg.is_up:
            await _connect(ctx, call, attempt, near, attempt.leg)
    except AsteriskUnavailable:
        # Nobody knows what has been done; when the two are compared, it is seen.
        attempt.asked.clear()
    except AsteriskRefused:
        # One of them is gone, which its event says; or else the time will be over.
        return


async def _call_destination(ctx: Context, call: CallState, attempt: Attempt, near: Leg) -> None:
    """Call the destination, now that the origin has answered.

    The origin is put into the bridge before that. So whoever finds it outside knows that the
    destination has not been called, and whoever finds it alone inside, that it may have been.
    """
    if "destination" in attempt.asked:
        return
    attempt.asked.add("destination")
    await ctx.ari.add(attempt.bridge, near.id)
    try:
        endpoint = _endpoint(ctx, attempt.target)
        leg, is_new = await _make(ctx, call, Role.TARGET, endpoint, {})
        attempt.leg = leg
        if not is_new:
            # Another process takes itself for the one that acts, and so did this one. Only one of
            # them does for long, and to dial a second time would hang up.
            await _look(ctx, attempt, leg)
            return
        await ctx.ari.add(attempt.bridge, leg.id)
    except Refusal as refusal:
        await fail(ctx, call, refusal.status, refusal.detail)
    except AsteriskRefused as refused:
        _log.warning("not connected", request_id=call.request_id, why=str(refused))
        await fail(ctx, call, 500, "Asterisk does not do it")
    except AsteriskUnavailable:
        await fail(ctx, call, 503, "Asterisk does not answer")
    else:
        await _dial(ctx, leg, near, attempt)


async def _look(ctx: Context, attempt: Attempt, leg: Leg) -> None:
    """Find out how far a leg is that somebody else has made."""
    there = await take(ctx.ari)
    if leg.id in there.channels:
        leg.state, leg.bridge = there.channels[leg.id].state, there.bridge_of(leg.id)
    if leg.state is ChannelState.DOWN:
        attempt.silent_until = time.monotonic() + SILENT_SECONDS


async def _connect(ctx: Context, call: CallState, attempt: Attempt, near: Leg, leg: Leg) -> None:
    """Connect the parties, now that both are there; report it once they are."""
    if not near.is_up:
        if "answer" not in attempt.asked:
            attempt.asked.add("answer")
            await ctx.ari.answer(near.id)
        return
    for each in (leg, near):
        if each.bridge != attempt.bridge and each.id not in attempt.asked:
            attempt.asked.add(each.id)
            await ctx.ari.add(attempt.bridge, each.id)
    if leg.bridge == near.bridge == attempt.bridge:
        await _succeed(ctx, call, attempt, leg)


async def _succeed(ctx: Context, call: CallState, attempt: Attempt, leg: Leg) -> None:
    former, former_bridge = call.far, call.bridge
    call.far, call.bridge, call.attempt = leg, attempt.bridge, None
    call.held = False
    if former is not None:
        await drop(ctx, call, former)
        await remove(ctx, former_bridge)
    await ctx.say(success(call, attempt.action_id, attempt.kind))


def success(call: CallState, action_id: str, kind: ActionName) -> Answered | Done:
    """Return the report of an attempt that has succeeded."""
    report = Done if kind is ActionName.TRANSFER else Answered
    return report(request_id=call.request_id, action_id=action_id)


async def rings(ctx: Context, call: CallState, status: int) -> None:
    """Report that the destination of a call that is placed rings, the first time it does.

    Args:
        ctx: What calls share.
        call: The call.
        status: 180, or 183 if it does not ring, but says something.
    """
    attempt = call.attempt
    if attempt is None:
        return
    attempt.silent_until = None
    if attempt.rang or not attempt.began:
        return
    attempt.rang = True
    await ctx.say(
        Ringing(
            request_id=call.request_id,
            action_id=attempt.action_id,
            status=status,
            reason=phrase(status),
        )
    )
