"""``callctl send``."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from schemas.contract import CommandName
from worker.cli.connecting import client_of
from worker.cli.exit_codes import ExitCode
from worker.cli.output import print_json
from worker.cli.running import group, run
from worker.client import Event, InvalidCommand, Options, Refused
from worker.errors import ConfigurationError
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
    run(partial(_ask if wait else _publish, body, options, as_json))


async def _publish(
    body: Mapping[str, str],
    options: Options,
    as_json: bool,  # noqa: FBT001 - an option of a command
    settings: Settings,
) -> int:
    async with client_of(settings) as calls:
        try:
            message_id = await calls.publish(body, **options)
        except InvalidCommand as error:
            raise _mistake(error) from None
    if as_json:
        print_json({"message_id": message_id})
    else:
        Console().print("published", message_id, markup=False)
    return ExitCode.DONE


async def _ask(
    body: Mapping[str, str],
    options: Options,
    as_json: bool,  # noqa: FBT001 - an option of a command
    settings: Settings,
) -> int:
    async with client_of(settings) as calls:
        try:
            event = await calls.ask(body, **options)
        except Refused as error:
            if error.event is None:
                raise _mistake(error) from None
            event = error.event
    _print(event, as_json=as_json)
    return ExitCode.DONE if event.ok else ExitCode.NEGATIVE


def _mistake(error: Refused) -> ConfigurationError:
    return ConfigurationError(error.reason.partition(": ")[2])


def _print(event: Event, *, as_json: bool) -> None:
    if as_json:
        print_json(event.body)
    else:
        Console().print_json(data=event.body)
