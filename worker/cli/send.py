"""``callctl send``."""

from functools import partial
from typing import Annotated

import typer

from schemas.contract import CommandName
from worker.cli import publishing
from worker.cli.running import group, run

app = group()

_Address = Annotated[str | None, typer.Option(help="A tel: or sip: address.")]


@app.command()
def send(
    command: Annotated[CommandName, typer.Argument(help="The command.")],
    request_id: Annotated[str, typer.Argument(help="The call.", metavar="REQUEST_ID")],
    origin: _Address = None,
    destination: _Address = None,
    endpoint: _Address = None,
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
    run(partial(publishing.send, command, request_id, given, seconds if wait else None))
