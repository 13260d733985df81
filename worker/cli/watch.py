"""``callctl watch``."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console

from schemas.contract import EventName
from worker.cli.connecting import client_of
from worker.cli.exit_codes import ExitCode
from worker.cli.output import plain, print_json
from worker.cli.running import group, run
from worker.cli.times import moment
from worker.client import Event, Since
from worker.client.subscription import FIRST
from worker.core.call import State
from worker.errors import ConfigurationError
from worker.settings import Settings

app = group()


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is to be shown, and how."""

    call: str | None
    kinds: Sequence[EventName]
    states: Sequence[State]
    since: str | None
    follow: bool
    limit: int | None
    as_json: bool


@app.command(epilog="callctl watch --since 10m --no-follow --json | jq .status")
def watch(
    call: Annotated[str | None, typer.Option(help="Only the events of this call.")] = None,
    kind: Annotated[list[EventName] | None, typer.Option(help="Only events of this kind.")] = None,
    state: Annotated[
        list[State] | None, typer.Option(help="Only events that leave the call in this state.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Replay the journal from there: 10m, 2h, 7d, an ISO 8601 time, an offset, or"
            " first; then go on."
        ),
    ] = None,
    *,
    follow: Annotated[bool, typer.Option(help="Go on at the end of the journal.")] = True,
    limit: Annotated[int | None, typer.Option(help="How many events to show.", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show events as they happen, until Ctrl-C."""
    if since is None and not follow:
        raise typer.BadParameter("--no-follow needs --since")
    run(partial(_watch, _Wish(call, kind or (), state or (), since, follow, limit, as_json)))


async def _watch(wish: _Wish, settings: Settings) -> int:
    console = Console(highlight=False)
    shown = 0
    async with client_of(settings) as calls:
        since = None if wish.since is None else _beginning(wish.since)
        try:
            events = calls.events(wish.call, wish.kinds, since=since, follow=wish.follow)
        except ValueError as error:
            raise ConfigurationError(str(error).partition("\n")[0]) from None
        async with events:
            async for event in events:
                if wish.states and event.state not in wish.states:
                    continue
                if wish.as_json:
                    print_json(_fields(event))
                else:
                    _print(console, event)
                shown += 1
                if shown == wish.limit:
                    break
    return ExitCode.DONE if shown or wish.follow else ExitCode.NEGATIVE


def _beginning(text: str) -> Since:
    if text == FIRST:
        return text
    return int(text) if text.isascii() and text.isdigit() else moment(text)


def _fields(event: Event) -> dict[str, Any]:
    return {
        "at": event.decided_at,
        "kind": event.kind,
        "request_id": event.request_id,
        "sequence": event.sequence,
        "status": event.status,
        "reason": event.reason,
        "state": event.state,
        "terminal": event.terminal,
        "call_control": event.call_control,
        "message_id": event.message_id,
        "correlation_id": event.correlation_id,
        "offset": event.offset,
        "missed": event.missed,
        "body": event.body,
    }


def _print(console: Console, event: Event) -> None:
    at = f"{event.decided_at.astimezone():%H:%M:%S}" if event.decided_at else ""
    if event.missed:
        console.print(f"{at:8} {event.missed} events of the next call are missing", style="red")
    line = plain(
        f"{at:8} {event.request_id:<16} {event.sequence:>4} {event.kind:<20} {event.state:<10}"
        f" {event.status} {event.reason}"
    )
    line.stylize(_style(event))
    console.print(line, soft_wrap=True)


def _style(event: Event) -> str:
    if not event.ok:
        return "yellow"
    if event.terminal:
        return "dim"
    return "cyan" if not event.call_control else "green"
