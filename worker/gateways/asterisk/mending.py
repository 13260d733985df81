"""Connecting again whom something that failed half way has left apart."""

from typing import Final

import structlog

from worker.errors import AsteriskRefused, AsteriskUnavailable
from worker.gateways.asterisk.context import Context
from worker.gateways.asterisk.snapshot import Snapshot
from worker.gateways.asterisk.state import Attempt, CallState

_log: Final = structlog.get_logger(__name__)


async def put_back(ctx: Context, call: CallState, failed: Attempt) -> None:
    """Connect again whom a transfer had moved already when its target was gone."""
    near = call.near
    if near is None or call.bridge is None:
        return
    if near.bridge == failed.bridge or near.id in failed.asked:
        try:
            await ctx.ari.add(call.bridge, near.id)
            # Whatever list says otherwise is older.
            near.touch()
        except (AsteriskUnavailable, AsteriskRefused) as error:
            # It is seen when the two are compared.
            _log.warning("not put back", request_id=call.request_id, why=str(error))


async def mend(ctx: Context, call: CallState, snapshot: Snapshot) -> None:
    """Connect again whom a hold or a transfer has left apart.

    Raises:
        AsteriskRefused: Asterisk does not do it.
        AsteriskUnavailable: Asterisk does not answer.
    """
    if not call.is_connected or call.bridge is None or call.attempt is not None:
        return
    for leg in call.legs():
        hears_music = leg is call.far and call.held
        is_apart = leg.touched_at < snapshot.began_at and leg.bridge != call.bridge
        if is_apart and not hears_music:
            await ctx.ari.stop_music(leg.id)
            await ctx.ari.add(call.bridge, leg.id)
