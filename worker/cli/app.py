"""``callctl``: the worker, and tools to use it by hand."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console

from schemas.contract import CommandName
from worker import logs
from worker.cli import (
    dead,
    declaring,
    demonstration,
    overseeing,
    publishing,
    rebuilding,
    serving,
    showing,
    watching,
)
from worker.cli.selection import Selection, narrowed
from worker.errors import CallControlError
from worker.settings import Settings

app = typer.Typer(
    help="Call control over RabbitMQ. Set CALL_CONTROL_AMQP_URL and CALL_CONTROL_REDIS_URL.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_topology = typer.Typer(help="What the installation has at RabbitMQ.", no_args_is_help=True)
app.add_typer(_topology, name="topology")

_dead = typer.Typer(help="Look at dead letters, replay them, drop them.", no_args_is_help=True)
app.add_typer(_dead, name="dead")

RequestIdArgument = Annotated[str, typer.Argument(help="The call.", metavar="REQUEST_ID")]
Address = Annotated[str | None, typer.Option(help="A tel: or sip: address.")]
Ids = Annotated[
    list[str] | None,
    typer.Argument(
        help="Ids as listed, beginnings of them, or the message_ids of commands.", metavar="[ID]..."
    ),
]
Reason = Annotated[str | None, typer.Option(help="Only those with this in status or reason.")]
OfCall = Annotated[str | None, typer.Option(help="Only those of this call.")]
Since = Annotated[
    str | None, typer.Option(help="Only those that failed since: 10m, 2h, 7d, or an ISO 8601 time.")
]
All = Annotated[bool, typer.Option("--all", help="Every dead letter.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def _run(command: Callable[[Settings], Coroutine[Any, Any, int]]) -> None:
    """Run a command to its exit code; an error a user can mend is one line, not a traceback."""
    logs.silence_libraries()
    try:
        code = asyncio.run(command(Settings.from_environment(os.environ)))
    except CallControlError as error:
        console = Console(stderr=True, highlight=False)
        console.print(f"callctl: {error}", style="red", markup=False, soft_wrap=True)
        code = 1
    except KeyboardInterrupt:
        code = 130
    raise typer.Exit(code)


@app.command()
def worker() -> None:
    """Run a worker until SIGTERM or Ctrl-C; a second signal exits at once."""
    _run(serving.serve)


@app.command()
def demo() -> None:
    """Play the documented conversation through RabbitMQ, with a worker of its own."""
    _run(demonstration.demo)


@app.command()
def send(
    command: Annotated[CommandName, typer.Argument(help="The command.")],
    request_id: RequestIdArgument,
    origin: Address = None,
    destination: Address = None,
    endpoint: Address = None,
    *,
    digits: Annotated[str | None, typer.Option(help="DTMF digits.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the event.")] = False,
    seconds: Annotated[float, typer.Option(help="How long to wait.", min=0.1)] = 10.0,
) -> None:
    """Publish a command."""
    fields = {
        "origin": origin,
        "destination": destination,
        "endpoint": endpoint,
        "digits": digits,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    wait_seconds = seconds if wait else None
    _run(partial(publishing.send, command, request_id, given, wait_seconds))


@app.command()
def offer(
    caller: Annotated[str, typer.Option("--from", help="The offering endpoint.")],
    called: Annotated[str, typer.Option("--to", help="The called address.")],
    request_id: Annotated[str | None, typer.Argument(metavar="[REQUEST_ID]")] = None,
) -> None:
    """Play the network: offer an incoming call."""
    _run(partial(publishing.offer, caller, called, request_id))


@app.command()
def watch(
    call: Annotated[str | None, typer.Option(help="Only the events of this call.")] = None,
) -> None:
    """Show events as they happen, until Ctrl-C."""
    _run(partial(watching.watch, call))


@app.command()
def show(request_id: RequestIdArgument) -> None:
    """Show a call's state and its history."""
    _run(partial(showing.show, request_id))


@app.command()
def top(
    *,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1)] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each look.")] = False,
) -> None:
    """Show workers, rates, what waits and calls by state, until Ctrl-C."""
    _run(partial(overseeing.top, interval_seconds=interval, once=once, as_json=as_json))


@_topology.command()
def apply() -> None:
    """Declare what is missing, as a user who may configure; a difference is an error that names it.

    Before the first producer of a new installation, and for workers that may not declare.
    """
    _run(declaring.apply)


@app.command()
def rebuild(
    *,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Restore nothing: go on with what is there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print lines of JSON.")] = False,
) -> None:
    """Restore Redis from the journal after it has lost calls; workers wait for it.

    It may be repeated, and changes nothing in a Redis that has lost nothing.
    """
    _run(partial(rebuilding.rebuild, accept_loss, as_json))


@_dead.command("list")
def list_dead(
    ids: Ids = None,
    reason: Reason = None,
    call: OfCall = None,
    since: Since = None,
    *,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1)] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List dead letters, oldest first. Exits with 1 when there are none."""
    _run(
        lambda settings: dead.list_letters(
            Selection.of(ids, reason, call, since), limit, settings, as_json=as_json
        )
    )


@_dead.command("show")
def show_dead(
    ids: Annotated[
        list[str], typer.Argument(help="Ids as listed, or beginnings of them.", metavar="ID...")
    ],
) -> None:
    """Show all that dead letters say, as JSON; digits are replaced."""
    _run(partial(dead.show, Selection(tuple(ids))))


@_dead.command("replay")
def replay_dead(
    ids: Ids = None,
    reason: Reason = None,
    call: OfCall = None,
    since: Since = None,
    *,
    everything: All = False,
    yes: Yes = False,
) -> None:
    """Publish dead letters again as the commands they were, and remove them.

    Asks before it acts on more than one. Exits with 1 when there are none, or some are left.
    """
    _run(
        lambda settings: dead.replay(
            narrowed(ids, reason, call, since, everything=everything), settings, yes=yes
        )
    )


@_dead.command("drop")
def drop_dead(
    ids: Ids = None,
    reason: Reason = None,
    call: OfCall = None,
    since: Since = None,
    *,
    everything: All = False,
    yes: Yes = False,
) -> None:
    """Remove dead letters for good; asks before more than one."""
    _run(
        lambda settings: dead.drop(
            narrowed(ids, reason, call, since, everything=everything), settings, yes=yes
        )
    )


def main() -> None:
    """Run ``callctl``."""
    sys.exit(app())
