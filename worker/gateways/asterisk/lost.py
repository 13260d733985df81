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
from worker.broker.journal import Entry, leave_mark, read_journal
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

#: The journal's end is where it is silent for so long, in seconds, if no mark can be left there.
_QUIET_SECONDS: Final = 3.0

#: How long its end is waited for, in seconds: RabbitMQ reads 30 000 entries in one.
_MOST_SECONDS: Final = 600.0


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
        mark = await _mark(connection, journal)
        deadline = time.monotonic() + _MOST_SECONDS
        async with read_journal(connection, journal, since) as reader:
            while time.monotonic() < deadline:
                patience = _QUIET_SECONDS if mark is None else deadline - time.monotonic()
                entries = await reader.take(_CHUNK, patience)
                found.read(entries)
                if not entries or (mark and any(entry.mark == mark for entry in entries)):
                    break
    finally:
        await broker.close(connection)
    return found.calls()


async def _mark(connection: AbstractConnection, journal: str) -> str | None:
    try:
        return await leave_mark(connection, journal)
    except BrokerUnavailable as error:
        if isinstance(error.__cause__, ChannelAccessRefused):
            # A user who may only read it.
            return None
        raise


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
