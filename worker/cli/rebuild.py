"""``callctl rebuild``."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from worker import rebuild as rebuilding
from worker.cli.output import print_json
from worker.cli.running import group, run
from worker.settings import Settings

#: Seconds between lines where there is no terminal for a bar.
_LINE_SECONDS = 5.0


app = group()


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
    run(partial(_rebuild, accept_loss=accept_loss, as_json=as_json))


async def _rebuild(settings: Settings, *, accept_loss: bool, as_json: bool) -> int:
    """Restore Redis from the journal, and say what was restored.

    Raises:
        ConfigurationError: There is no journal.
        BrokerUnavailable: RabbitMQ cannot be reached, or did not give the journal to its end.
        StoreUnavailable: Redis cannot be reached.
    """
    console = Console(highlight=False)
    started = time.monotonic()
    with _progress(console, as_json=as_json) as progress:
        report = await rebuilding.rebuild(settings, progress, accept_loss=accept_loss)
    seconds = round(time.monotonic() - started, 2)
    if as_json:
        print_json({**asdict(report), "seconds": seconds})
        return 0
    console.print(f"read      {report.events} events in {seconds:.1f} s")
    console.print(f"restored  {report.calls} calls, {report.records} records")
    console.print(f"expired   {report.expired} events of calls that are not kept any more")
    if report.unreadable:
        console.print(f"skipped   {report.unreadable} that cannot be read", style="yellow")
    console.print(
        "workers   go on with what Redis holds now"
        if report.new_epoch
        else "workers   have nothing to wait for: Redis has lost nothing"
    )
    return 0


@contextmanager
def _progress(console: Console, *, as_json: bool) -> Iterator[rebuilding.Progress]:
    """Yield what shows how far it has come: a bar on a terminal, else a line now and then."""
    if as_json or not console.is_terminal:
        said = time.monotonic()

        def line(read: int, there_are: int) -> None:
            nonlocal said
            if time.monotonic() - said > _LINE_SECONDS:
                said = time.monotonic()
                if as_json:
                    print_json({"read": read, "of": there_are})
                else:
                    console.print(f"read {read} of about {there_are} events")

        yield line
        return
    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("reading", total=None)
        yield lambda read, there_are: bars.update(task, completed=read, total=there_are)
