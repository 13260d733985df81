"""``callctl show``."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from schemas.contract import OK
from schemas.events import Event
from worker.cli.exit_codes import ExitCode
from worker.cli.output import plain, print_json, say
from worker.cli.running import group, run
from worker.cli.times import clock, duration, when
from worker.core.call import Call
from worker.settings import Settings
from worker.store import CallStore, Record, close, connect

#: Characters of a ``message_id`` that people are shown.
_SHORT_ID: Final = 12

app = group()

History = Sequence[tuple[str, Record]]


@app.command(epilog="callctl show 123XYZ --json | jq .messages")
def show(
    request_id: Annotated[str, typer.Argument(help="The call.", metavar="REQUEST_ID")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a call's state and its history.

    What is said of a call is kept as long as the call. Exits with 1 when nothing is known of it.
    """
    run(partial(_show, request_id, as_json=as_json))


async def _show(request_id: str, settings: Settings, *, as_json: bool) -> int:
    """Print a call's state and its records, oldest first; return 1 when nothing is known of it.

    Raises:
        StoreUnavailable: Redis does not answer.
        CorruptCall: What is stored is not a call.
    """
    redis = connect(settings.redis_url.get_secret_value())
    try:
        store = CallStore.of(redis, settings)
        found = await store.history(request_id)
        expires_ms = await store.expires_ms(request_id)
    finally:
        await close(redis)
    if found is None:
        say(f"nothing is known of call {request_id}")
        return ExitCode.NEGATIVE
    call, records = found
    if as_json:
        print_json(_as_object(call, expires_ms, records))
        return ExitCode.DONE
    console = Console(highlight=False)
    console.print(_header(call, expires_ms, records))
    console.print(_timeline(records))
    return ExitCode.DONE


def _header(call: Call, expires_ms: int | None, records: History) -> Table:
    table = Table.grid(padding=(0, 2))
    rows = {
        "call": call.request_id,
        "state": " ".join((call.state, *call.flags)),
        "origin": call.origin or "-",
        "destination": call.destination or "-",
        "gateway": call.gateway or "",
        "waits for": f"the network, to {call.pending.command}" if call.pending else "",
        "events": str(call.sequence),
        "began": when(records[0][1].at) if records else "",
        "kept for": duration(expires_ms / 1000) if expires_ms is not None else "ever",
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, plain(value))
    return table


def _timeline(records: History) -> Table:
    table = Table("time", "since last", "message", "event", "no.", "status", "state", "message_id")
    for column in (1, 4):
        table.columns[column].justify = "right"
    for message_id, record, since_ms in _with_pauses(records):
        head = [clock(record.at), "" if since_ms is None else duration(since_ms / 1000)]
        # Of an action that waits for the network there is no event yet.
        for event in record.events or (None,):
            told = _told(event) if event else ["", "", "", record.call.state]
            row = [*head, record.message, *told, message_id[:_SHORT_ID]]
            refused = event is not None and event.status != OK
            table.add_row(*map(plain, row), style="yellow" if refused else None)
    return table


def _told(event: Event) -> list[str]:
    return [event.name, str(event.sequence), f"{event.status} {event.reason}", event.call_state]


def _with_pauses(records: History) -> Iterator[tuple[str, Record, int | None]]:
    """Yield records with the milliseconds since the one before, by their workers' clocks."""
    pauses = [None, *(after.at - before.at for (_, before), (_, after) in pairwise(records))]
    for (message_id, record), pause in zip(records, pauses, strict=False):
        yield message_id, record, pause


def _as_object(call: Call, expires_ms: int | None, records: History) -> dict[str, Any]:
    waiting = call.pending
    return {
        "request_id": call.request_id,
        "state": call.state,
        "flags": call.flags,
        "origin": call.origin,
        "destination": call.destination,
        "gateway": call.gateway,
        "sequence": call.sequence,
        "waits_for": {"command": waiting.command, "message_id": waiting.request.id}
        if waiting
        else None,
        "kept_for_seconds": None if expires_ms is None else expires_ms / 1000,
        "messages": [
            {
                "at": when(record.at),
                "since_last_seconds": None if since_ms is None else since_ms / 1000,
                "message": record.message,
                "message_id": message_id,
                "events": [
                    {
                        "event": event.name,
                        "sequence": event.sequence,
                        "status": event.status,
                        "reason": event.reason,
                        "call_state": event.call_state,
                    }
                    for event in record.events
                ],
            }
            for message_id, record, since_ms in _with_pauses(records)
        ],
    }
