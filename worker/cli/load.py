"""``callctl load``: whole conversations at a rate of commands, and how long their answers took.

The rate is an open loop: a command is due when it is due, whether or not those before it have been
answered, and its latency counts from then. So a worker that stands still for a second shows in
every command that was due meanwhile, not in one.
"""

import asyncio
import secrets
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from worker.cli.connecting import client_of
from worker.cli.exit_codes import ExitCode
from worker.cli.output import print_json, say
from worker.cli.running import group, run
from worker.client import CallControl, OutcomeUnknown, Refused
from worker.settings import Settings

app = group()

#: Numbers that are nobody's (North American Numbering Plan, 555-0100 to 555-0199).
_ORIGIN: Final = "tel:+12025550100"
_DESTINATION: Final = "tel:+12025550199"

#: A conversation, every command of which is granted.
_COMMANDS: Final = (
    {"call_control": "call", "origin": _ORIGIN, "destination": _DESTINATION},
    {"call_control": "hold"},
    {"call_control": "retrieve"},
    {"call_control": "mute"},
    {"call_control": "un_mute"},
    {"call_control": "dial", "digits": "1"},
    {"call_control": "transfer", "endpoint": _ORIGIN},
    {"call_control": "disconnect"},
)

#: Most commands under way; beyond that the load is held back, and says so.
_MOST_UNDER_WAY: Final = 5000

#: The upper bounds of the histogram's rows, in milliseconds.
_BOUNDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)

_PERCENTILES: Final = (50, 90, 99, 99.9, 100)

_BAR: Final = 40


@app.command(epilog="callctl load --rate 300 --seconds 60")
def load(
    rate: Annotated[float, typer.Option(help="Commands a second.", min=0.1, max=100_000)] = 100.0,
    seconds: Annotated[float, typer.Option(help="For how long.", min=0.1, max=86_400)] = 10.0,
    *,
    timeout: Annotated[float, typer.Option(help="How long an answer may take.", min=0.1)] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Send whole conversations at a rate, and show how long their answers took."""
    run(partial(_load, _Plan(rate, seconds), timeout, as_json))


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which commands are due, and when."""

    rate: float
    seconds: float

    @property
    def conversations(self) -> int:
        """How many conversations there are, all of them whole."""
        return max(1, round(self.rate * self.seconds / len(_COMMANDS)))

    @property
    def total(self) -> int:
        """How many commands there are."""
        return self.conversations * len(_COMMANDS)

    def commands(self) -> Iterator[dict[str, str]]:
        """Yield the commands in their order: those of a conversation about a second apart."""
        run_id = secrets.token_hex(4)
        at_a_time = max(1, round(self.rate))
        for first in range(0, self.conversations, at_a_time):
            block = range(first, min(first + at_a_time, self.conversations))
            for command in _COMMANDS:
                for number in block:
                    yield {**command, "request_id": f"load-{run_id}-{number}"}


@dataclass(slots=True)
class _Result:
    """What came of it."""

    latencies_ms: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    held_back: int = 0
    took_seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every command was answered with success."""
        return not self.unanswered and set(self.statuses) <= {200}


async def _load(plan: _Plan, timeout_seconds: float, as_json: bool, settings: Settings) -> int:  # noqa: FBT001 - an option of a command
    """Send the load; return 1 if anything was refused or not answered.

    Raises:
        BrokerUnavailable: RabbitMQ cannot be reached.
        ConfigurationError: There is no command exchange, or no queue behind it.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:
        bar = bars.add_task("answered", total=plan.total)
        async with client_of(settings, timeout=timeout_seconds) as calls:
            try:
                result = await _send(calls, plan, partial(bars.advance, bar))
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from None
    if as_json:
        print_json(_fields(plan, result))
    else:
        _print(Console(highlight=False), plan, result)
    if result.held_back:
        say(f"{result.held_back} commands were sent late: {_MOST_UNDER_WAY} were under way")
    return ExitCode.DONE if result.ok else ExitCode.NEGATIVE


async def _send(calls: CallControl, plan: _Plan, answered: Callable[[], None]) -> _Result:
    result = _Result()
    under_way: set[asyncio.Task[None]] = set()

    async def ask(command: dict[str, str], due: float) -> None:
        try:
            result.statuses[(await calls.ask(command)).status] += 1
        except Refused as error:
            result.statuses[error.status] += 1
        except OutcomeUnknown:
            result.unanswered += 1
        result.latencies_ms.append((time.perf_counter() - due) * 1000)
        answered()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number, command in enumerate(plan.commands()):
            due = started + number / plan.rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if len(under_way) >= _MOST_UNDER_WAY:
                result.held_back += 1
                await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            task = tasks.create_task(ask(command, due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
    result.took_seconds = time.perf_counter() - started
    result.latencies_ms.sort()
    return result


def _percentile(sorted_values: Sequence[float], percent: float) -> float:
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * percent / 100))]


def _histogram(result: _Result) -> list[tuple[str, int]]:
    """Return how many answers took how long, from the first row with any to the last."""
    rows = []
    below = 0
    for bound in _BOUNDS:
        reached = bisect_right(result.latencies_ms, bound)
        rows.append((f"<= {bound} ms", reached - below))
        below = reached
    rows.append((f"> {_BOUNDS[-1]} ms", len(result.latencies_ms) - below))
    filled = [number for number, (_, count) in enumerate(rows) if count]
    return rows[filled[0] : filled[-1] + 1]


def _fields(plan: _Plan, result: _Result) -> dict[str, Any]:
    return {
        "commands": plan.total,
        "conversations": plan.conversations,
        "rate": plan.rate,
        "answered_a_second": round(len(result.latencies_ms) / result.took_seconds, 1),
        "seconds": round(result.took_seconds, 2),
        "statuses": {str(status): count for status, count in sorted(result.statuses.items())},
        "unanswered": result.unanswered,
        "held_back": result.held_back,
        "latency_ms": {
            f"p{percent:g}": round(_percentile(result.latencies_ms, percent), 2)
            for percent in _PERCENTILES
        },
        "histogram": dict(_histogram(result)),
    }


def _print(console: Console, plan: _Plan, result: _Result) -> None:
    fields = _fields(plan, result)
    statuses = ", ".join(f"{count} x {status}" for status, count in fields["statuses"].items())
    console.print(
        f"{plan.total} commands of {plan.conversations} calls in {fields['seconds']} s:"
        f" {statuses or 'no answers'}"
    )
    if result.unanswered:
        console.print(f"{result.unanswered} not answered in time", style="red")
    console.print(
        "latency  "
        + "  ".join(f"{name} {value:g} ms" for name, value in fields["latency_ms"].items())
    )
    rows = _histogram(result)
    most = max(count for _, count in rows)
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    table.add_column(justify="right")
    for bound, count in rows:
        table.add_row(bound, str(count), "█" * max(count * _BAR // most, 1 if count else 0))
    console.print(table)
