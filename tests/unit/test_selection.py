"""Which dead letters a command line means."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.builders import CALL_ID
from tests.unit.deliveries import body
from tests.unit.test_deadletters import FAILED, by_rabbitmq, by_worker
from worker.cli.selection import Chosen, Selection, narrowed
from worker.errors import ConfigurationError

LETTER = replace(by_worker(body(call_control="park"), message_id="m1"), id="0123456789ab")


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(ids=("m1",)),
        Selection(ids=("other", "0123")),
        Selection(ids=("0123456789AB",)),
        Selection(reason="400 bad"),
        Selection(reason="request"),
        Selection(call=CALL_ID),
        Selection(since=FAILED),
        Selection(("m1",), "400", CALL_ID, FAILED),
    ],
)
def test_a_dead_letter_is_meant_by_what_fits_it(selection: Selection) -> None:
    """By nothing, too: filters only narrow down."""
    assert selection.takes(LETTER)


@pytest.mark.parametrize(
    "selection",
    [
        Selection(ids=("012",)),
        Selection(ids=("m",)),
        Selection(ids=("1234",)),
        Selection(ids=("0123456789abc",)),
        Selection(reason="500"),
        Selection(call=CALL_ID[:-1]),
        Selection(since=FAILED + timedelta(seconds=1)),
        Selection(("m1",), "500", CALL_ID, FAILED),
    ],
)
def test_a_dead_letter_that_does_not_fit_everything_is_not_meant(selection: Selection) -> None:
    """An id is begun with four characters at least; a message_id is given whole."""
    assert not selection.takes(LETTER)


@pytest.mark.parametrize("since", ["90s", "10m", "2h", "7d"])
def test_a_time_is_so_long_ago(since: str) -> None:
    """In one unit."""
    seconds = {"90s": 90, "10m": 600, "2h": 7200, "7d": 604_800}[since]
    read = Selection.of(None, None, None, since).since
    assert read is not None
    ago = (datetime.now(UTC) - read).total_seconds()
    assert seconds <= ago < seconds + 60


def test_a_time_is_one_of_iso_8601() -> None:
    """Local, where it does not say otherwise."""
    exact = Selection.of(None, None, None, "2026-01-31T12:00:00+02:00").since
    assert exact == datetime(2026, 1, 31, 10, tzinfo=UTC)
    local = Selection.of(None, None, None, "2026-01-31").since
    assert local == datetime(2026, 1, 31).astimezone()


@pytest.mark.parametrize("since", ["yesterday", "10", "5w", "-5m", "999999d"])
def test_what_is_no_time_is_a_mistake(since: str) -> None:
    """In one line, as all mistakes on the command line."""
    with pytest.raises(ConfigurationError, match="--since"):
        Selection.of(None, None, None, since)


def test_what_changes_something_has_to_be_meant() -> None:
    """By ids or filters, or else by all; by both it is not clear."""
    assert narrowed(None, None, None, None, everything=True) == Selection()
    assert narrowed(["m1"], None, None, None, everything=False) == Selection(("m1",))
    for ids, everything in ((None, False), ([], False), (["m1"], True)):
        with pytest.raises(ConfigurationError, match="--all"):
            narrowed(ids, None, None, None, everything=everything)


def test_the_beginning_of_two_ids_is_ambiguous() -> None:
    """Nothing is done then; copies are not two, and a message_id may stand for many."""
    other = replace(by_rabbitmq(b"{}", message_id="m1"), id="0123456789ff")
    chosen = Chosen(Selection(ids=("0123",)))
    assert chosen.add(LETTER)
    assert chosen.add(LETTER)
    with pytest.raises(ConfigurationError, match="0123 is ambiguous: 0123456789ab, 0123456789ff"):
        chosen.add(other)
    chosen = Chosen(Selection(ids=("m1", "nobody")))
    assert chosen.add(LETTER)
    assert chosen.add(other)
    assert (chosen.total, chosen.missing) == (2, ["nobody"])
