"""``python -m tests.chaos``: break things under load, and judge what came of it."""

import asyncio
import secrets
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from deploy.local import provide
from tests.chaos.faults import FAULTS
from tests.chaos.report import Report
from tests.chaos.run import Plan, run
from tests.chaos.schedule import Round
from tests.harness import ROOT
from worker import logs

_DIRECTORY: Final = ROOT / ".cache" / "chaos"

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def _chaos(
    minutes: Annotated[float, typer.Option(help="How long; every fault comes once at least.")] = 5,
    seed: Annotated[int | None, typer.Option(help="Repeat the faults of a run.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only faults with this in their name.")
    ] = None,
    report: Annotated[Path, typer.Option(help="Where the report goes.")] = _DIRECTORY,
) -> None:
    """Break things under load, and judge what came of it."""
    chosen = [
        fault
        for fault in FAULTS
        if not only or any(word.lower() in str(fault).lower() for word in only)
    ]
    if not chosen:
        names = "\n".join(f"  {fault}" for fault in FAULTS)
        raise typer.BadParameter(f"no fault has that in its name:\n{names}")
    seed = secrets.randbelow(2**31) if seed is None else seed
    logs.silence_libraries()
    made = _shown(Plan(chosen, minutes * 60, seed, report))
    made.write(report)
    console = Console()
    made.show(console)
    console.print(f"{report}/report.md, report.json and the workers' logs", style="dim")
    raise typer.Exit(1 if made.verdict.violations else 0)


def _shown(plan: Plan) -> Report:
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("starting RabbitMQ and Redis", total=plan.seconds)
        with provide("tests") as services:
            progress.update(bar, description=f"seed {plan.seed}")
            began = time.monotonic()

            def told(each: Round) -> None:
                names = " + ".join(map(str, each.faults))
                elapsed = time.monotonic() - began
                felt = f"felt for {each.felt_seconds:.2f} s"
                line = (
                    f"{elapsed:6.0f} s  {names}: {felt}{', NOT OVERCOME' if each.forgotten else ''}"
                )
                progress.console.print(line, highlight=False, markup=False, soft_wrap=True)
                progress.update(bar, completed=elapsed)

            return asyncio.run(run(services, plan, told))


if __name__ == "__main__":
    app()
