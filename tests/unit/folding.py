"""Folding deliveries on a call, and what comes of it."""

from collections.abc import Iterable

from schemas.events import Event
from tests.unit.builders import CALL_ID
from worker.batch import Outcome, fold
from worker.broker.subscription import Delivery
from worker.core.call import Call
from worker.errors import CorruptCall
from worker.gateways.loopback import decide_and_grant
from worker.reading import read_delivery
from worker.store.calls import Change, StoredCall

NEW = StoredCall(Call(CALL_ID), 0, {})
AT = 1_760_000_000_000


def folded(
    stored: StoredCall | CorruptCall, *deliveries: Delivery
) -> tuple[Change | None, list[Outcome]]:
    """Fold deliveries on the network that grants everything."""
    return fold(stored, [read_delivery(each) for each in deliveries], decide_and_grant, AT)


def kept(change: Change | None, before: StoredCall = NEW) -> StoredCall:
    """Return what is loaded after a change has been committed."""
    assert change is not None
    assert change.version == before.version
    return StoredCall(change.call, change.version + 1, {**before.records, **change.records})


def events(outcomes: Iterable[Outcome]) -> list[Event]:
    """Return the events of outcomes, in the order in which they leave."""
    return [event for outcome in outcomes for event in outcome.events]


def names(outcomes: Iterable[Outcome]) -> list[str]:
    """Return the canonical names of the events of outcomes."""
    return [event.name.value for event in events(outcomes)]
