"""Judges a history by the contract; knows nothing of the worker.

With one exception, not here but in what it is given: the calls that Redis holds in the end were
read by the worker's own codec (see ``tests.chaos.witness``), which has tests of its own.

What each command should have come to is derived by replaying the published ones, in order, through
``tests.unit.naive``, which was written from the contract alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tests.chaos.history import OFFERED, Event, History, Published, Stored
from tests.unit.naive import NaiveCall

#: Violations that are shown.
_MOST_SHOWN: Final = 20


class Kind(StrEnum):
    """The ways to break the contract."""

    MISSING = "missing outcome"
    SECOND = "second outcome of a command"
    WRONG = "outcome that the contract's table does not give"
    UNASKED = "event that answers nothing published"
    GAP = "gap in a sequence"
    FORK = "fork in a sequence"
    DISORDER = "journal out of order"
    OVERTAKING = "effect order is not publish order"
    SECOND_END = "second terminal event"
    AFTER_END = "event after the terminal one"
    UNEQUAL = "copies that differ"
    UNDELIVERED = "event that the subscriber missed"
    UNRECORDED = "event that the journal misses"
    STATE = "final state is not what the events lead to"
    CRASH = "worker that ended by itself"
    STALL = "no recovery in time"
    CUT_SHORT = "run that ended early"


@dataclass(frozen=True, slots=True)
class Violation:
    """One breach, with the call in which it is found (or the worker, or the fault)."""

    kind: Kind
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.where}): {self.detail}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a history comes to.

    Attributes:
        calls: The number of calls.
        commands: The number of commands and reports published.
        outcomes: The number of distinct events.
        copies: How often the journal has an event again.
        violations: The breaches.
    """

    calls: int
    commands: int
    outcomes: int
    copies: int
    violations: tuple[Violation, ...]

    def breaches(self) -> str:
        """Return the first violations, for people to read."""
        return "\n".join(map(str, self.violations[:_MOST_SHOWN]))


@dataclass(frozen=True, slots=True)
class _Expected:
    kind: str
    status: int
    reason: str
    state: str
    terminal: bool

    def met_by(self, event: Event) -> bool:
        said = (event.kind, event.status, event.state, event.terminal)
        wanted = (self.kind, self.status, self.state, self.terminal)
        return said == wanted and event.reason.startswith(self.reason)


def check(history: History) -> Verdict:
    """Check every call of a history."""
    journal, seen = _by_call(history.journal), _by_call(history.seen)
    calls = history.published.keys() | journal.keys() | seen.keys()
    violations: list[Violation] = []
    outcomes = 0
    for call in sorted(calls):
        of_call = _Call(
            call, history.published.get(call, []), journal[call], seen[call], history.stored
        )
        violations += (Violation(kind, call, detail) for kind, detail in of_call.breaches())
        outcomes += len(of_call.firsts)
    return Verdict(
        calls=len(history.published),
        commands=sum(map(len, history.published.values())),
        outcomes=outcomes,
        copies=len(history.journal) - outcomes,
        violations=tuple(violations),
    )


def _by_call(events: Iterable[Event]) -> defaultdict[str, list[Event]]:
    calls: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        calls[event.request_id].append(event)
    return calls


def replay(published: Sequence[Published]) -> tuple[NaiveCall, dict[str, _Expected]]:
    """Return the call as the contract has it in the end, and what answers each message.

    The network grants every action at once, as the loopback does.
    """
    call = NaiveCall()
    expected: dict[str, _Expected] = {}
    for message in published:
        said, before = len(call.said), call.state
        if message.name == OFFERED:
            call.offered(message.origin, message.destination)
        else:
            call.command(
                message.name,
                message.message_id,
                message.endpoint,
                message.origin,
                message.destination,
            )
            if call.waiting is not None:
                call.granted(call.waiting.id)
        for kind, status, reason, _ in call.said[said:]:
            ended = call.state == "ended" != before
            expected[message.answered_by] = _Expected(kind, status, reason, call.state, ended)
    return call, expected


