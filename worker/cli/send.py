"""``callctl send``."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from schemas.contract import CommandName
from worker.cli.connecting import client_of, mistake
from worker.cli.exit_codes import ExitCode
from worker.cli.output import print_json
from worker.cli.running import group, run
from worker.client import Options, Refused
from worker.settings import Settings

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
    message_id: Annotated[
        str | None, typer.Option(help="Its idempotency key: with the same one it is done once.")
    ] = None,
    expires: Annotated[
        float | None,
        typer.Option(help="Seconds after which it is a dead letter, if no worker has it.", min=0.0),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the event.")] = False,
    seconds: Annotated[float, typer.Option(help="How long to wait.", min=0.1)] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Publish a command."""
    fields = {
        "call_control": command.value,
        "request_id": request_id,
        "origin": origin,
        "destination": destination,
        "endpoint": endpoint,
        "digits": digits,
    }
    body = {name: value for name, value in fields.items() if value is not None}
    options: Options = {"timeout": seconds}
    if message_id is not None:
        options["message_id"] = message_id
    if expires is not None:
        options["expires"] = expires
    run(partial(_send, body, options, wait=wait, as_json=as_json))


async def _send(
    body: Mapping[str, str], options: Options, settings: Settings, *, wait: bool, as_json: bool
) -> int:
    """Publish a command; return 1 when its answer was waited for and is a refusal.

    Raises:
        ConfigurationError: A field is missing or wrong, or the installation is not there.
        Unavailable: RabbitMQ cannot be reached, or the answer does not come in time.
    """
    async with client_of(settings) as calls:
        try:
            if not wait:
                message_id = await calls.publish(body, **options)
                if as_json:
                    print_json({"message_id": message_id})
                else:
                    Console().print("published", message_id, markup=False)
                return ExitCode.DONE
            event = await calls.ask(body, **options)
        except Refused as error:
            if error.event is None:
                raise mistake(error) from None
            event = error.event
    if as_json:
        print_json(event.body)
    else:
        Console().print_json(data=event.body)
    return ExitCode.DONE if event.ok else ExitCode.NEGATIVE
