"""What a worker remembers of calls, of whose and for how long."""

import pytest

from worker.core.call import Call, State
from worker.store import Memory, StoredCall, memory

CALL = Call("1", state=State.CONNECTED, sequence=3)


def test_a_call_is_recalled_as_it_was_left() -> None:
    """Without records: those stay in Redis."""
    known, owner = Memory(), object()
    known.remember(CALL, 7, owner, until=1000)
    assert known.recall("1", owner, at=999) == StoredCall(CALL, 7, {})
    assert known.recall("2", owner, at=999) is None


def test_a_call_is_recalled_only_for_who_owned_it_then() -> None:
    """A partition that went to somebody and came back may have gone on."""
    known = Memory()
    known.remember(CALL, 7, object(), until=1000)
    assert known.recall("1", object(), at=999) is None


def test_a_call_is_not_recalled_for_ever() -> None:
    """Another one may have its name by then."""
    known, owner = Memory(), object()
    known.remember(CALL, 7, owner, until=1000)
    assert known.recall("1", owner, at=1000) is None


def test_a_forgotten_call_is_not_recalled() -> None:
    """Nor is one that nobody has heard of missed."""
    known, owner = Memory(), object()
    known.remember(CALL, 7, owner, until=1000)
    known.forget("1")
    known.forget("2")
    assert known.recall("1", owner, at=0) is None


def test_only_the_latest_calls_are_recalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's memory does not grow with the calls it has seen."""
    monkeypatch.setattr(memory, "_MOST_CALLS", 2)
    known, owner = Memory(), object()
    for request_id in ("first", "second", "first", "third"):
        known.remember(Call(request_id), 1, owner, until=1000)
    recalled = [known.recall(each, owner, at=0) for each in ("first", "second", "third")]
    assert [each is not None for each in recalled] == [True, False, True]