class _Call:
    """One call's part of the history."""

    def __init__(
        self,
        call: str,
        published: Sequence[Published],
        journal: Sequence[Event],
        seen: Sequence[Event],
        stored: dict[str, Stored],
    ) -> None:
        self._published = published
        self._journal = journal
        self._seen = seen
        self._stored = stored.get(call)
        self._replayed, self._expected = replay(published)
        #: The first copy of each event, in the order of the journal.
        self.firsts: dict[str, Event] = {}
        for event in journal:
            self.firsts.setdefault(event.message_id, event)
        self._in_sequence = sorted(self.firsts.values(), key=lambda event: event.sequence)

    def breaches(self) -> Iterator[tuple[Kind, str]]:
        yield from self._copies()
        yield from self._sequence()
        yield from self._outcomes()
        yield from self._order()
        yield from self._end()
        yield from self._state()

    def _copies(self) -> Iterator[tuple[Kind, str]]:
        seen = {event.message_id for event in self._seen}
        for event in self._journal:
            if event != self.firsts[event.message_id]:
                yield Kind.UNEQUAL, f"{event} in the journal after {self.firsts[event.message_id]}"
        for event in self._seen:
            first = self.firsts.get(event.message_id)
            if first is None:
                yield Kind.UNRECORDED, str(event)
            elif first != event:
                yield Kind.UNEQUAL, f"{event} at the subscriber, {first} in the journal"
        for event in self.firsts.values():
            if event.message_id not in seen:
                yield Kind.UNDELIVERED, str(event)

    def _sequence(self) -> Iterator[tuple[Kind, str]]:
        numbers = [event.sequence for event in self.firsts.values()]
        heard = list({event.message_id: event.sequence for event in self._seen}.values())
        for where, order in (("in the journal", numbers), ("at the subscriber", heard)):
            if order != sorted(order):
                yield Kind.DISORDER, f"first copies {where} come in the order {order}"
        for number in sorted({number for number in numbers if numbers.count(number) > 1}):
            yield Kind.FORK, f"more than one event has the number {number}"
        missing = set(range(1, max(numbers, default=0) + 1)) - set(numbers)
        if missing:
            yield Kind.GAP, f"no event has the numbers {sorted(missing)}"

    def _outcomes(self) -> Iterator[tuple[Kind, str]]:
        answers: defaultdict[str, list[Event]] = defaultdict(list)
        for event in self._in_sequence:
            answers[event.answers or event.request_id].append(event)
        for message, expected in self._expected.items():
            if message not in answers:
                yield Kind.MISSING, f"nothing answers {message}, expected was {expected}"
        for message, events in answers.items():
            if message not in self._expected:
                yield Kind.UNASKED, str(events[0])
                continue
            if len(events) > 1:
                yield Kind.SECOND, f"{message} has {len(events)} outcomes"
            if not self._expected[message].met_by(events[0]):
                yield Kind.WRONG, f"{events[0]}, expected was {self._expected[message]}"

    def _order(self) -> Iterator[tuple[Kind, str]]:
        place = {message.answered_by: at for at, message in enumerate(self._published)}
        effects = [
            place[answers]
            for event in self._in_sequence
            if (answers := event.answers or event.request_id) in place
        ]
        if effects != sorted(effects):
            yield Kind.OVERTAKING, f"commands took effect in the order {effects}"

    def _end(self) -> Iterator[tuple[Kind, str]]:
        ends = [at for at, event in enumerate(self._in_sequence) if event.terminal]
        if len(ends) > 1:
            yield Kind.SECOND_END, f"{len(ends)} events are terminal"
        for event in self._in_sequence[ends[0] + 1 :] if ends else ():
            refusal = event.kind == "call_control_failed"
            repeated = event.kind == "call_terminated" and event.answers and not event.terminal
            if not refusal and not repeated:
                yield Kind.AFTER_END, str(event)

    def _state(self) -> Iterator[tuple[Kind, str]]:
        call, stored = self._replayed, self._stored
        if stored is None:
            if self._expected:
                yield Kind.STATE, "the call is not in Redis"
            return
        wanted = (call.state, call.held, call.muted, call.origin, call.destination, len(call.said))
        found = (
            stored.state,
            stored.held,
            stored.muted,
            stored.origin,
            stored.destination,
            stored.sequence,
        )
        if found != wanted:
            yield Kind.STATE, f"Redis has {found}, the published commands lead to {wanted}"
        recorded = {event for events in stored.records.values() for event in events}
        if recorded != self.firsts.keys():
            differing = sorted(recorded ^ self.firsts.keys())
            yield Kind.STATE, f"records and journal differ in the events {differing}"
