"""Folding: the messages of one call in one batch, decided in order, each answered once."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.contract import CommandName, EventNames
from schemas.events import Envelope
from tests.unit.builders import FIELDS
from tests.unit.deliveries import body, delivery, spoken
from tests.unit.folding import AT, NEW, events, folded, kept, names
from worker.batch import Outcome, fold
from worker.broker.messages import event_message
from worker.broker.outbox import Outgoing
from worker.core.call import State
from worker.gateways.loopback import decide_and_grant
from worker.names import Names
from worker.reading import Item, by_call, read_delivery


def test_commands_in_one_batch_make_one_change() -> None:
    """Each is decided on the call as the one before leaves it; all is committed at once."""
    change, outcomes = folded(NEW, spoken("call"), spoken("hold"), spoken("mute"))
    assert names(outcomes) == ["call_connected", "call_held", "call_muted"]
    assert [event.sequence for event in events(outcomes)] == [1, 2, 3]
    assert change is not None
    assert (change.call.held, change.call.muted, change.call.sequence) == (True, True, 3)
    assert change.version == 0
    assert change.records.keys() == {"m-call", "m-hold", "m-mute"}


CONVERSATIONS = st.lists(
    st.tuples(st.sampled_from(CommandName), st.sampled_from(["1", "2", "3"]), st.booleans()),
    max_size=12,
)


@given(said=CONVERSATIONS, cuts=st.sets(st.integers(0, 12)))
def test_a_batch_of_any_size_gives_the_same(
    said: list[tuple[CommandName, str, bool]], cuts: set[int]
) -> None:
    """However the broker cuts a conversation up: the same call, records and events."""
    deliveries = [
        spoken(name, None if anonymous else f"{name}{number}", tag=tag)
        for tag, (name, number, anonymous) in enumerate(said, 1)
    ]
    change, together = folded(NEW, *deliveries)
    stored, apart = NEW, []
    bounds = sorted({0, len(deliveries), *(cut for cut in cuts if cut < len(deliveries))})
    for start, stop in pairwise(bounds):
        step, outcomes = folded(stored, *deliveries[start:stop])
        stored = kept(step, stored) if step else stored
        apart += outcomes
    # Of a repeated command the copies of its events differ in number only.
    assert list(dict.fromkeys(events(apart))) == list(dict.fromkeys(events(together)))
    assert change is None or (change.call, change.records) == (stored.call, stored.records)


def test_the_same_command_twice_in_one_batch_has_one_outcome() -> None:
    """Handed back by one channel and delivered again by the next."""
    again = spoken("call", redelivered=True, tag=2)
    change, outcomes = folded(NEW, spoken("call"), again)
    assert [len(outcome.events) for outcome in outcomes] == [1, 0]
    assert outcomes[1].dead_reason is None
    assert change is not None
    assert (change.call.sequence, len(change.records)) == (1, 1)


def test_a_copy_in_the_same_batch_is_answered_where_it_asks_for_a_reply() -> None:
    """Whoever published it again listens in another place than before."""
    first, again = (
        delivery(spoken("call").body, message_id="one", reply_to=queue) for queue in ("old", "new")
    )
    change, outcomes = folded(NEW, first, again)
    assert [
        [event.answers and event.answers.reply_to for event in each.events] for each in outcomes
    ] == [
        ["old"],
        ["new"],
    ]
    assert len({event.message_id for event in events(outcomes)}) == 1
    assert change is not None
    assert (change.call.sequence, len(change.records)) == (1, 1)


def test_a_command_that_is_known_is_answered_again_from_its_record() -> None:
    """The same events with the same ids; the call is not touched again."""
    change, first = folded(NEW, spoken("call"), spoken("hold"))
    later = replace(kept(change), call=kept(change).call._replace(held=False, sequence=9))
    nothing, again = folded(later, spoken("call", redelivered=True), spoken("hold"))
    assert nothing is None
    assert events(again) == events(first)
    assert [event.message_id for event in events(again)] == [
        event.message_id for event in events(first)
    ]


def test_a_copy_of_an_event_is_a_copy_to_the_byte() -> None:
    """Headers and time included, although the call has moved on: its record tells how it was."""
    change, first = folded(NEW, spoken("call"), spoken("hold"), spoken("transfer"))
    deliveries = [spoken("call", redelivered=True), spoken("hold"), spoken("transfer")]
    items = [read_delivery(each) for each in deliveries]
    _, again = fold(kept(change), items, decide_and_grant, AT + 5_000)
    assert [published(outcome) for outcome in again] == [published(outcome) for outcome in first]


def published(outcome: Outcome) -> list[Outgoing]:
    """Return an outcome's events as they are published."""
    messages = [
        event_message(event, outcome.at, Names(), EventNames.DOCUMENTED, outcome.record)
        for event in outcome.events
    ]
    assert messages
    return messages


