"""``callctl show``."""

from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from worker.cli.running import group, run
from worker.cli.times import clock
from worker.core.call import Call
from worker.settings import Settings
from worker.store import CallStore, Record, close, connect

app = group()


@app.command()
def show(
    request_id: Annotated[str, typer.Argument(help="The call.", metavar="REQUEST_ID")],
) -> None:
    """Show a call's state and its history."""
    run(partial(_show, request_id))


async def _show(request_id: str, settings: Settings) -> int:
    """Print a call's state and its records, oldest first; return 1 when nothing is known of it.

    Raises:
        StoreUnavailable: Redis does not answer.
        CorruptCall: What is stored is not a call.
    """
    console = Console(highlight=False)
    redis = connect(settings.redis_url.get_secret_value())
    try:
        history = await CallStore.of(redis, settings).history(request_id)
    finally:
        await close(redis)
    if history is None:
        console.print(f"nothing is known of call {request_id}")
        return 1
    call, records = history
    _print_call(console, call)
    _print_records(console, records)
    return 0


def _print_call(console: Console, call: Call) -> None:
    console.print(f"call        {call.request_id}", markup=False)
    console.print(f"state       {' '.join((call.state, *call.flags))}")
    console.print(f"origin      {call.origin or '-'}", markup=False)
    console.print(f"destination {call.destination or '-'}", markup=False)


def _print_records(console: Console, records: list[tuple[str, Record]]) -> None:
    table = Table("time", "message", "event", "no.", "status", "state", "message_id")
    for message_id, record in records:
        for event in record.events:
            table.add_row(
                clock(record.at),
                record.message,
                event.name,
                str(event.sequence),
                f"{event.status} {event.reason}",
                event.call_state,
                message_id,
            )
    console.print(table)
