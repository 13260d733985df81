"""How commands print: to people, whose terminals nobody else writes to, and to programs."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydantic_core import to_json
from rich.console import Console
from rich.progress import Progress
from rich.text import Text


def plain(text: str) -> Text:
    """Return a text that is no markup and does nothing to a terminal: producers choose some."""
    return Text("".join(char if char.isprintable() else "?" for char in text))


def say(text: str) -> None:
    """Print a line on standard error."""
    Console(stderr=True, highlight=False).print(plain(text), soft_wrap=True)


def print_json(value: object) -> None:
    """Print a value as one line of JSON, however wide."""
    sys.stdout.write(f"{to_json(value, inf_nan_mode='null').decode()}\n")


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yield what is told how much more is done; a bar shows it, where there is a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=total)
        yield lambda count: bars.advance(task, count)
