"""Calls that ended while no gateway was there to see it: the journal knows that there were any.

A gateway that comes anew finds on Asterisk the calls that there are. Of those that are gone, be it
with an Asterisk that was restarted, nothing is left there; but each has an event in the journal,
which names its gateway, and none behind it that ends it.
"""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelAccessRefused

from schemas.reports import Ended
from worker.broker import connection as broker
from worker.broker.declaring import is_there
from worker.broker.journal import Entry, leave_mark, read_journal, read_last_chunk
from worker.errors import BrokerUnavailable
from worker.gateways.asterisk.causes import phrase
from worker.names import Names
from worker.settings import Settings

_log: Final = structlog.get_logger(__name__)

#: The header of an event that names the gateway that has its call.
GATEWAY_HEADER: Final = "gateway"

#: The states of a call that a gateway has something of.
_LIVING: Final = frozenset({"offered", "dialing", "ringing", "connected"})

_CHUNK: Final = 2000

#: Where no mark can be left in the journal, how long its end is looked for, in seconds: if it is
#: empty; until it is silent; and at most, since where workers publish, there is always more.
_PATIENCE_SECONDS: Final = 10.0
_QUIET_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 2.0

#: How long its end is waited for, in seconds: RabbitMQ reads 30 000 entries in one.
_MOST_SECONDS: Final = 600.0

#: Tells whether all has been read that stood in the journal when its end was looked for.
_IsEnd = Callable[[Entry], bool]


class Living:
    """The calls of a gateway that the journal has seen begin and not seen end.

    Args:
        gateway: The gateway's name.
    """

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._last: dict[str, tuple[int, float]] = {}

    def read(self, entries: Iterable[Entry]) -> None:
        """Take in what comes next in the journal."""
        for entry in entries:
            if not entry.request_id or not entry.sequence:
                continue
            known = self._last.get(entry.request_id)
            if known is not None and entry.sequence < known[0] and entry.sequence != 1:
                # A copy.
                continue
            of_us = entry.text(GATEWAY_HEADER) == self._gateway
            if of_us and entry.text("call_state") in _LIVING and not entry.headers.get("terminal"):
                at = entry.at.timestamp() if entry.at is not None else 0.0
                self._last[entry.request_id] = entry.sequence, at
            else:
                self._last.pop(entry.request_id, None)

    def calls(self) -> dict[str, float]:
        """Return the calls, and when they were last heard of, in seconds since the epoch."""
        return {request_id: at for request_id, (_, at) in self._last.items()}


async def living(settings: Settings, gateway: str) -> dict[str, float]:
    """Return a gateway's calls as the journal knows them; see ``Living.calls``.

    Raises:
        BrokerUnavailable: RabbitMQ cannot be reached, or was lost.
    """
    journal = Names(settings.namespace).journal
    # A call without a command for longer is forgotten.
    since = datetime.now(UTC) - timedelta(seconds=settings.idle_expiry_seconds)
    found = Living(gateway)
    connection = await broker.connect(
        settings.amqp_url.get_secret_value(), f"gateway {gateway} journal"
    )
    try:
        if not await is_there(connection, journal):
            return {}
        is_end = await _end(connection, journal, since)
        if is_end is None:
            return {}
        deadline = time.monotonic() + _MOST_SECONDS
        async with read_journal(connection, journal, since) as reader:
            while time.monotonic() < deadline:
                entries = await reader.take(_CHUNK, deadline - time.monotonic())
                found.read(entries)
                if any(map(is_end, entries)):
                    break
    finally:
        await broker.close(connection)
    return found.calls()


async def _end(connection: AbstractConnection, journal: str, since: datetime) -> _IsEnd | None:
    """Return what tells a journal's present end; None if it has nothing since then."""
    try:
        mark = await leave_mark(connection, journal)
    except BrokerUnavailable as error:
        if not isinstance(error.__cause__, ChannelAccessRefused):
            raise
    else:
        return lambda entry: entry.mark == mark
    # A user who may only read it, as the one that deploy/ has for gateways.
    last = await read_last_chunk(
        connection,
        journal,
        patience_seconds=_PATIENCE_SECONDS,
        quiet_seconds=_QUIET_SECONDS,
        most_seconds=_LOOK_SECONDS,
    )
    if not any(entry.at is None or entry.at >= since for entry in last):
        return None
    end = last[-1].offset
    return lambda entry: entry.offset >= end


def ended(
    calls: dict[str, float], is_known: Callable[[str], bool], asterisk_started_at: float
) -> list[Ended]:
    """Return what is to be said of calls, apart from those that are known.

    Args:
        calls: The calls, and when they were last heard of, in seconds since the epoch.
        is_known: Tells whether a call is there.
        asterisk_started_at: When Asterisk was started, in seconds since the epoch.
    """
    return [
        Ended(
            request_id=request_id,
            status=503,
            reason=phrase(
                503,
                "Asterisk was restarted"
                if at < asterisk_started_at
                else "it ended while its gateway was away",
            ),
        )
        for request_id, at in calls.items()
        if not is_known(request_id)
    ]
