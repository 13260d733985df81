"""The checker is checked: it passes a good history, and catches each planted violation by name."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.checker import Kind, check, replay
from tests.chaos.history import OFFERED, Event, History, Published, Stored
from tests.unit.builders import ALICE, BOB, CAROL

#: What is published for one call, and for one that came in.
OUTGOING = ("hold", "call", "hold", "dial", "retrieve", "mute", "transfer", "disconnect", "hold")
INCOMING = (OFFERED, "accept", "disconnect", "disconnect")


def published(request_id: str, names: tuple[str, ...]) -> list[Published]:
    """Return messages of a call, in order."""
    return [
        Published(
            request_id,
            f"{request_id}-{number}",
            name,
            endpoint={"accept": ALICE, "transfer": CAROL}.get(name, ""),
            origin=ALICE if name in {"call", OFFERED} else "",
            destination=BOB if name in {"call", OFFERED} else "",
        )
        for number, name in enumerate(names)
    ]


def answered(messages: list[Published]) -> list[Event]:
    """Return the events of a worker that keeps the contract."""
    _, expected = replay(messages)
    return [
        Event(
            request_id=message.request_id,
            message_id=f"event of {message.message_id}",
            answers=None if message.name == OFFERED else message.message_id,
            sequence=number,
            kind=expected[message.answered_by].kind,
            status=expected[message.answered_by].status,
            reason=expected[message.answered_by].reason,
            state=expected[message.answered_by].state,
            terminal=expected[message.answered_by].terminal,
            content=message.message_id.encode(),
        )
        for number, message in enumerate(messages, start=1)
    ]


def stored(messages: list[Published]) -> Stored:
    """Return what such a worker leaves in Redis."""
    call, _ = replay(messages)
    records = {message.message_id: (f"event of {message.message_id}",) for message in messages}
    return Stored(
        call.state, call.held, call.muted, call.origin, call.destination, len(messages), records
    )


def good() -> History:
    """Return a history without fault: two calls, of which one event arrived twice."""
    made = History()
    for request_id, names in (("out", OUTGOING), ("in", INCOMING)):
        messages = published(request_id, names)
        made.published[request_id] = messages
        made.journal += answered(messages)
        made.stored[request_id] = stored(messages)
    made.journal.append(made.journal[3])
    made.seen = list(made.journal)
    return made


def everywhere(history: History, change: Callable[[list[Event]], None]) -> None:
    """Change what the journal holds and what the subscriber saw alike."""
    change(history.journal)
    change(history.seen)


def altered(history: History, at: int, **changes: object) -> None:
    """Change an event and its copies, wherever they are."""
    before = history.journal[at]
    after = replace(before, **changes)  # type: ignore[arg-type]  # fields by name

    def change(events: list[Event]) -> None:
        events[:] = [after if event == before else event for event in events]

    everywhere(history, change)


def test_a_good_history_passes() -> None:
    """Copies are counted, and are no violation."""
    verdict = check(good())
    assert verdict.violations == ()
    assert (verdict.calls, verdict.commands, verdict.outcomes, verdict.copies) == (2, 13, 13, 1)


def lose_an_outcome(history: History) -> None:
    """Remove the last event of a call."""
    last = history.journal[8]
    everywhere(history, lambda events: events.remove(last))


def answer_twice(history: History) -> None:
    """Answer the last command of a call again, with another event."""
    again = replace(history.journal[8], message_id="another", sequence=10)
    everywhere(history, lambda events: events.append(again))


def answer_wrongly(history: History) -> None:
    """Grant what the table refuses."""
    altered(history, 0, kind="call_held", status=200, reason="OK")


def answer_nothing(history: History) -> None:
    """Publish an event that nobody asked for."""
    unasked = replace(history.journal[8], message_id="another", answers="nobody", sequence=10)
    everywhere(history, lambda events: events.append(unasked))


def skip_a_number(history: History) -> None:
    """Number the last event of a call one too high."""
    altered(history, 8, sequence=10)


def fork(history: History) -> None:
    """Give two events the same number."""
    altered(history, 8, sequence=8)


def disorder_the_journal(history: History) -> None:
    """Let two events change places in the journal."""
    history.journal[4], history.journal[5] = history.journal[5], history.journal[4]


def disorder_what_the_subscriber_sees(history: History) -> None:
    """Let a subscriber see two events of a call the wrong way round."""
    history.seen[3], history.seen[4] = history.seen[4], history.seen[3]


def overtake(history: History) -> None:
    """Let two commands take effect the other way round."""
    first, second = history.published["out"][4:6]
    history.published["out"][4:6] = [second, first]


def end_twice(history: History) -> None:
    """Make the answer of a repeated disconnect terminal too."""
    altered(history, 12, terminal=True)


def go_on_after_the_end(history: History) -> None:
    """Grant a hold after the call has ended."""
    altered(history, 8, kind="call_held", status=200, reason="OK")


def change_a_copy(history: History) -> None:
    """Let a copy say something else."""
    history.journal[-1] = replace(history.journal[-1], content=b"other")


def change_what_the_subscriber_sees(history: History) -> None:
    """Let the subscriber get something else than the journal."""
    history.seen[0] = replace(history.seen[0], content=b"other")


def keep_from_the_subscriber(history: History) -> None:
    """Let the subscriber miss an event."""
    del history.seen[0]


def keep_from_the_journal(history: History) -> None:
    """Let the journal miss the last event of a call."""
    del history.journal[8]


def store_another_state(history: History) -> None:
    """Leave a call on hold that is over."""
    history.stored["in"] = replace(history.stored["in"], held=True)


def forget_a_record(history: History) -> None:
    """Lose the record of one command."""
    records = dict(history.stored["in"].records)
    del records["in-2"]
    history.stored["in"] = replace(history.stored["in"], records=records)


def forget_a_call(history: History) -> None:
    """Lose a whole call."""
    del history.stored["in"]


@pytest.mark.parametrize(
    ("plant", "names"),
    [
        (lose_an_outcome, {Kind.MISSING, Kind.STATE}),
        (answer_twice, {Kind.SECOND, Kind.STATE}),
        (answer_wrongly, {Kind.WRONG}),
        (answer_nothing, {Kind.UNASKED, Kind.STATE}),
        (skip_a_number, {Kind.GAP}),
        (fork, {Kind.FORK}),
        (disorder_the_journal, {Kind.DISORDER}),
        (disorder_what_the_subscriber_sees, {Kind.DISORDER}),
        (overtake, {Kind.OVERTAKING}),
        (end_twice, {Kind.SECOND_END, Kind.AFTER_END, Kind.WRONG}),
        (go_on_after_the_end, {Kind.AFTER_END, Kind.WRONG}),
        (change_a_copy, {Kind.UNEQUAL}),
        (change_what_the_subscriber_sees, {Kind.UNEQUAL}),
        (keep_from_the_subscriber, {Kind.UNDELIVERED}),
        (keep_from_the_journal, {Kind.UNRECORDED, Kind.MISSING, Kind.STATE}),
        (store_another_state, {Kind.STATE}),
        (forget_a_record, {Kind.STATE}),
        (forget_a_call, {Kind.STATE}),
    ],
)
def test_a_planted_violation_is_caught_by_name(
    plant: Callable[[History], None], names: set[Kind]
) -> None:
    """And nothing is reported that does not follow from it."""
    history = good()
    plant(history)
    found = {violation.kind for violation in check(history).violations}
    assert found == names


def test_every_kind_of_violation_is_planted_above() -> None:
    """But for those which no history shows: the run itself sees them."""
    planted: set[Kind] = set()
    for mark in test_a_planted_violation_is_caught_by_name.pytestmark:  # type: ignore[attr-defined]  # pytest adds it
        for _, names in mark.args[1]:
            planted |= names
    assert planted == set(Kind) - {Kind.CRASH, Kind.STALL, Kind.CUT_SHORT}
