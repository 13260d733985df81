"""``callctl dead``: look at dead letters, replay them, drop them."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated, Final

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table

from worker.broker.browsing import DeadLetterQueue, open_dead_letters
from worker.broker.deadletters import DeadLetter
from worker.cli.output import plain, print_json, progress, say
from worker.cli.running import group, run
from worker.cli.selection import Chosen, Selection, narrowed
from worker.settings import Settings

_MALFORMED: Final = 400
_BUG: Final = 500

#: What is done with a page of chosen dead letters; returns with how many it was.
_Act = Callable[[DeadLetterQueue, Sequence[DeadLetter]], Awaitable[int]]

_Ids = Annotated[
    list[str] | None,
    typer.Argument(
        help="Ids as listed, four or more characters of them, or message_ids of commands.",
        metavar="[ID]...",
    ),
]
_Reason = Annotated[str | None, typer.Option(help="Only those with this in status or reason.")]
_OfCall = Annotated[str | None, typer.Option(help="Only those of this call.")]
_Since = Annotated[
    str | None, typer.Option(help="Only those that failed since: 10m, 2h, 7d, or an ISO 8601 time.")
]
_All = Annotated[bool, typer.Option("--all", help="Every dead letter.")]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

app = group()


@app.callback()
def dead() -> None:
    """Look at dead letters, replay them, drop them."""


@app.command("list")
def list_dead(
    ids: _Ids = None,
    reason: _Reason = None,
    call: _OfCall = None,
    since: _Since = None,
    *,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1)] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List dead letters, oldest first. Exits with 1 when there are none."""
    run(
        lambda settings: _list(
            settings, Selection.of(ids, reason, call, since), limit, as_json=as_json
        )
    )


@app.command()
def show(
    ids: Annotated[
        list[str],
        typer.Argument(help="Ids as listed, or four or more characters of them.", metavar="ID..."),
    ],
) -> None:
    """Show all that dead letters say, as JSON; digits are replaced."""
    run(partial(_show, Selection(tuple(ids))))


@app.command()
def replay(
    ids: _Ids = None,
    reason: _Reason = None,
    call: _OfCall = None,
    since: _Since = None,
    *,
    everything: _All = False,
    yes: _Yes = False,
) -> None:
    """Publish dead letters again as the commands they were, and remove them.

    Asks before it acts on more than one. Exits with 1 when there are none, or some are left.
    """
    run(
        lambda settings: _replay(
            settings, narrowed(ids, reason, call, since, everything=everything), yes=yes
        )
    )


@app.command()
def drop(
    ids: _Ids = None,
    reason: _Reason = None,
    call: _OfCall = None,
    since: _Since = None,
    *,
    everything: _All = False,
    yes: _Yes = False,
) -> None:
    """Remove dead letters for good; asks before more than one."""
    run(
        lambda settings: _drop(
            settings, narrowed(ids, reason, call, since, everything=everything), yes=yes
        )
    )


async def _list(settings: Settings, selection: Selection, limit: int, *, as_json: bool) -> int:
    """Print dead letters, oldest first; return 1 when there are none.

    Raises:
        BrokerUnavailable: RabbitMQ cannot be reached, or somebody else has the dead letters.
        ConfigurationError: There is no queue of dead letters, or an id is ambiguous.
    """
    table = Table("id", "failed first", "reason", "call", "queue", "message_id")
    table.columns[0].no_wrap = True
    chosen = Chosen(selection)
    async with open_dead_letters(settings) as queue:
        async for letter in _each(queue):
            if not chosen.add(letter):
                continue
            if chosen.total > limit:
                say(f"only the first {limit} of those in question; --limit shows more")
                chosen.missing.clear()
                break
            if as_json:
                print_json(letter.summary())
            else:
                table.add_row(*map(plain, _row(letter)))
    if chosen.total and not as_json:
        Console(highlight=False).print(table)
    return 0 if _found(chosen, queue) else 1


def _row(letter: DeadLetter) -> tuple[str, ...]:
    at = letter.first_failed_at
    return (
        letter.id,
        f"{at.astimezone():%Y-%m-%d %H:%M:%S}" if at else "",
        letter.cause,
        letter.call,
        letter.queue or "",
        letter.message_id or "",
    )


