"""``callctl doctor``."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from worker.cli.exit_codes import ExitCode
from worker.cli.options import ManagementOption
from worker.cli.output import plain, print_json
from worker.cli.running import group, run
from worker.doctor import Finding, Level, examine
from worker.settings import Settings

_STYLES: Final = {
    Level.OK: "green",
    Level.UNKNOWN: "blue",
    Level.WARNING: "yellow",
    Level.BAD: "red",
}

app = group()


@app.command()
def doctor(
    management: ManagementOption = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Examine RabbitMQ and Redis, and say what to do about each finding.

    It changes nothing, and takes nothing from a queue. Exits with 1 when something is bad;
    warnings, and what cannot be seen, do not count.
    """
    run(partial(_doctor, management, as_json=as_json))


async def _doctor(management: str | None, settings: Settings, *, as_json: bool) -> int:
    """Print the findings; return 1 when one is bad.

    Raises:
        ConfigurationError: The management's address is no URL of HTTP.
    """
    findings = await examine(settings, management)
    bad = any(each.level is Level.BAD for each in findings)
    if as_json:
        print_json({"ok": not bad, "findings": [asdict(each) for each in findings]})
    else:
        _print(findings)
    return ExitCode.NEGATIVE if bad else ExitCode.DONE


def _print(findings: Sequence[Finding]) -> None:
    console = Console(highlight=False)
    table = Table("", "", "", "found → what to do")
    for column in table.columns:
        column.overflow = "fold"
    for each in findings:
        told = plain(each.found)
        if each.remedy:
            told.append("\n→ ").append_text(plain(each.remedy))
        level = plain(each.level)
        level.stylize(_STYLES[each.level])
        table.add_row(level, plain(each.service), plain(each.check), told)
    console.print(table)
    numbers = Counter(each.level for each in findings)
    console.print(", ".join(f"{numbers[level]} {level}" for level in Level if numbers[level]))
