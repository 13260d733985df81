"""Lines of a ladder: who said what to whom, in the order in which it was said."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from textwrap import wrap
from typing import Final

from rich.text import Text


class Kind(StrEnum):
    """What a message is."""

    COMMAND = "command"
    EVENT = "event"
    REFUSAL = "refusal"
    REQUEST = "request"
    ANSWER = "answer"


#: Colours, on a terminal.
_STYLES: Final[Mapping[Kind, str]] = {
    Kind.COMMAND: "cyan",
    Kind.EVENT: "green",
    Kind.REFUSAL: "magenta",
    Kind.REQUEST: "yellow",
    Kind.ANSWER: "blue",
}

PRODUCER: Final = "producer"
WORKER: Final = "worker"
ASTERISK: Final = "Asterisk"

#: Where each column's line runs. Between two of them there is room for what is said there.
COLUMNS: Final[Mapping[str, int]] = {
    PRODUCER: 12,
    WORKER: 45,
    ASTERISK: 54,
    "A": 72,
    "B": 90,
    "C": 108,
}

#: Characters for milliseconds, at the left.
_TIME: Final = 7

#: Where remarks begin: below the first line.
_REMARK: Final = " " * COLUMNS[PRODUCER]

_WIDTH: Final = max(COLUMNS.values()) + 1

#: What an arrow needs besides its text: its tail, its head, and a space on both sides.
_ARROW: Final = 4


@dataclass(frozen=True, slots=True)
class Arrow:
    """A message.

    Attributes:
        at: When, in seconds since the epoch.
        source: Whose column it leaves.
        target: Whose column it reaches.
        text: What is written on it.
        kind: What it is.
    """

    at: float
    source: str
    target: str
    text: str
    kind: Kind


def header() -> Text:
    """Return the line with the columns' names."""
    cells = [" "] * (_WIDTH + max(map(len, COLUMNS)))
    cells[_TIME - 2 : _TIME] = "ms"
    for name, column in COLUMNS.items():
        begin = column - len(name) // 2
        cells[begin : begin + len(name)] = name
    return Text("".join(cells).rstrip(), style="bold")


def rungs(arrows: Iterable[Arrow], since: float) -> list[Text]:
    """Return a line for each message, in the order of their times.

    Args:
        arrows: The messages, in whatever order.
        since: What times are counted from, in seconds since the epoch.
    """
    return [_rung(each, since) for each in sorted(arrows, key=lambda each: each.at)]


def remark(text: str, *, wrong: bool = False) -> list[Text]:
    """Return what is said about the messages above, in as many lines as it takes."""
    lines = wrap(text, _WIDTH, initial_indent=_REMARK, subsequent_indent=f"{_REMARK}  ")
    return [Text(line, style="bold red" if wrong else "italic") for line in lines]


def _rung(arrow: Arrow, since: float) -> Text:
    cells = [" "] * _WIDTH
    time = f"{(arrow.at - since) * 1000:.1f}".rjust(_TIME)
    cells[: len(time)] = time
    for column in COLUMNS.values():
        cells[column] = "│"
    begin, end = sorted((COLUMNS[arrow.source], COLUMNS[arrow.target]))
    for position in range(begin + 1, end):
        # It passes by whoever stands between the two.
        cells[position] = "┼" if cells[position] == "│" else "─"
    if COLUMNS[arrow.source] < COLUMNS[arrow.target]:
        cells[end - 1] = "▶"
    else:
        cells[begin + 1] = "◀"
    # Next to the outer one, where it is told apart from what others say.
    gap = max(left for left, _ in pairwise(sorted(COLUMNS.values())) if left < end)
    room = end - gap - 1
    text = f" {_fitted(arrow.text, room - _ARROW)} "
    at = gap + 1 + (room - len(text)) // 2
    cells[at : at + len(text)] = text
    line = Text("".join(cells))
    line.stylize("dim")
    line.stylize(f"not dim {_STYLES[arrow.kind]}", begin + 1, end)
    return line


def _fitted(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"
