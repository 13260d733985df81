"""``callctl top``: an installation, looked at once a second."""

import asyncio
import sys
from contextlib import suppress
from functools import partial
from typing import Annotated, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from worker.cli.running import group, run
from worker.overview import Calls, Overview, Queues, Survey
from worker.settings import Settings
from worker.store import close, connect

#: How many of the partitions in which most waits are shown.
_LONGEST: Final = 5


app = group()


@app.command()
def top(
    *,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1)] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for each look.")] = False,
) -> None:
    """Show workers, rates, what waits and calls by state, until Ctrl-C."""
    run(partial(_top, interval_seconds=interval, once=once, as_json=as_json))


async def _top(
    settings: Settings, *, interval_seconds: float = 1.0, once: bool = False, as_json: bool = False
) -> int:
    """Show an installation until interrupted; on a terminal in one place, else in lines.

    Args:
        settings: The installation.
        interval_seconds: The time between two looks.
        once: Show it one time, after one interval, so that there are rates.
        as_json: Print one JSON object for each look.

    Returns:
        1 where the last look could not see everything, else 0.

    Raises:
        ConfigurationError: There is no such installation at RabbitMQ.
    """
    redis = connect(settings.redis_url.get_secret_value())
    survey = Survey(settings, redis)
    counting = asyncio.create_task(survey.count_calls())
    console = Console(highlight=False)
    try:
        if console.is_terminal and not (once or as_json):
            with Live(console=console, screen=True, auto_refresh=False) as live:
                while True:
                    live.update(_screen(await survey.look()), refresh=True)
                    await asyncio.sleep(interval_seconds)
        await survey.look()
        while True:
            await asyncio.sleep(interval_seconds)
            overview = await survey.look()
            if as_json:
                sys.stdout.write(f"{overview.model_dump_json()}\n")
                sys.stdout.flush()
            elif once:
                console.print(_screen(overview))
            else:
                console.print(_line(overview), soft_wrap=True)
            if once:
                return 1 if overview.problems else 0
    finally:
        counting.cancel()
        with suppress(asyncio.CancelledError):
            await counting
        await survey.close()
        await close(redis)


def _line(overview: Overview) -> Text:
    return Text(
        "  ".join((f"{overview.at.astimezone():%H:%M:%S}", *_totals(overview), *overview.problems))
    )


def _totals(overview: Overview) -> list[str]:
    queues, workers = overview.queues, overview.workers
    return [
        f"{len(workers)} workers",
        f"{overview.commands_per_second:.0f} commands/s",
        f"{overview.events_per_second:.0f} events/s",
        *(_waiting(queues, overview.partitions) if queues else ["queues unknown"]),
        f"{sum(row.status.redelivered for row in workers)} redelivered",
        f"calls: {_states(overview.calls)}",
    ]


def _waiting(queues: Queues, partitions: int) -> list[str]:
    some = "" if queues.asked == partitions else f" in {queues.asked} of {partitions} partitions"
    found = [f"{queues.backlog} waiting{some}", f"{queues.dead_letters} dead letters"]
    if queues.unconsumed:
        found.append(f"{len(queues.unconsumed)} partitions without a consumer")
    return found


def _states(calls: Calls) -> str:
    if calls.why is not None:
        return f"not counted: {calls.why}"
    states = ", ".join(f"{count} {state}" for state, count in sorted(calls.states.items()))
    return f"{states or 'none'} ({'all' if calls.complete else f'of {calls.counted} sampled'})"


def _screen(overview: Overview) -> RenderableType:
    parts: list[RenderableType] = [Text("\n".join(_totals(overview)))]
    parts += [Text(problem, style="red") for problem in overview.problems]
    parts.append(_workers(overview))
    if overview.queues and overview.queues.waiting:
        parts.append(_longest(overview.queues))
    return Group(*parts)


def _workers(overview: Overview) -> Table:
    table = Table(
        *("worker", "active", "standby", "commands/s", "events/s"),
        *("redelivered", "duplicates", "conflicts", "dead", "unsettled", ""),
        title=f"{overview.at.astimezone():%H:%M:%S}",
    )
    for column in table.columns[1:-1]:
        column.justify = "right"
    for row in overview.workers:
        status = row.status
        table.add_row(
            Text(status.worker),
            *map(str, (status.active, status.standby)),
            *map(_rate, (row.commands_per_second, row.events_per_second)),
            *map(str, (status.redelivered, status.duplicates)),
            *map(str, (status.conflicts, status.dead_letters)),
            f"{status.unsettled_seconds:.1f} s",
            Text("; ".join(status.problems), style="yellow"),
        )
    return table


def _rate(per_second: float | None) -> str:
    return "" if per_second is None else f"{per_second:.0f}"


def _longest(queues: Queues) -> Table:
    table = Table("partition", "waiting", title="longest partitions")
    table.columns[1].justify = "right"
    longest = sorted(queues.waiting.items(), key=lambda each: each[1], reverse=True)
    for partition, waiting in longest[:_LONGEST]:
        table.add_row(f"{partition:02d}", str(waiting))
    return table
