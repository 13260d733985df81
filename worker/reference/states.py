"""The state diagram: what moves a call is found out, where it is drawn is not."""

from collections import defaultdict
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Final

from schemas.contract import CommandName, ReportName
from worker.reference.life import Life, moves

_WIDTH: Final = 1110
_HEIGHT: Final = 552

#: How wide a character of a label is.
_CHARACTER: Final = 7.3

#: How round the corners of an arrow are.
_RADIUS: Final = 12


@dataclass(frozen=True, slots=True)
class _Box:
    """Where a state is drawn: the middle of its box, and the size of that."""

    x: int
    y: int
    width: int = 150
    height: int = 56


@dataclass(frozen=True, slots=True)
class _Route:
    """The corners of an arrow, and where the middle of its label is."""

    points: tuple[tuple[int, int], ...]
    x: int
    y: int


_BOXES: Final = {
    Life.ABSENT: _Box(110, 250),
    Life.OFFERED: _Box(390, 110),
    Life.DIALING: _Box(330, 400),
    Life.RINGING: _Box(620, 400),
    Life.CONNECTED: _Box(680, 250, 190, 80),
    Life.HELD: _Box(680, 90, 190, 64),
    Life.ENDED: _Box(1010, 250, 140),
}

#: A move that is not here is an error, and so is a route that nothing takes.
_ROUTES: Final = {
    (Life.ABSENT, Life.OFFERED): _Route(((110, 222), (110, 110), (315, 110)), 210, 110),
    (Life.ABSENT, Life.CONNECTED): _Route(((185, 250), (585, 250)), 330, 250),
    (Life.ABSENT, Life.DIALING): _Route(((145, 278), (145, 388), (255, 388)), 198, 388),
    (Life.ABSENT, Life.ENDED): _Route(((55, 278), (55, 526), (1045, 526), (1045, 278)), 500, 526),
    (Life.OFFERED, Life.CONNECTED): _Route(
        ((465, 110), (505, 110), (505, 228), (585, 228)), 505, 168
    ),
    (Life.OFFERED, Life.ENDED): _Route(((390, 82), (390, 28), (1045, 28), (1045, 222)), 560, 28),
    (Life.DIALING, Life.RINGING): _Route(((405, 400), (545, 400)), 474, 400),
    (Life.DIALING, Life.CONNECTED): _Route(
        ((330, 372), (330, 326), (610, 326), (610, 290)), 474, 326
    ),
    (Life.DIALING, Life.ABSENT): _Route(((255, 412), (115, 412), (115, 278)), 198, 412),
    (Life.DIALING, Life.ENDED): _Route(
        ((330, 428), (330, 494), (1010, 494), (1010, 278)), 500, 494
    ),
    (Life.RINGING, Life.CONNECTED): _Route(((660, 372), (660, 290)), 660, 336),
    (Life.RINGING, Life.ABSENT): _Route(((590, 428), (590, 460), (85, 460), (85, 278)), 198, 460),
    (Life.RINGING, Life.ENDED): _Route(((695, 400), (975, 400), (975, 278)), 830, 400),
    (Life.CONNECTED, Life.HELD): _Route(((625, 210), (625, 122)), 625, 168),
    (Life.HELD, Life.CONNECTED): _Route(((725, 122), (725, 210)), 725, 168),
    (Life.CONNECTED, Life.ENDED): _Route(((775, 250), (940, 250)), 854, 250),
    (Life.HELD, Life.ENDED): _Route(((775, 90), (975, 90), (975, 222)), 870, 90),
}

_STYLE: Final = """\
.life { font: 600 15px system-ui, sans-serif; fill: #1f2328; text-anchor: middle }
.life-bg { fill: #ffffff }
.life-box { fill: #f2f5f9; stroke: #57606a; stroke-width: 1.5 }
.life-end { stroke-width: 3 }
.life-line { fill: none; stroke: #8c959f; stroke-width: 1.5; marker-end: url(#life-head) }
.life-head { fill: #8c959f }
.life-said { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
.life-said { text-anchor: middle }
.life-command { fill: #0550ae }
.life-report { fill: #9a3412 }
@media (prefers-color-scheme: dark) {
  .life { fill: #e6edf3 }
  .life-bg { fill: #0d1117 }
  .life-box { fill: #1c232d; stroke: #8d96a0 }
  .life-line { stroke: #6e7681 }
  .life-head { fill: #6e7681 }
  .life-command { fill: #79b8ff }
  .life-report { fill: #f5a97f }
}
"""


