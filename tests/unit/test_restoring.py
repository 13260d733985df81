"""What the journal holds is what Redis holds: no call, record or command is told otherwise."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.contract import CommandName, EventNames
from tests.unit.builders import ALICE, BOB, CALL_ID, FIELDS
from tests.unit.deliveries import body, delivery, spoken
from worker.batch import Outcome, fold
from worker.broker.journal import Entry
from worker.broker.messages import event_message
from worker.broker.subscription import Delivery
from worker.core.call import Call
from worker.gateways.loopback import decide_and_grant
from worker.names import Names
from worker.reading import read_delivery
from worker.rebuild import Found, collect
from worker.store.calls import StoredCall
from worker.store.codec import record_field
from worker.store.restoring import Restoration

AT: Final = 1_760_000_000_123


def reported(name: str, message_id: str | None, **fields: Any) -> Delivery:
    """Return a network report."""
    return delivery(body(network_report=name, **fields), message_id=message_id)


#: The ways into each state of the contract's table.
STATES: Final[dict[str, list[Delivery]]] = {
    "no such call": [],
    "offered": [reported("offered", "s1", origin=ALICE, destination=BOB)],
    "connected": [spoken("call", "s1")],
    "connected, it came in": [spoken("accept", "s1")],
    "held and muted": [spoken("call", "s1"), spoken("hold", "s2"), spoken("mute", "s3")],
    "ended": [spoken("call", "s1"), spoken("disconnect", "s2")],
}

#: Everything that can be said in them.
MESSAGES: Final[dict[str, Delivery]] = {
    **{name.value: spoken(name) for name in CommandName},
    "without message_id": spoken("hold", None),
    "malformed": delivery(body(call_control="transfer", endpoint="Bob"), message_id="m-odd"),
    "offered": reported("offered", "m-offered", origin=ALICE, destination=BOB),
    "ended by the network": reported("ended", "m-ended", status=486),
    "an id that is long": spoken("hold", "x" * 200),
}


def stored_and_told(
    deliveries: Sequence[Delivery], stored: StoredCall | None = None, at: int = AT
) -> tuple[StoredCall, list[Entry]]:
    """Return what Redis holds after some deliveries, and the entries they make in the journal."""
    before = stored or StoredCall(Call(CALL_ID), 0, {})
    items = [read_delivery(each) for each in deliveries]
    change, outcomes = fold(before, items, decide_and_grant, at)
    if change is None:
        return before, entries(outcomes)
    records = {**before.records, **change.records}
    return StoredCall(change.call, change.version + 1, records), entries(outcomes)


def entries(outcomes: Sequence[Outcome]) -> list[Entry]:
    """Return outcomes' events as they stand in the journal."""
    return [
        Entry(
            0, datetime.fromtimestamp(outcome.at // 1000, tz=UTC), message.properties.headers or {}
        )
        for outcome in outcomes
        for event in outcome.events
        for message in [
            event_message(event, outcome.at, Names(), EventNames.DOCUMENTED, outcome.record)
        ]
    ]


def restored(journal: Sequence[Entry]) -> Restoration:
    """Return what a journal says of the call."""
    found: Found = {}
    assert all(collect(entry, found) for entry in journal)
    return found.get(CALL_ID, [Restoration(Call(CALL_ID), 0)])[-1]


def check(stored: StoredCall, journal: Sequence[Entry]) -> None:
    """Check that the journal tells the whole call, and each record to the byte."""
    restoration = restored(journal)
    assert restoration.call == stored.call
    assert {field: value.encode() for field, (_, value) in restoration.records.items()} == {
        record_field(record_id): value for record_id, value in stored.records.items()
    }


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("message", MESSAGES)
def test_whatever_happens_to_a_call_stands_in_the_journal(state: str, message: str) -> None:
    """Every cell of the contract's table, refusals and reports included."""
    check(*stored_and_told([*STATES[state], MESSAGES[message]]))


@given(
    said=st.lists(
        st.tuples(st.sampled_from(CommandName), st.sampled_from([None, "1", "2"])), max_size=12
    ),
    data=st.data(),
)
def test_a_journal_tells_a_call_in_whatever_order_and_however_often_it_is_read(
    said: list[tuple[CommandName, str | None]], data: st.DataObject
) -> None:
    """Copies, and entries out of order, change nothing."""
    stored, journal = stored_and_told([spoken(name, number) for name, number in said])
    check(stored, data.draw(st.permutations(journal * 2)))


def test_a_copy_tells_the_call_as_its_own_command_left_it() -> None:
    """Others were committed behind it, but are not in the journal: they will come back."""
    first, second = spoken("call"), spoken("transfer")
    stored, _ = stored_and_told([first, second])
    alone, _ = stored_and_told([first])
    _, copies = stored_and_told([first], stored)
    check(alone, copies)


def test_a_call_that_has_the_name_of_an_expired_one_is_another_call() -> None:
    """However far the expired one had come: sequences begin again."""
    _, older = stored_and_told([spoken("call", "o1"), spoken("hold", "o2"), spoken("mute", "o3")])
    younger, journal = stored_and_told([spoken("accept", "y1"), spoken("hold", "y2")], at=AT + 1)
    check(younger, [*older, *journal])
    assert restored(journal).began == AT + 1
    assert restored(older[1:]).began is None


def test_a_copy_of_a_calls_beginning_does_not_begin_it_anew() -> None:
    """Published late by a worker whose clock is ahead of that of the next one."""
    begun, first = stored_and_told([spoken("call", "m1")], at=AT + 5000)
    stored, second = stored_and_told([spoken("hold", "m2")], begun)
    check(stored, [*first, *second, *first])
    assert restored([*first, *second, *first]).began == AT + 5000


def test_a_copy_of_a_beginning_whose_id_is_shared_does_not_begin_the_call_anew() -> None:
    """Commands without a message_id share a record, which is the latest one's by then."""
    begun, first = stored_and_told([spoken("hold", None)], at=AT + 5000)
    stored, second = stored_and_told([spoken("hold", None)], begun)
    check(stored, [*first, *second, *first])


def test_a_beginning_drops_nothing_that_was_told_before_it() -> None:
    """It may be a copy, whose original was read long ago: Redis can tell."""
    begun, first = stored_and_told([spoken("call", "m1")], at=AT + 5000)
    stored, second = stored_and_told([spoken("hold", "m2")], begun)
    found: Found = {}
    assert all(collect(entry, found) for entry in [*second, *first])
    assert [each.call.sequence for each in found[CALL_ID]] == [2, 1]
    assert found[CALL_ID][0].call == stored.call


def test_no_digits_are_in_a_record() -> None:
    """They are nowhere but in the command."""
    _, journal = stored_and_told([spoken("call"), spoken("dial")])
    assert FIELDS["dial"]["digits"] not in str(journal)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"request_id": CALL_ID, "record_id": "m1"},
        {"request_id": CALL_ID, "record_id": "m1", "record": "[]"},
        {"request_id": CALL_ID, "record_id": "m1", "record": 5},
        {"request_id": CALL_ID, "record_id": "m1", "record": '[1,"hold",["connected",null,null]]'},
    ],
)
def test_a_message_that_tells_nothing_is_passed_over(headers: dict[str, Any]) -> None:
    """Somebody may have published into the journal, or the call could not be read."""
    found: Found = {}
    assert not collect(Entry(0, None, headers), found)
    assert found == {}


@pytest.mark.parametrize("missing", ["request_id", "record_id", "record"])
def test_an_entry_without_one_of_its_headers_is_passed_over(missing: str) -> None:
    """It cannot be known whose it is."""
    _, (entry,) = stored_and_told([spoken("call")])
    headers = {name: value for name, value in entry.headers.items() if name != missing}
    assert not collect(replace(entry, headers=headers), {})
