"""What is made from the code is what the code gives now: ``make docs`` renews it."""

from collections import defaultdict
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest

from schemas.contract import CommandName
from worker.reference.files import JSON_SCHEMAS, PAGES, ROOT, generated
from worker.reference.life import Life, moves
from worker.reference.states import drawn
from worker.reference.tables import renewed

FILES: Final = generated()

SVG: Final = "{http://www.w3.org/2000/svg}"

#: contract.md, "The life of a call", as moves: commands, and behind the bar what the network says.
MOVES: Final = {
    "no such call → offered": "| offered",
    "no such call → dialing": "call |",
    "no such call → connected": "accept |",
    "no such call → ended": "reject |",
    "offered → connected": "transfer redirect accept |",
    "offered → ended": "disconnect reject | ended",
    "dialing → ringing": "| ringing",
    "dialing → connected": "| answered",
    "dialing → no such call": "| failed",
    "dialing → ended": "disconnect | ended",
    "ringing → connected": "| answered",
    "ringing → no such call": "| failed",
    "ringing → ended": "disconnect | ended",
    "connected → connected": "transfer retrieve dial mute un_mute accept |",
    "connected → held": "hold |",
    "connected → ended": "disconnect | ended",
    "held → held": "hold mute un_mute |",
    "held → connected": "transfer retrieve |",
    "held → ended": "disconnect | ended",
    "ended → ended": "disconnect |",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_what_the_code_gives_now(path: Path) -> None:
    """``make docs`` renews it."""
    assert path.exists()
    # Compared line by line, a difference is shown in short.
    assert path.read_text().splitlines() == FILES[path].splitlines()


def test_there_is_no_schema_of_what_there_is_no_more() -> None:
    """A command that was renamed would leave its old schema behind."""
    assert set(JSON_SCHEMAS.iterdir()) <= FILES.keys()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_tables(page: Path) -> None:
    """A page without any would be up to date for ever."""
    assert page.read_text().count("<!-- table ") > 0


def test_a_page_that_names_an_unknown_table_is_an_error() -> None:
    """A misspelt name would otherwise leave a table as it is for ever."""
    with pytest.raises(KeyError):
        renewed("<!-- table nonsense -->\n<!-- end -->\n")


def test_the_diagram_shows_what_the_contract_says_of_a_calls_life() -> None:
    """Each move, and what causes it."""
    found: dict[str, list[str]] = defaultdict(lambda: ["|"])
    for before, name, after in moves():
        names = found[f"{before} → {after}"]
        names.insert(names.index("|") if isinstance(name, CommandName) else len(names), name)
    assert {move: " ".join(names) for move, names in found.items()} == MOVES


def test_nothing_in_the_diagram_covers_anything_else() -> None:
    """Neither boxes nor labels, and all of them are inside of it."""
    root = ET.fromstring(drawn())  # noqa: S314 - our own
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    areas = [
        tuple(float(each.attrib[name]) for name in ("x", "y", "width", "height"))
        for each in root.iter(f"{SVG}rect")
        if "x" in each.attrib
    ]
    assert len(areas) == sum(len({*move.split(" → ")}) > 1 for move in MOVES) + len(Life)
    for x, y, wide, high in areas:
        assert 0 <= x <= x + wide <= width
        assert 0 <= y <= y + high <= height
    for (x, y, wide, high), (x2, y2, wide2, high2) in combinations(areas, 2):
        assert x + wide <= x2 or x2 + wide2 <= x or y + high <= y2 or y2 + high2 <= y


def test_the_reference_page_needs_nothing_but_itself() -> None:
    """Neither a script nor anything that would have to be loaded; and its links lead somewhere."""
    ids, links = set(), set()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in {"script", "link", "img", "iframe", "object"}
            for name, value in attrs:
                assert name not in {"src", "srcset", "style"}
                assert not name.startswith("on")
                if name == "id":
                    ids.add(value)
                elif name == "href":
                    links.add(value or "")

    Reader().feed(FILES[ROOT / "schemas" / "reference.html"])
    for link in links:
        if link.startswith("#"):
            assert link[1:] in ids
        else:
            assert (ROOT / "schemas" / link).exists(), link
