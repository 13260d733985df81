"""From a call's messages to its change: the pipeline's pure part.

Commands of one call that stand in one batch are folded: each is decided on the call as the one
before it leaves it, and all of it is committed as one change.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import structlog

from schemas.contract import reason_phrase
from schemas.events import Event
from schemas.reports import Report
from schemas.wire import Malformed
from worker.core.call import Call
from worker.core.messages import Action, Decision, Message
from worker.core.transitions import asked_again, refuse
from worker.errors import CorruptCall, place
from worker.reading import Item
from worker.store.calls import Change, StoredCall
from worker.store.codec import Record, decode_record, encode_record, short_id

Decide = Callable[[Call, Message], Decision]

_MALFORMED: Final = 400
_BUG: Final = 500

_log: Final = structlog.get_logger(__name__)


class Outcome(NamedTuple):
    """What comes of one delivery.

    Attributes:
        item: The delivery.
        events: The events to publish.
        at: When they were decided, in milliseconds since the epoch.
        status: The status of a dead letter.
        dead_reason: Why it goes to the dead letters; None where it does not.
        record: Its record as it is stored, behind the id under which it is; None where none is.
        duplicate: Whether a record answers it.
        actions: What to ask of the network.
    """

    item: Item
    events: tuple[Event, ...]
    at: int
    status: int = 200
    dead_reason: str | None = None
    record: tuple[str, bytes] | None = None
    duplicate: bool = False
    actions: tuple[Action, ...] = ()

    def close(self) -> None:
        """Note that the delivery has this outcome, so that its record answers no later one."""
        if self.item.came_back and self.record is not None:
            record_id, _ = self.record
            self.item.delivery.subscription.answered.add(record_id)


def unanswerable(item: Item, at: int) -> Outcome:
    """Return the outcome of a body that names no call: a dead letter and no event."""
    if item.fault is not None:
        return Outcome(item, (), at, _BUG, f"{reason_phrase(_BUG)}: {item.fault}")
    body = item.message.body
    reason = body.reason if isinstance(body, Malformed) else "Bad Request"
    return Outcome(item, (), at, _MALFORMED, reason)


def fold(
    stored: StoredCall | CorruptCall,
    items: Sequence[Item],
    decide: Decide,
    at: int,
    *,
    since: int | None = None,
    anew: bool = False,
) -> tuple[Change | None, list[Outcome]]:
    """Decide the messages of one call, in order.

    Args:
        stored: The call, with the records found of these messages.
        items: The messages; the same one may stand among them twice, published twice.
        decide: The pure decision.
        at: The time, in milliseconds since the epoch.
        since: What the call had accounted for when the messages were folded before, and the call
            had moved on: by another worker that has them too, by this one's own commit of unknown
            outcome, or because what was known of it without loading it was wrong.
            Records from then on may be theirs even if they are not marked as redelivered.
        anew: Whether a call whose records answer messages is committed again, so that what waits
            for that commit covers the records too.

    Returns:
        The change to commit, if anything changed, and an outcome for each message.
    """
    if isinstance(stored, CorruptCall):
        for item in items:
            _log.error("call cannot be read", **item.identity, why=str(stored))
        return None, [_outcome_of_corruption(item, at) for item in items]
    folding = _Folding(stored, decide, at)
    records = _records_of(items, stored.records, since)
    outcomes = [folding.take(item, records.get(id(item))) for item in items]
    return folding.change(anew=anew), outcomes


def _records_of(items: Iterable[Item], records: Iterable[str], since: int | None) -> dict[int, str]:
    """Find the records of anonymous messages that may have been answered before.

    Nothing tells two of the same content apart but their order. What was answered and comes back
    was answered last, and comes back first: so the first of them are taken for those that have
    the last records. Not theirs are the records of what their own channel delivered before them.
    """
    alike: dict[str, list[Item]] = {}
    for item in items:
        if item.came_back or (item.anonymous and since is not None):
            alike.setdefault(item.record_id, []).append(item)
    found: dict[int, str] = {}
    for beginning, these in alike.items():
        answered = these[0].delivery.subscription.answered
        numbers = (
            record.removeprefix(f"{beginning}.")
            for record in records
            if record.startswith(f"{beginning}.") and record not in answered
        )
        # A producer's own message_id may begin like that.
        made = sorted(int(number) for number in numbers if number.isascii() and number.isdigit())
        before = [sequence for sequence in made if since is None or sequence <= since]
        known = min(len(before), sum(item.came_back for item in these))
        theirs = [*before[len(before) - known :], *made[len(before) :]]
        for item, sequence in zip(these, theirs, strict=False):
            found[id(item)] = f"{beginning}.{sequence}"
    return found


class _Folding:
    """The state between the messages of one call in one batch."""

    def __init__(self, stored: StoredCall, decide: Decide, at: int) -> None:
        self._stored = stored
        self._call = stored.call
        self._records = dict(stored.records)
        self._new: dict[str, bytes] = {}
        self._decide = decide
        self._at = at

    def take(self, item: Item, record_id: str | None) -> Outcome:
        if not item.anonymous:
            record_id = short_id(item.record_id)
        known = self._records.get(record_id) if record_id else None
        if record_id is None or known is None:
            return self._decided(item)
        if record_id in self._new and item.message.request.reply_to is None:
            # The same command twice in this batch: its events are on their way already.
            return Outcome(item, (), self._at, duplicate=True)
        try:
            request = item.message.request
            if item.anonymous:
                request = replace(request, id=record_id)
            record = decode_record(known, self._call.request_id, request)
        except CorruptCall as error:
            _log.error("record cannot be read", **item.identity, why=str(error))
            return _outcome_of_corruption(item, self._at)
        outcome = _outcome(item, record.events, record.at, (record_id, known))
        again = asked_again(self._call, item.message._replace(request=request))
        return outcome._replace(duplicate=True, actions=again)

    def change(self, *, anew: bool) -> Change | None:
        if not self._new and not (anew and self._stored.records):
            return None
        stored = self._stored
        before = None if stored.is_absent else stored.call
        return Change(self._call, stored.version, self._new, before)

    def _decided(self, item: Item) -> Outcome:
        message = item.message
        if item.anonymous:
            # Two commands of the same content are two commands, so their records differ in id.
            numbered = f"{item.record_id}.{self._call.accounted + 1}"
            message = message._replace(request=replace(message.request, id=numbered))
        try:
            return self._recorded(item, message, self._decide(self._call, message))
        except Exception as error:  # noqa: BLE001 - a bug costs this command, not its partition
            # Not the error's text: it can quote the command, digits included.
            _log.error(
                "decision failed",
                **item.identity,
                why=type(error).__name__,
                where=place(error),
            )
            reason = f"{reason_phrase(_BUG)}: {type(error).__name__}"
            if isinstance(message.body, Report):
                return Outcome(item, (), self._at, _BUG, reason)
            return self._recorded(item, message, refuse(self._call, message, _BUG, reason))

    def _recorded(self, item: Item, message: Message, decision: Decision) -> Outcome:
        stored = None
        if decision.events or decision.call != self._call:
            record = Record(self._at, message.kind, decision.call, decision.events)
            record_id = short_id(message.request.id)
            value = encode_record(record, message.request)
            stored = record_id, value
            self._records[record_id] = self._new[record_id] = value
        self._call = decision.call
        outcome = _outcome(item, decision.events, self._at, stored)
        return outcome._replace(actions=decision.actions) if decision.actions else outcome


def _outcome(
    item: Item, events: tuple[Event, ...], at: int, record: tuple[str, bytes] | None
) -> Outcome:
    body = item.message.body
    if isinstance(body, Malformed):
        return Outcome(item, events, at, _MALFORMED, body.reason, record)
    if not isinstance(body, Report):
        # The network's own 500s come with reports: a command that meets one at once met a bug.
        for event in events:
            if event.status == _BUG:
                return Outcome(item, events, at, _BUG, event.reason, record)
    return Outcome(item, events, at, record=record)


def _outcome_of_corruption(item: Item, at: int) -> Outcome:
    """Answer a command whose call cannot be read; no sequence can be given, so it is 0."""
    reason = f"{reason_phrase(_BUG)}: the stored call cannot be read"
    if isinstance(item.message.body, Report):
        return Outcome(item, (), at, _BUG, reason)
    decision = refuse(Call(item.request_id or ""), item.message, _BUG, reason)
    events = tuple(event._replace(sequence=0) for event in decision.events)
    return Outcome(item, events, at, _BUG, reason)


def wanted_records(items: Iterable[Item], again: bool) -> set[str] | None:  # noqa: FBT001 - no option
    """Return under which ids the records of a call's messages are; None for any.

    Args:
        items: The messages.
        again: Whether they have been folded before.
    """
    wanted = set()
    for item in items:
        if item.came_back or (item.anonymous and again):
            return None
        if not item.anonymous:
            wanted.add(item.record_id)
    return wanted
