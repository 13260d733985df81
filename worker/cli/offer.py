"""``callctl offer``."""

import secrets
from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from schemas.contract import ReportName
from worker.cli.connecting import client_of, mistake
from worker.cli.exit_codes import ExitCode
from worker.cli.running import group, run
from worker.client import InvalidCommand
from worker.settings import Settings

app = group()


@app.command()
def offer(
    caller: Annotated[str, typer.Option("--from", help="The offering endpoint.")],
    called: Annotated[str, typer.Option("--to", help="The called address.")],
    request_id: Annotated[
        str | None, typer.Argument(help="The call; a new one.", metavar="[REQUEST_ID]")
    ] = None,
) -> None:
    """Play the network: offer an incoming call."""
    run(partial(_offer, caller, called, request_id or f"in-{secrets.token_hex(6)}"))


async def _offer(caller: str, called: str, request_id: str, settings: Settings) -> int:
    report = {
        "network_report": ReportName.OFFERED.value,
        "request_id": request_id,
        "origin": caller,
        "destination": called,
    }
    async with client_of(settings) as calls:
        try:
            await calls.publish(report)
        except InvalidCommand as error:
            raise mistake(error) from None
    Console().print("offered", request_id, markup=False)
    return ExitCode.DONE
