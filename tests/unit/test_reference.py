"""What is made from the code is what the code gives now: ``make docs`` renews it."""

from pathlib import Path

import pytest

from worker.reference.files import JSON_SCHEMAS, PAGES, ROOT, generated
from worker.reference.tables import renewed

FILES = generated()


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