def test_a_known_command_among_new_ones_is_not_done_twice() -> None:
    """Its record answers; the others are decided on the call as it is."""
    change, first = folded(NEW, spoken("call"))
    copy, second = spoken("call", redelivered=True), spoken("disconnect")
    change, outcomes = folded(kept(change), copy, second, copy)
    assert events(outcomes[:1]) == events(outcomes[2:]) == events(first)
    assert names(outcomes[1:2]) == ["call_terminated"]
    assert change is not None
    assert change.records.keys() == {"m-disconnect"}
    assert (change.version, change.call.sequence) == (1, 2)


def test_two_commands_of_the_same_content_are_two_commands() -> None:
    """Without a ``message_id`` nothing but the redelivered flag makes a copy of one."""
    change, outcomes = folded(
        NEW, spoken("call"), spoken("dial", None), spoken("dial", None, tag=2)
    )
    first, second = events(outcomes)[1:]
    assert (first.status, second.status) == (200, 200)
    assert (first.sequence, second.sequence) == (2, 3)
    assert first.message_id != second.message_id
    _, later = folded(kept(change), spoken("dial", None, tag=3))
    third = events(later)[0]
    assert third.sequence == 4
    assert third.message_id not in (first.message_id, second.message_id)


def test_a_redelivered_command_without_an_id_is_recognised_by_its_content() -> None:
    """A producer that sets nothing is answered once all the same."""
    change, first = folded(NEW, spoken("call", None), spoken("hold", None))
    copies = [spoken(name, None, redelivered=True) for name in ("call", "hold")]
    nothing, again = folded(kept(change), *copies)
    assert nothing is None
    assert events(again) == events(first)
    assert events(again)[0].message_id == events(first)[0].message_id


def test_a_redelivered_command_without_an_id_and_without_a_record_is_new() -> None:
    """The worker that had it crashed before it committed."""
    change, outcomes = folded(NEW, spoken("call", None, redelivered=True))
    assert names(outcomes) == ["call_connected"]
    assert change is not None


def test_an_empty_message_id_is_no_id() -> None:
    """Some clients write one where they have none."""
    change, outcomes = folded(NEW, spoken("call"), spoken("mute", ""), spoken("hold", ""))
    assert names(outcomes) == ["call_connected", "call_muted", "call_held"]
    assert len({event.message_id for event in events(outcomes)}) == 3
    _, again = folded(kept(change), spoken("mute", "", redelivered=True))
    assert events(again) == events(outcomes)[1:2]


def test_a_report_that_changes_nothing_leaves_no_record() -> None:
    """There is nothing to say again, and nothing to commit."""
    late = delivery(body(network_report="done", action_id="m9"), message_id="r1")
    change, (outcome,) = folded(NEW, late)
    assert change is None
    assert (outcome.events, outcome.dead_reason) == ((), None)


def test_a_report_that_changes_the_call_leaves_a_record() -> None:
    """And is told once, though it comes twice."""
    end = delivery(body(network_report="ended", status=480), message_id="r1")
    change, outcomes = folded(NEW, spoken("call"), end, end)
    assert names(outcomes) == ["call_connected", "call_terminated"]
    assert change is not None
    assert change.records.keys() == {"m-call", "r1"}
    assert change.call.state is State.ENDED
    _, again = folded(kept(change), end)
    assert events(again) == events(outcomes)[1:]


def test_items_are_grouped_by_call_in_the_order_of_arrival() -> None:
    """Commands of one call take effect in the order in which they were published."""
    deliveries = [
        delivery(body(call_control=name, request_id=call, **FIELDS[name]), message_id=f"m{i}")
        for i, (name, call) in enumerate([("call", "a"), ("mute", "b"), ("hold", "a")])
    ]
    items = [read_delivery(each) for each in deliveries]
    assert by_call(items) == {"a": [items[0], items[2]], "b": [items[1]]}


def read_with(**properties: Any) -> Item:
    """Read a ``hold`` with some properties."""
    return read_delivery(delivery(body(call_control="hold"), **properties))


def test_the_answer_is_correlated_with_its_command() -> None:
    """By its ``correlation_id``, else by its ``message_id``."""
    assert read_with(message_id="m", correlation_id="c").message.request.correlation_id == "c"
    assert read_with(message_id="m").message.request.correlation_id == "m"
    assert read_with().message.request.correlation_id is None


TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.mark.parametrize(
    ("header", "continued"),
    [(TRACE, TRACE), (TRACE.upper(), None), (TRACE + "\n", None), (5, None), ("", None)],
)
def test_only_a_well_formed_trace_is_continued(header: object, continued: str | None) -> None:
    """A header of somebody else's making is not passed on."""
    item = read_with(message_id="m", headers={"traceparent": header})
    assert item.message.request.traceparent == continued


def test_the_request_remembers_what_the_answer_needs() -> None:
    """The envelope, the command in its canonical spelling, and the queue for the reply."""
    wrapped = b'{"content": {"call-control": "un-mute", "request_id": "123XYZ"}}'
    request = read_delivery(delivery(wrapped, message_id="m", reply_to="mine")).message.request
    assert (request.id, request.call_control) == ("m", "un_mute")
    assert (request.envelope, request.reply_to) == (Envelope.CONTENT, "mine")
