"""``callctl calls``."""

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from worker.cli.exit_codes import ExitCode
from worker.cli.output import plain, print_json, progress, say
from worker.cli.running import group, run
from worker.cli.times import duration
from worker.core.call import FLAGS, Call, State
from worker.errors import CorruptCall
from worker.names import Names
from worker.settings import Settings
from worker.store import CallStore, Listed, close, connect, every_call

app = group()

#: What a call can be selected and counted by: its state, and its flags.
Word = StrEnum("Word", [*State, *FLAGS])  # type: ignore[misc]  # mypy wants the words written out


@app.command(epilog="callctl calls --state held --state muted")
def calls(
    state: Annotated[
        list[Word] | None,
        typer.Option(help="Only calls in this state, or with this flag; may be repeated."),
    ] = None,
    *,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=100_000)] = 50,
    count: Annotated[bool, typer.Option("--count", help="Only count them.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line; with --count, one in all.")
    ] = False,
) -> None:
    """List the calls there are, the latest first, and count them by state.

    Goes through all of them, a few hundred at a time. Exits with 1 when there are none.
    """
    wanted = frozenset(map(str, state or ()))
    run(partial(_calls, wanted, 0 if count else limit, as_json=as_json))


async def _calls(wanted: frozenset[str], limit: int, settings: Settings, *, as_json: bool) -> int:
    """Print the calls in some states, or all; with a limit of 0 only their numbers.

    Raises:
        StoreUnavailable: Redis does not answer, or this user may not list keys.
    """
    found = await _find(wanted, limit, settings)
    if as_json and not limit:
        print_json(found.counted())
    elif as_json:
        for idle_ms, each in found.latest():
            print_json(_as_object(each.call, idle_ms, each.expires_ms))
    else:
        _print(found, limit)
    for problem in found.problems:
        say(problem)
    return ExitCode.DONE if found.total else ExitCode.NEGATIVE


class _Found:
    """What was found: all of it counted, and the latest kept.

    Args:
        limit: How many are kept.
    """

    def __init__(self, limit: int) -> None:
        self.words: Counter[str] = Counter()
        self.total = 0
        self.unreadable = 0
        self.problems: list[str] = []
        self._limit = limit
        self._latest: list[tuple[int, str, Listed]] = []

    def add(self, each: Listed, idle_ms: int) -> None:
        """Count a call, and keep it if it is among the latest."""
        self.total += 1
        self.words.update(_words(each.call))
        heapq.heappush(self._latest, (-idle_ms, each.call.request_id, each))
        if len(self._latest) > self._limit:
            heapq.heappop(self._latest)

    def add_unreadable(self, why: CorruptCall) -> None:
        """Count what is no call, and keep why while there is room."""
        self.unreadable += 1
        if len(self.problems) < self._limit:
            self.problems.append(str(why))

    def latest(self) -> Iterable[tuple[int, Listed]]:
        """Return the latest, and for how many milliseconds nothing has happened to them."""
        return ((-ago, each) for ago, _, each in sorted(self._latest, reverse=True))

    def counted(self) -> dict[str, Any]:
        """Return all numbers by name."""
        words = {str(word): self.words[word] for word in Word}
        return {
            "calls": self.total,
            "states": {word: number for word, number in words.items() if word not in FLAGS},
            "flags": {word: number for word, number in words.items() if word in FLAGS},
            "unreadable": self.unreadable,
        }


async def _find(wanted: frozenset[str], limit: int, settings: Settings) -> _Found:
    found = _Found(limit)
    redis = connect(settings.redis_url.get_secret_value())
    store = CallStore.of(redis, settings)
    try:
        with progress("reading", None) as advance:
            async for page in every_call(redis, Names(settings.namespace).call_prefix):
                for each in page:
                    if isinstance(each, CorruptCall):
                        found.add_unreadable(each)
                    elif not wanted or not wanted.isdisjoint(_words(each.call)):
                        kept_ms = store.kept_ms(each.call)
                        left_ms = kept_ms if each.expires_ms is None else each.expires_ms
                        found.add(each, max(0, kept_ms - left_ms))
                advance(len(page))
    finally:
        await close(redis)
    return found


def _words(call: Call) -> Sequence[str]:
    state = str(call.state)
    return (state, *call.flags)


def _print(found: _Found, limit: int) -> None:
    console = Console(highlight=False)
    if limit and found.total:
        table = Table("call", "state", "events", "last change", "kept for")
        for idle_ms, each in found.latest():
            table.add_row(
                plain(each.call.request_id),
                " ".join(_words(each.call)),
                str(each.call.sequence),
                f"{duration(idle_ms / 1000)} ago",
                "ever" if each.expires_ms is None else duration(each.expires_ms / 1000),
            )
        console.print(table)
    shown = f", the latest {limit} shown" if 0 < limit < found.total else ""
    numbers = [f"{found.words[word]} {word}" for word in Word if found.words[word]]
    console.print(f"{found.total} calls{shown}{': ' if numbers else ''}{', '.join(numbers)}")
    if found.unreadable:
        console.print(f"{found.unreadable} that cannot be read", style="yellow")


def _as_object(call: Call, idle_ms: int, expires_ms: int | None) -> dict[str, Any]:
    state, *flags = _words(call)
    return {
        "request_id": call.request_id,
        "state": state,
        "flags": flags,
        "sequence": call.sequence,
        "idle_seconds": idle_ms / 1000,
        "kept_for_seconds": None if expires_ms is None else expires_ms / 1000,
    }
