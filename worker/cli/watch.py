"""``callctl watch``."""

from functools import partial
from typing import Annotated

import typer

from worker.cli import watching
from worker.cli.running import group, run

app = group()


@app.command()
def watch(
    call: Annotated[str | None, typer.Option(help="Only the events of this call.")] = None,
) -> None:
    """Show events as they happen, until Ctrl-C."""
    run(partial(watching.watch, call))
