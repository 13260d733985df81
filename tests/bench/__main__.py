"""``python -m tests.bench``: the worker and its peers at the same job, side by side."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from deploy.local import provide
from tests.bench.contenders import contenders
from tests.bench.drain import BacklogTooSmall, Window
from tests.bench.goals import goals
from tests.bench.results import RESULTS, Results, write
from tests.bench.run import MEASUREMENTS, Plan, run
from tests.bench.stage import JobNotDone
from worker import logs

#: What is measured in about a minute, to see that everything works.
_QUICK: Final[dict[str, Any]] = {
    "rounds": 1,
    "commands": 8000,
    "window": Window(settle_seconds=0.5, seconds=2),
    "rates": (300,),
    "latency_rounds": 1,
    "latency_seconds": 2,
    "live_calls": (1000, 10_000),
    "history": (10, 100),
    "scaling_commands": 5000,
    "processes": (1, 2),
    "starts": 1,
}
_QUICK_CONTENDERS: Final = "worker,faststream,aio-pika"
_QUICK_MEASUREMENTS: Final = "drain,latency,memory,start"

_MET: Final = {True: "[green]met", False: "[red]missed", None: "[dim]-"}

_console: Final = Console(highlight=False, soft_wrap=True)

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def _bench(
    *,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="How often each drain.")] = 3,
    commands: Annotated[
        int, typer.Option(min=2000, max=2_000_000, help="The backlog of each drain.")
    ] = 50_000,
    only: Annotated[str, typer.Option(help=f"Some of {','.join(MEASUREMENTS)}.")] = "",
    contenders_: Annotated[
        str,
        typer.Option(
            "--contenders", help=f"Some of {','.join(each.key for each in contenders())}."
        ),
    ] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="A minute, to see that it works; figures mean little.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where the results go.")] = RESULTS,
) -> None:
    """Let the worker and its peers do the same job side by side, and compare.

    Nothing else should run meanwhile. python -m tests.bench.report then renews the README.
    """
    known = {each.key: each for each in contenders()}
    if quick:
        contenders_, only = contenders_ or _QUICK_CONTENDERS, only or _QUICK_MEASUREMENTS
    keys = _chosen("contender", contenders_, list(known))
    wanted = _chosen("measurement", only, list(MEASUREMENTS))
    plan = Plan([known[key] for key in keys], rounds, commands)
    if quick:
        plan = replace(plan, **_QUICK)
    logs.silence_libraries()
    try:
        results = asyncio.run(_run(plan, wanted))
    except JobNotDone as error:
        _console.print(f"[red]{error}")
        raise typer.Exit(1) from None
    except BacklogTooSmall as error:
        raise typer.BadParameter(f"{error}: give it more --commands") from None
    write(results, out)
    _show(results)
    _console.print(f"{out}", style="dim")


def _chosen(kind: str, asked: str, known: Sequence[str]) -> list[str]:
    """Return what is asked for in the known order; all if nothing is.

    Raises:
        typer.BadParameter: There is no such thing.
    """
    names = asked.split(",") if asked else list(known)
    if unknown := set(names) - set(known):
        raise typer.BadParameter(
            f"no such {kind}: {', '.join(sorted(unknown))}; there are {', '.join(known)}"
        )
    return [each for each in known if each in names]


async def _run(plan: Plan, wanted: Sequence[str]) -> Results:
    with provide("tests", _console.print) as services:
        return await run(services, plan, wanted, _console.print)


def _show(results: Results) -> None:
    table = Table("goal", "wanted", "measured", "")
    for goal in goals(results):
        table.add_row(goal.text, goal.wanted, goal.measured, _MET[goal.is_met])
    _console.print(table)


if __name__ == "__main__":
    app()
