"""Folding: a bug, and what cannot be read or is malformed, costs its own command and no other."""

from dataclasses import replace

import pytest

from tests.unit.builders import CALL_ID, told
from tests.unit.deliveries import body, delivery, spoken
from tests.unit.folding import AT, NEW, events, folded, kept, names
from worker.batch import Outcome, fold, unanswerable
from worker.broker.subscription import Delivery
from worker.core.call import Call
from worker.core.messages import Decision, Message
from worker.errors import CorruptCall
from worker.gateways.loopback import decide_and_grant
from worker.reading import by_call, read_delivery
from worker.store.calls import Change, StoredCall


def decide_badly(call: Call, message: Message) -> Decision:
    """Decide, with a bug in ``hold``."""
    if message.request.call_control == "hold":
        raise ZeroDivisionError("5309817264#")
    return decide_and_grant(call, message)


def fold_badly(stored: StoredCall, *deliveries: Delivery) -> tuple[Change | None, list[Outcome]]:
    """Fold deliveries with a bug in ``hold``."""
    return fold(stored, [read_delivery(each) for each in deliveries], decide_badly, AT)


def test_a_bug_costs_exactly_its_command() -> None:
    """A 500 and a dead letter; what came before stands, and what comes after goes on."""
    change, outcomes = fold_badly(NEW, spoken("call"), spoken("hold"), spoken("mute"))
    assert names(outcomes) == ["call_connected", "call_control_failed", "call_muted"]
    assert [outcome.status for outcome in outcomes] == [200, 500, 200]
    assert [outcome.dead_reason is None for outcome in outcomes] == [True, False, True]
    failure = events(outcomes)[1]
    assert (failure.status, failure.sequence, failure.call_state) == (500, 2, "connected")
    assert failure.reason.startswith("Internal Error")
    assert "5309817264" not in f"{outcomes}"
    assert change is not None
    assert (change.call.held, change.call.muted, change.call.sequence) == (False, True, 3)


def test_a_command_that_met_a_bug_is_answered_again_and_dead_lettered_again() -> None:
    """The worker may have crashed between the commit and the dead letter."""
    change, first = fold_badly(NEW, spoken("call"), spoken("hold"))
    nothing, again = folded(kept(change), spoken("hold", redelivered=True))
    assert nothing is None
    assert events(again) == events(first)[1:]
    assert again[0].dead_reason is not None
    assert again[0].status == 500


def raise_always(_call: Call, _message: Message) -> Decision:
    """Be a bug."""
    raise RuntimeError


def test_a_bug_in_a_report_is_dead_lettered_and_answers_nobody() -> None:
    """A report is no command, so there is none that a refusal could name."""
    report = delivery(body(network_report="ringing"))
    _, (outcome,) = fold(NEW, [read_delivery(report)], raise_always, AT)
    assert (outcome.status, outcome.dead_reason is None) == (500, False)
    assert outcome.events == ()


def test_a_call_that_cannot_be_read_costs_its_commands() -> None:
    """A 500 and a dead letter for each, and nothing is written over what is there."""
    change, outcomes = folded(CorruptCall("what"), spoken("call"), spoken("hold"))
    assert change is None
    assert [(outcome.status, outcome.dead_reason is None) for outcome in outcomes] == [
        (500, False)
    ] * 2
    assert names(outcomes) == ["call_control_failed"] * 2
    for event, name in zip(events(outcomes), ["call", "hold"], strict=True):
        assert (event.request_id, event.status, event.sequence) == (CALL_ID, 500, 0)
        assert event.answers is not None
        assert event.answers.call_control == name
        assert event.reason.startswith("Internal Error")


def test_a_report_on_a_call_that_cannot_be_read_answers_nobody() -> None:
    """It is dead-lettered; a refusal would have no command to name."""
    report = delivery(body(network_report="ringing"))
    _, (outcome,) = folded(CorruptCall("what"), report)
    assert (outcome.status, outcome.dead_reason is None) == (500, False)
    assert outcome.events == ()


def test_a_record_that_cannot_be_read_costs_its_command_only() -> None:
    """The call itself is sound, so the others go on."""
    change, _ = folded(NEW, spoken("call"))
    stored = replace(kept(change), records={"m-call": b"[]"})
    change, outcomes = folded(stored, spoken("call", redelivered=True), spoken("hold"))
    assert [outcome.status for outcome in outcomes] == [500, 200]
    assert outcomes[0].dead_reason is not None
    assert names(outcomes[1:]) == ["call_held"]
    assert change is not None
    assert change.records.keys() == {"m-hold"}


def test_a_malformed_command_is_refused_recorded_and_dead_lettered() -> None:
    """It counts in the call's sequence, and again after a crash it is the same."""
    broken = delivery(body(call_control="dial", digits="5X"), message_id="m1")
    change, (outcome,) = folded(NEW, broken)
    assert told(Decision(Call(CALL_ID), outcome.events)) == [("call_control_failed", 400)]
    assert (outcome.status, outcome.events[0].sequence) == (400, 1)
    assert outcome.dead_reason == outcome.events[0].reason
    _, (again,) = folded(kept(change), broken)
    assert (again.events, again.dead_reason) == (outcome.events, outcome.dead_reason)


@pytest.mark.parametrize(
    "unreadable",
    [b"", b"not JSON", body(call_control="hold", request_id=5), body(network_report="parked")],
)
def test_what_nobody_can_be_told_about_is_only_dead_lettered(unreadable: bytes) -> None:
    """No ``request_id``, no event."""
    item = read_delivery(delivery(unreadable))
    outcome = unanswerable(item, AT)
    assert item.request_id is None
    assert (outcome.events, outcome.status) == ((), 400)
    assert (outcome.dead_reason or "").startswith("Bad Request: ")
    assert by_call([item]) == {}
