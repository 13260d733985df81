"""The pages' tables are the code's."""

from pathlib import Path

import pytest

from worker.reference import renewed

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["README.md", "schemas/README.md"])
def test_the_tables_of_a_page_are_those_of_the_code(page: str) -> None:
    """``make docs`` renews them."""
    text = (ROOT / page).read_text()
    assert text.count("<!-- table ") > 0
    assert text == renewed(text)


def test_a_page_that_names_an_unknown_table_is_an_error() -> None:
    """A misspelt name would otherwise leave a table as it is for ever."""
    with pytest.raises(KeyError):
        renewed("<!-- table nonsense -->\n<!-- end -->\n")