#: The head of an arrow.
_HEAD: Final = (
    '<defs><marker id="life-head" class="life-head" viewBox="0 0 10 10" refX="9" refY="5"'
    ' markerWidth="7" markerHeight="7" orient="auto"><path d="M 0 0 L 10 5 L 0 10 z"/></marker>'
    "</defs>"
)


def drawn() -> str:
    """Return the diagram as SVG.

    Raises:
        KeyError: A message moves a call in a way that there is no route for.
    """
    said: dict[tuple[Life, Life], list[CommandName | ReportName]] = defaultdict(list)
    for before, name, after in moves():
        said[before, after].append(name)
    staying = {before: names for (before, after), names in said.items() if before is after}
    moving = {pair: names for pair, names in said.items() if pair[0] is not pair[1]}
    if unused := _ROUTES.keys() - moving.keys():
        raise KeyError(*unused)
    routes = [(_ROUTES[pair], names) for pair, names in moving.items()]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        "<title>The states of a call, and what moves it</title>",
        f"<style>\n{_STYLE}</style>",
        _HEAD,
        f'<rect class="life-bg" width="{_WIDTH}" height="{_HEIGHT}" rx="8"/>',
        *(f'<path class="life-line" d="{_path(route.points)}"/>' for route, _ in routes),
        *(_box(life, staying.get(life, [])) for life in Life),
        *(_label(names, route.x, route.y) for route, names in routes),
        _legend(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _path(points: tuple[tuple[int, int], ...]) -> str:
    """Return straight lines with round corners."""
    (x, y), *corners, (to_x, to_y) = points
    path = f"M {x} {y}"
    for (turn_x, turn_y), (next_x, next_y) in pairwise([*corners, (to_x, to_y)]):
        before = _towards((turn_x, turn_y), (x, y))
        after = _towards((turn_x, turn_y), (next_x, next_y))
        path += f" L {before} Q {turn_x} {turn_y} {after}"
        x, y = turn_x, turn_y
    return f"{path} L {to_x} {to_y}"


def _towards(corner: tuple[int, int], end: tuple[int, int]) -> str:
    steps = (max(-_RADIUS, min(_RADIUS, b - a)) for a, b in zip(corner, end, strict=True))
    return " ".join(str(a + step) for a, step in zip(corner, steps, strict=True))


def _box(life: Life, staying: list[CommandName | ReportName]) -> str:
    box = _BOXES[life]
    ending = " life-end" if life is Life.ENDED else ""
    rows = _rows(staying)
    top = box.y + 5 - 8 * len(rows)
    corner = f'x="{box.x - box.width // 2}" y="{box.y - box.height // 2}"'
    size = f'width="{box.width}" height="{box.height}"'
    return "\n".join(
        [
            f'<rect class="life-box{ending}" {corner} {size} rx="10"/>',
            f'<text class="life" x="{box.x}" y="{top}">{escape(life)}</text>',
            *(_words(row, box.x, top + 17 + 15 * number) for number, row in enumerate(rows)),
        ]
    )


def _rows(names: list[CommandName | ReportName]) -> list[list[CommandName | ReportName]]:
    """Return what leaves a call where it is, three names in a row."""
    return [names[start : start + 3] for start in range(0, len(names), 3)]


def _label(names: list[CommandName | ReportName], x: int, y: int) -> str:
    """Return names on a ground of their own, so that the arrow does not show between them."""
    width = _CHARACTER * len(" ".join(names)) + 8
    ground = (
        f'<rect class="life-bg" x="{x - width / 2:g}" y="{y - 9}" width="{width:g}" height="18"/>'
    )
    return f"{ground}\n{_words(names, x, y + 4)}"


def _words(names: list[CommandName | ReportName], x: int, y: int) -> str:
    spans = (
        f'<tspan class="life-{"command" if isinstance(name, CommandName) else "report"}">'
        f"{escape(name)}</tspan>"
        for name in names
    )
    return f'<text class="life-said" x="{x}" y="{y}">{" ".join(spans)}</text>'


def _legend() -> str:
    return (
        '<text class="life-said" x="1000" y="546"><tspan class="life-command">command</tspan>'
        ' <tspan class="life-report">network report</tspan></text>'
    )
