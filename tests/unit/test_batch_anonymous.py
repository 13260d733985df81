"""Commands without a ``message_id``: told apart by their order, as far as that goes."""

from collections.abc import Sequence
from typing import cast

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import CALL_ID, FIELDS
from tests.unit.deliveries import body, delivery
from worker.batch import Decide, Outcome, fold
from worker.broker.connection import Channel
from worker.broker.subscription import Subscription
from worker.core.call import Call
from worker.core.messages import Decision, Message
from worker.gateways.loopback import decide_and_grant
from worker.reading import read_delivery
from worker.store.calls import StoredCall

NEW = StoredCall(Call(CALL_ID), 0, {})
AT = 1_760_000_000_000


def subscription() -> Subscription:
    """Return a partition's channel; nothing here talks to it."""
    return Subscription(7, cast("Channel", object()), "worker-1")


def worked(
    stored: StoredCall,
    commands: Sequence[str],
    by: Subscription,
    *,
    redelivered: bool = False,
    since: int | None = None,
    decide: Decide = decide_and_grant,
) -> tuple[StoredCall, list[Outcome]]:
    """Fold commands, and commit what comes of them."""
    items = [
        read_delivery(
            delivery(
                body(call_control=name, **FIELDS[name]), redelivered=redelivered, tag=tag, by=by
            )
        )
        for tag, name in enumerate(commands, 1)
    ]
    change, outcomes = fold(stored, items, decide, AT, since=since)
    for outcome in outcomes:
        outcome.close()
    if change is not None:
        records = {**stored.records, **change.records}
        stored = StoredCall(change.call, change.version + 1, records)
    return stored, outcomes


def sequences(outcomes: Sequence[Outcome]) -> list[int]:
    """Return the sequence of each outcome's only event."""
    return [outcome.events[0].sequence for outcome in outcomes]


COMMANDS = st.lists(st.sampled_from(["dial", "mute", "un_mute", "hold"]), max_size=8)


@given(before=COMMANDS, after=COMMANDS)
def test_all_that_was_committed_and_comes_back_is_answered_from_its_record(
    before: list[str], after: list[str]
) -> None:
    """Nothing was acknowledged: the first are copies, those behind them are decided now."""
    said = ["call", *before]
    stored, first = worked(NEW, said, subscription())
    assert sequences(first) == list(range(1, len(said) + 1))
    stored, again = worked(stored, [*said, *after], subscription(), redelivered=True)
    assert [outcome.events for outcome in again[: len(said)]] == [each.events for each in first]
    assert sequences(again) == list(range(1, len(said) + len(after) + 1))


@given(said=COMMANDS, cut=st.integers(0, 8))
def test_all_that_was_handed_back_untouched_is_decided(said: list[str], cut: int) -> None:
    """However the next channel's deliveries are cut into batches."""
    stored, _ = worked(NEW, ["call"], subscription())
    after = subscription()
    stored, one = worked(stored, said[:cut], after, redelivered=True)
    stored, other = worked(stored, said[cut:], after, redelivered=True)
    assert sequences([*one, *other]) == list(range(2, len(said) + 2))


@given(said=COMMANDS)
def test_a_commit_of_unknown_outcome_that_was_done_is_found_again(said: list[str]) -> None:
    """The second attempt sees records from after the first: they are its own."""
    before, _ = worked(NEW, ["call", "mute", "dial"], subscription())
    by = subscription()
    done, first = worked(before, said, by)
    same, again = worked(done, said, by, since=before.call.sequence)
    assert same == done
    assert [outcome.events for outcome in again] == [outcome.events for outcome in first]


@given(said=COMMANDS)
def test_a_commit_that_was_not_done_takes_no_older_record_for_its_own(said: list[str]) -> None:
    """The call has moved on by somebody else's command; equal ones from before are no copies."""
    before, _ = worked(NEW, ["call", "mute", "dial", "un_mute"], subscription())
    moved, _ = worked(before, ["transfer"], subscription())
    _, outcomes = worked(moved, said, subscription(), since=before.call.sequence)
    assert sequences(outcomes) == list(range(6, len(said) + 6))


def test_a_message_id_that_looks_like_an_anonymous_one_confuses_nobody() -> None:
    """A producer may set any text."""
    mute = body(call_control="mute")
    beginning = read_delivery(delivery(mute)).record_id
    named = read_delivery(delivery(mute, message_id=f"{beginning}.first"))
    change, _ = fold(NEW, [named], decide_and_grant, AT)
    assert change is not None
    stored = StoredCall(change.call, 1, change.records)
    _, (outcome,) = worked(stored, ["mute"], subscription(), redelivered=True)
    assert sequences([outcome]) == [2]


def test_the_text_of_a_bug_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """It can quote the command, digits included."""

    def decide_badly(call: Call, message: Message) -> Decision:
        del call, message
        raise ZeroDivisionError("5309817264#")

    with structlog.testing.capture_logs() as logs:
        _, (outcome,) = worked(NEW, ["dial"], subscription(), decide=decide_badly)
    assert outcome.events[0].status == 500
    (entry,) = logs
    assert entry["why"] == "ZeroDivisionError"
    assert __file__ in entry["where"]
    assert "5309817264" not in f"{logs}{caplog.text}"
