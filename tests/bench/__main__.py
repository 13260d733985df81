"""``python -m tests.bench``: the worker and its peers at the same job, side by side."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from deploy.local import provide
from tests.bench.contenders import contenders
from tests.bench.drain import JobNotDone, Window
from tests.bench.results import Results, write
from tests.bench.run import MEASUREMENTS, Plan, run
from worker import logs

#: What is measured in about a minute.
_QUICK: Final[dict[str, Any]] = {
    "rounds": 1,
    "commands": 8000,
    "window": Window(settle_seconds=0.5, seconds=2),
    "latency_seconds": 3,
}

_console: Final = Console(highlight=False, soft_wrap=True)

app = typer.Typer(pretty_exceptions_enable=False)


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


@app.command()
def _bench(
    *,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="How often.")] = 3,
    commands: Annotated[
        int, typer.Option(min=2000, max=2_000_000, help="The backlog of each drain.")
    ] = 50_000,
    only: Annotated[str, typer.Option(help=f"Some of {','.join(MEASUREMENTS)}.")] = "",
    contenders_: Annotated[
        str, typer.Option("--contenders", help="Some of them, by their keys.")
    ] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="About a minute, and little worth.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Where the results go.")] = Path("bench.json"),
) -> None:
    """Let the worker and its peers do the same job side by side, and compare."""
    known = {each.key: each for each in contenders()}
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
    write(results, out)


async def _run(plan: Plan, wanted: Sequence[str]) -> Results:
    with provide("tests", _console.print) as services:
        return await run(services, plan, wanted, _console.print)


if __name__ == "__main__":
    app()
