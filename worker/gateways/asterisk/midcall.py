"""The actions that are done at once: hold, retrieve, mute, digits, reject, hang up."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from schemas.actions import HangUp, Hold, Mute, Reject, Retrieve, SendDigits, UnMute
from schemas.reports import Done
from worker.errors import AsteriskRefused, AsteriskUnavailable, BrokerUnavailable
from worker.gateways.asterisk.causes import REJECTIONS
from worker.gateways.asterisk.context import Asked, Context, Refusal
from worker.gateways.asterisk.events import Destroyed, Entered, Event, Left
from worker.gateways.asterisk.state import CallState, Leg
from worker.gateways.asterisk.teardown import clear

#: How long Asterisk may take to say that something has come about, in seconds.
_CONFIRM_SECONDS: Final = 4.0

#: How long one digit takes, with the pause behind it, in seconds: what Asterisk does by default.
_DIGIT_SECONDS: Final = 0.2
_PAUSES: Final = {"w": 0.5, "W": 1.0}

#: Asterisk moves no channel between bridges while it sends digits on it. An action that would wait
#: for longer than this for their end is refused, in seconds.
_MOST_DIGITS_SECONDS: Final = 4.0

Immediate = Hold | Retrieve | Mute | UnMute | SendDigits | Reject | HangUp


async def do(ctx: Context, call: CallState, action: Immediate, asked: Asked) -> Done:
    """Do an action, and return its report.

    Args:
        ctx: What calls share.
        call: The call.
        action: The action.
        asked: The same as it has come.

    Raises:
        Refusal: It cannot be done.
        AsteriskRefused: Asterisk does not do it.
        AsteriskUnavailable: Asterisk does not answer.
    """
    match action:
        case HangUp():
            await _hang_up(ctx, call)
        case Reject():
            await _reject(ctx, call, redelivered=asked.begun)
        case Hold():
            await _hold(ctx, call)
        case Retrieve():
            await _retrieve(ctx, call)
        case Mute():
            await ctx.ari.mute(_connected(call)[0].id)
        case UnMute():
            await ctx.ari.un_mute(_connected(call)[0].id)
        case SendDigits():
            await _send_digits(ctx, call, action, asked)
    return Done(request_id=call.request_id, action_id=action.action_id)


def _connected(call: CallState) -> tuple[Leg, Leg, str]:
    if call.near is None:
        raise Refusal(481)
    if call.far is None or call.bridge is None:
        raise Refusal(481, "nobody is connected")
    return call.near, call.far, call.bridge


async def _hold(ctx: Context, call: CallState) -> None:
    _, far, bridge = _connected(call)
    await _digits_over(call)
    with call.expecting(_moved(Left, far, bridge)) as left:
        if await ctx.ari.take_out(bridge, far.id):
            await _confirmed(left)
    far.bridge = None
    try:
        await ctx.ari.start_music(far.id, ctx.settings.music)
    except (AsteriskRefused, AsteriskUnavailable):
        # It is gone, or there is no such music; in that case they are connected again.
        await ctx.ari.add(bridge, far.id)
        far.bridge = bridge
        raise
    call.held = True


async def _retrieve(ctx: Context, call: CallState) -> None:
    _, far, bridge = _connected(call)
    await ctx.ari.stop_music(far.id)
    if far.bridge != bridge:
        with call.expecting(_moved(Entered, far, bridge)) as entered:
            await ctx.ari.add(bridge, far.id)
            await _confirmed(entered)
        far.bridge = bridge
    call.held = False


async def _send_digits(ctx: Context, call: CallState, action: SendDigits, asked: Asked) -> None:
    if asked.begun:
        # They would be sent twice, and might buy twice.
        raise Refusal(500, "whether the digits were sent is not known, so they are not sent again")
    _, far, _ = _connected(call)
    digits = action.digits.get_secret_value()
    # If this process dies from here on, the command is answered 504. One that came back could
    # expire on its way to the next, and be answered 503, as if it had not been taken.
    try:
        await asked.settle_first()
    except BrokerUnavailable:
        raise Refusal(503, "RabbitMQ was lost before the digits were sent") from None
    try:
        await ctx.ari.send_digits(far.id, digits)
    except AsteriskUnavailable:
        raise Refusal(500, "whether the digits were sent is not known") from None
    seconds = sum(_PAUSES.get(digit, _DIGIT_SECONDS) for digit in digits)
    call.digits_until = max(call.digits_until, time.monotonic()) + seconds


async def _reject(ctx: Context, call: CallState, *, redelivered: bool) -> None:
    near = call.near
    if near is None and redelivered:
        # It was rejected, or the caller has given up: it is over either way.
        return
    if near is None:
        raise Refusal(481)
    if not call.is_offered:
        raise Refusal(491, "the call is connected")
    await _hang_up(ctx, call, REJECTIONS[ctx.settings.reject_status])


async def _hang_up(ctx: Context, call: CallState, reason: str | None = None) -> None:
    legs = list(call.legs())
    awaited = {leg.id for leg in legs}

    def is_last(event: Event) -> bool:
        if isinstance(event, Destroyed):
            awaited.discard(event.channel.id)
        return not awaited

    with call.expecting(is_last) as gone:
        for leg in legs:
            # Whether Asterisk can be reached is seen before anything is forgotten.
            if not await ctx.ari.hang_up(leg.id, reason):
                awaited.discard(leg.id)
        call.over = True
        await clear(ctx, call, hung_up=frozenset(awaited))
        if awaited:
            await asyncio.wait([gone], timeout=_CONFIRM_SECONDS)


def _moved(kind: type[Entered | Left], leg: Leg, bridge: str) -> Callable[[Event], bool]:
    """Return what tells whether a leg has entered a bridge, or left it."""

    def has_moved(event: Event) -> bool:
        return isinstance(event, kind) and event.channel.id == leg.id and event.bridge_id == bridge

    return has_moved


async def _digits_over(call: CallState) -> None:
    seconds = call.digits_until - time.monotonic()
    if seconds > _MOST_DIGITS_SECONDS:
        raise Refusal(491, "digits are being sent")
    if seconds > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(call.interrupted.wait(), seconds)


async def _confirmed(event: asyncio.Future[None]) -> None:
    try:
        await asyncio.wait_for(event, _CONFIRM_SECONDS)
    except TimeoutError:
        raise Refusal(504, "Asterisk does not say that it is done") from None
