"""The commit against a real Redis: outcomes unknown, calls that others keep changing."""

import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest
from pamqp.commands import Basic

from deploy.local import Services
from schemas.contract import EventNames
from worker.batch import Outcome
from worker.broker.connection import Channel
from worker.broker.inbox import Inbox
from worker.broker.outbox import Outbox
from worker.broker.subscription import Delivery, Subscription
from worker.errors import StoreUnavailable
from worker.gateways.loopback import decide_and_grant
from worker.metrics import Metrics
from worker.names import Names
from worker.observer import Observer
from worker.pipeline import Pipeline
from worker.reading import read_delivery
from worker.store import CallStore, Change, Suspects, close, connect

CALL = b"""{"call_control": "call", "request_id": "1",
            "origin": "tel:+18164388687", "destination": "tel:+18165057120"}"""
HOLD = b'{"call_control": "hold", "request_id": "1"}'


class Returned(Inbox):
    """An inbox without a broker, which only notes what is given back."""

    def __init__(self) -> None:
        self.given_back: list[Delivery] = []

    def give_back(self, deliveries: Any) -> None:
        """Note them."""
        self.given_back.extend(deliveries)


class LostAnswer(CallStore):
    """A store that commits, and whose first answer is lost on the way."""

    lost = False

    async def commit(self, changes: Sequence[Change]) -> list[bool]:
        """Commit; raise once although it is done."""
        done = await super().commit(changes)
        if not self.lost:
            self.lost = True
            raise StoreUnavailable("the connection was cut")
        return done


class AlwaysBeaten(CallStore):
    """A store in which somebody else is always faster."""

    async def commit(self, changes: Sequence[Change]) -> list[bool]:
        """Let another commit go first, each time."""
        for change in changes:
            await super().commit([Change(change.call, change.version)])
        return await super().commit(changes)


@pytest.fixture
async def stores(services: Services) -> AsyncIterator[dict[str, Any]]:
    """The arguments of a store in a namespace of its own."""
    redis = connect(services.redis_url)
    yield {
        "redis": redis,
        "prefix": f"test-{secrets.token_hex(6)}:",
        "ended_retention_seconds": 60,
        "idle_expiry_seconds": 60,
    }
    await close(redis)


def delivery(body: bytes, tag: int, message_id: str | None) -> Delivery:
    """A command on partition 0."""
    subscription = Subscription(0, cast("Channel", None), "me")
    properties = Basic.Properties(message_id=message_id)
    return Delivery(subscription, tag, body, properties, False, "commands", "1")  # noqa: FBT003 - not redelivered


async def commit(store: CallStore, *bodies: bytes, named: bool) -> tuple[list[Outcome], Returned]:
    """Run load, decide and commit on a batch."""
    inbox = Returned()
    pipeline = Pipeline(
        inbox=inbox,
        store=store,
        outbox=cast("Outbox", None),
        suspects=cast("Suspects", None),
        observer=Observer(Metrics()),
        decide=decide_and_grant,
        names=Names("test"),
        event_names=EventNames.DOCUMENTED,
        batch_size=100,
        hold_seconds=10,
    )
    items = [
        read_delivery(delivery(body, tag, f"command-{tag}" if named else None))
        for tag, body in enumerate(bodies)
    ]
    return await pipeline.commit(items, decide_and_grant), inbox


@pytest.mark.parametrize("named", [True, False], ids=["with message_id", "without"])
async def test_a_commit_of_unknown_outcome_gives_each_command_its_one_outcome(
    stores: dict[str, Any],
    named: bool,  # noqa: FBT001 - pytest passes parameters by name
) -> None:
    """It was done, and is found to be done: nothing takes effect twice, nothing is lost."""
    outcomes, inbox = await commit(LostAnswer(**stores), CALL, HOLD, named=named)
    events = [event for outcome in outcomes for event in outcome.events]
    assert [(event.name, event.sequence) for event in events] == [
        ("call_connected", 1),
        ("call_held", 2),
    ]
    assert inbox.given_back == []
    history = await CallStore(**stores).history("1")
    assert history is not None
    call, records = history
    assert (call.sequence, len(records)) == (2, 2)


async def test_a_call_that_others_keep_changing_is_given_back(stores: dict[str, Any]) -> None:
    """Its partition is somebody else's: nothing of it is published or acknowledged here."""
    outcomes, inbox = await commit(AlwaysBeaten(**stores), CALL, HOLD, named=True)
    assert outcomes == []
    assert [given.tag for given in inbox.given_back] == [0, 1]
