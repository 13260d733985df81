"""What the pages point to is there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import ROOT

PAGES = sorted(
    path
    for pattern in ("*.md", "schemas/*.md", "deploy/**/*.md", "tests/**/*.md")
    for path in ROOT.glob(pattern)
)


def links() -> Iterator[Any]:
    """Every link from a page to a file, with its text."""
    for page in PAGES:
        for text, target in re.findall(r"\[([^\]]*)\]\(([^)]+)\)", page.read_text()):
            if "://" not in target:
                name = f"{page.relative_to(ROOT)} {target}"
                yield pytest.param(page, text, target, id=name)


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    found = re.findall(r"(?m)^#+ (.*)$", page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize(("page", "text", "target"), list(links()))
def test_a_link_leads_somewhere(page: Path, text: str, target: str) -> None:
    """To a file, a heading in it, and the test that it names."""
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    assert file.exists()
    if anchor:
        assert anchor in headings(file)
    named = re.fullmatch(r"`(test_\w+)`", text)
    if named:
        assert f"def {named[1]}(" in file.read_text()
