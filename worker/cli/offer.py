"""``callctl offer``."""

from functools import partial
from typing import Annotated

import typer

from worker.cli import publishing
from worker.cli.running import group, run

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
    run(partial(publishing.offer, caller, called, request_id))