async def _show(selection: Selection, settings: Settings) -> int:
    """Print everything dead letters say, but no digits, as JSON; return 1 when one is not there.

    Raises:
        BrokerUnavailable: RabbitMQ cannot be reached, or somebody else has the dead letters.
        ConfigurationError: There is no queue of dead letters, or an id is ambiguous.
    """
    chosen = Chosen(selection)
    console = Console()
    async with open_dead_letters(settings) as queue:
        async for letter in _each(queue):
            if chosen.add(letter):
                console.print_json(to_json(letter.details(), inf_nan_mode="null").decode())
    return 0 if _found(chosen, queue) else 1


async def _replay(settings: Settings, selection: Selection, *, yes: bool) -> int:
    """Publish dead letters as the commands they were; return 1 when not all of it was possible.

    Raises:
        BrokerUnavailable: RabbitMQ cannot be reached, or somebody else has the dead letters.
        ConfigurationError: There is no queue of dead letters, or an id is ambiguous.
    """
    chosen = await _choose(selection, settings)
    _warn(chosen)
    return await _act_on(chosen, "replay", "replayed", _replay_all, settings, yes=yes)


async def _replay_all(queue: DeadLetterQueue, letters: Sequence[DeadLetter]) -> int:
    left = [(letter, letter.obstacle) for letter in letters if letter.obstacle]
    left += await queue.replay(letter for letter in letters if not letter.obstacle)
    for letter, why in left:
        say(f"not replayed: {letter.id}: {why}")
    return len(letters) - len(left)


def _warn(chosen: Chosen) -> None:
    if chosen.total and chosen.obstacles == chosen.total:
        say("none of them can be replayed")
        return
    for count, what in (
        (chosen.statuses[_MALFORMED], "malformed as ever, so they come back"),
        (chosen.statuses[_BUG], "answered with 500: while that is on record, they come back"),
        (chosen.obstacles, "not to be replayed"),
    ):
        if count:
            say(f"{count} of {chosen.total}: {what}")


async def _drop(settings: Settings, selection: Selection, *, yes: bool) -> int:
    """Remove dead letters for good; return 1 when one is not there.

    Raises:
        BrokerUnavailable: RabbitMQ cannot be reached, or somebody else has the dead letters.
        ConfigurationError: There is no queue of dead letters, or an id is ambiguous.
    """
    chosen = await _choose(selection, settings)
    return await _act_on(chosen, "drop", "dropped", _drop_all, settings, yes=yes)


async def _drop_all(queue: DeadLetterQueue, letters: Sequence[DeadLetter]) -> int:
    await queue.remove(letters)
    return len(letters)


async def _each(queue: DeadLetterQueue) -> AsyncIterator[DeadLetter]:
    async for page in queue.pages():
        for letter in page:
            yield letter


async def _choose(selection: Selection, settings: Settings) -> Chosen:
    chosen = Chosen(selection)
    async with open_dead_letters(settings) as queue:
        with progress("reading", queue.count) as advance:
            async for page in queue.pages():
                for letter in page:
                    chosen.add(letter)
                advance(len(page))
    _found(chosen, queue)
    return chosen


def _found(chosen: Chosen, queue: DeadLetterQueue) -> bool:
    """Say what of a selection is not there; tell whether all of it is."""
    for text in chosen.missing:
        say(f"no dead letter is called {text}")
    if not chosen.total and not chosen.missing:
        say(f"none of {queue.count} dead letters fits" if queue.count else "no dead letters")
    return bool(chosen.total) and not chosen.missing


async def _act_on(
    chosen: Chosen, verb: str, done: str, act: _Act, settings: Settings, *, yes: bool
) -> int:
    """Ask, act on what was chosen, and say what was done; return the exit code.

    Nothing is kept from the others while somebody thinks the answer over. So they may have acted
    meanwhile on what is then not there any more.
    """
    if not chosen.total or not _agreed(f"{verb} {chosen.total} dead letters?", chosen, yes=yes):
        return 1
    met = acted = 0
    async with open_dead_letters(settings) as queue:
        with progress(verb, chosen.total) as advance:
            async for page in queue.pages():
                letters = [letter for letter in page if letter.id in chosen.copies]
                acted += await act(queue, letters)
                met += len(letters)
                advance(len(letters))
                if met >= chosen.total:
                    break
    if met < chosen.total:
        say(f"{chosen.total - met} were not there any more")
    Console(highlight=False).print(f"{done} {acted}")
    return 0 if acted == chosen.total and not chosen.missing else 1


def _agreed(question: str, chosen: Chosen, *, yes: bool) -> bool:
    if yes or chosen.total == 1:
        return True
    if not sys.stdin.isatty():
        say(f"{question} Without a terminal to ask on, that needs --yes")
        return False
    return typer.confirm(question, err=True)
