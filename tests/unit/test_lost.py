"""Calls that ended while nobody was there, as the journal tells them."""

from datetime import UTC, datetime

from pamqp.common import FieldValue

from worker.broker.journal import Entry
from worker.gateways.asterisk.lost import Living, ended


def entry(
    request_id: str,
    sequence: int,
    state: str = "connected",
    *,
    gateway: str = "west",
    terminal: bool = False,
    at: float = 1000,
) -> Entry:
    """Return an event in the journal."""
    headers: dict[str, FieldValue] = {
        "request_id": request_id,
        "sequence": sequence,
        "call_state": state,
        "gateway": gateway,
        "terminal": terminal,
    }
    return Entry(0, datetime.fromtimestamp(at, tz=UTC), headers)


def living(*entries: Entry) -> dict[str, float]:
    """Return the calls that have not ended."""
    found = Living("west")
    found.read(entries)
    return found.calls()


def test_a_call_lives_until_an_event_ends_it() -> None:
    """Whatever happens to it in between."""
    began, held = entry("a", 1, "ringing"), entry("a", 2, at=1001)
    assert living(began, held) == {"a": 1001}
    assert living(began, held, entry("a", 3, "ended", terminal=True)) == {}


def test_a_call_that_failed_has_never_lived() -> None:
    """Nobody waits for its end."""
    assert living(entry("a", 1, "ringing"), entry("a", 2, "absent")) == {}


def test_other_gateways_calls_are_theirs() -> None:
    """And so are those that no gateway has."""
    assert living(entry("a", 1, gateway="east"), entry("b", 1, gateway="")) == {}


def test_a_copy_of_an_earlier_event_brings_nobody_back() -> None:
    """The journal holds copies, after crashes; the same name may begin another call, too."""
    over = entry("a", 3, "ended", terminal=True)
    assert living(entry("a", 2), entry("a", 3), entry("a", 2)) == {"a": 1000}
    assert living(entry("a", 2), over, entry("a", 1, "ringing")) == {"a": 1000}


def test_marks_are_no_events() -> None:
    """They stand in the journal for other reasons."""
    assert living(Entry(0, None, {"mark": "x"}), entry("", 1), entry("a", 0)) == {}


def test_what_is_not_known_has_ended_and_says_why() -> None:
    """With Asterisk, if that was started after the last that was heard."""
    reports = ended({"a": 10.0, "b": 30.0, "c": 10.0}, lambda call: call == "c", 20.0)
    assert [(each.request_id, each.status, each.reason) for each in reports] == [
        ("a", 503, "Service Unavailable: Asterisk was restarted"),
        ("b", 503, "Service Unavailable: it ended while its gateway was away"),
    ]
