"""Ending what is on Asterisk: legs, bridges, attempts, calls."""

import time
from typing import Final

import structlog

from schemas.reports import Ended, Failed
from worker.errors import AsteriskRefused, AsteriskUnavailable
from worker.gateways.asterisk.causes import phrase
from worker.gateways.asterisk.context import Context
from worker.gateways.asterisk.mending import put_back
from worker.gateways.asterisk.state import CallState, Leg

_log: Final = structlog.get_logger(__name__)

#: The status of what is gone with its Asterisk: Service Unavailable.
_GONE: Final = 503


async def drop(ctx: Context, call: CallState, leg: Leg) -> None:
    """Hang up a leg that is not to be heard of again.

    If Asterisk cannot be reached, it is hung up when the two are compared (``resync``).
    """
    call.dying[leg.id] = time.monotonic()
    try:
        if not await ctx.ari.hang_up(leg.id):
            call.dying.pop(leg.id, None)
    except (AsteriskUnavailable, AsteriskRefused) as error:
        _log.warning("leg not hung up", request_id=call.request_id, why=str(error))


async def remove(ctx: Context, bridge: str | None) -> None:
    """Remove a bridge; what is left of it is swept later."""
    if bridge is None:
        return
    try:
        await ctx.ari.remove_bridge(bridge)
    except (AsteriskUnavailable, AsteriskRefused) as error:
        _log.warning("bridge not removed", why=str(error))


async def clear(ctx: Context, call: CallState, hung_up: frozenset[str] | None = None) -> None:
    """Hang up all legs of a call, and remove its bridges.

    Args:
        ctx: What calls share.
        call: The call.
        hung_up: The legs that are going already; None where that is still to be done.
    """
    attempt, bridge = call.attempt, call.bridge
    legs = list(call.legs())
    call.near = call.far = call.attempt = call.bridge = None
    call.held = False
    if hung_up is None:
        for leg in legs:
            await drop(ctx, call, leg)
    else:
        call.dying.update(dict.fromkeys(hung_up, time.monotonic()))
    if attempt is not None:
        # Whoever comes with a copy of the action is told what the worker has said of it.
        ctx.outcomes.remember(
            Failed(request_id=call.request_id, action_id=attempt.action_id, status=487)
        )
        ctx.claims[attempt.bridge] = time.monotonic()
    await remove(ctx, bridge)


async def end(ctx: Context, call: CallState, status: int, detail: str = "") -> None:
    """Report that a call is over, once what is left of it has been hung up."""
    call.over = True
    await clear(ctx, call)
    await ctx.say(Ended(request_id=call.request_id, status=status, reason=phrase(status, detail)))


async def fail(ctx: Context, call: CallState, status: int, detail: str = "") -> None:
    """Report that an attempt has failed; what was there before it stays.

    The claim stays, too, for a while: a copy of the action must not begin it again.
    """
    attempt = call.attempt
    if attempt is None:
        return
    call.attempt = None
    ctx.claims[attempt.bridge] = time.monotonic()
    if attempt.leg is not None:
        await drop(ctx, call, attempt.leg)
    await put_back(ctx, call, attempt)
    began = attempt.began
    if began:
        call.over = True
        await clear(ctx, call)
    await ctx.say(
        Failed(
            request_id=call.request_id,
            action_id=attempt.action_id,
            status=status,
            reason=phrase(status, detail),
        )
    )
    if not began and call.far is None and not call.is_offered:
        # The party that was to be replaced has hung up meanwhile.
        await end(ctx, call, status)


async def gone_with_asterisk(ctx: Context, call: CallState) -> None:
    """Report a call of which Asterisk knows nothing any more, because it was restarted."""
    existed, attempt = call.exists, call.attempt
    call.dying.clear()
    if not existed:
        return
    call.near = call.far = call.bridge = call.attempt = None
    call.over = True
    reason = phrase(_GONE, "Asterisk was restarted")
    if attempt is not None:
        await ctx.say(
            Failed(
                request_id=call.request_id,
                action_id=attempt.action_id,
                status=_GONE,
                reason=reason,
            )
        )
    if attempt is None or not attempt.began:
        await ctx.say(Ended(request_id=call.request_id, status=_GONE, reason=reason))
