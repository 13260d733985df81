"""The commit against a real Redis: outcomes unknown, calls that others keep changing."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from pamqp.commands import Basic

from deploy.local import Services
from worker.batch import Outcome
from worker.broker.connection import Channel
from worker.broker.inbox import Inbox
from worker.broker.outbox import Batch, Outbox, Outgoing
from worker.broker.subscription import Delivery, Subscription
from worker.errors import StoreUnavailable
from worker.gateways.loopback import decide_and_grant
from worker.metrics import Metrics
from worker.observer import Observer
from worker.outgoing import Writer
from worker.pipeline import Pipeline
from worker.reading import read_delivery
from worker.settings import Settings
from worker.store import CallStore, Change, Suspects, close, connect
from worker.store.servers import RedisClient

CALL = b"""{"call_control": "call", "request_id": "1",
            "origin": "tel:+18164388687", "destination": "tel:+18165057120"}"""
HOLD = b'{"call_control": "hold", "request_id": "1"}'


class Returned(Inbox):
    """An inbox without a broker, which notes what is given back."""

    def __init__(self, *there: Delivery) -> None:
        self.there = list(there)
        self.given_back: list[Delivery] = []
        self.settled: list[Delivery] = []

    async def take(self, limit: int) -> list[Delivery]:
        """Return what is there; when there is nothing, nothing comes."""
        batch, self.there = self.there[:limit], self.there[limit:]
        if not batch:
            await asyncio.Event().wait()
        for each in batch:
            each.subscription.arrived(each)
            each.subscription.taken()
        return batch

    async def settle(self, deliveries: Iterable[Delivery]) -> None:
        """Note what is acknowledged."""
        self.settled.extend(deliveries)

    async def pressed(self) -> None:
        """Wait for no more of them."""

    def give_back(self, deliveries: Any) -> None:
        """Note them, and that their partition is left."""
        for each in deliveries:
            each.subscription.abandoned = True
            self.given_back.append(each)


class Taken(Outbox):
    """An outbox without a broker, which takes everything."""

    def __init__(self) -> None:
        self.taken: list[Outgoing] = []

    async def publish(self, messages: Sequence[Outgoing]) -> Batch:
        """Note them."""
        self.taken.extend(messages)
        return Batch(())

    async def drain(self) -> None:
        """Need not wait."""

    async def confirmed(self, batch: Batch) -> None:
        """Need not wait."""


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


class BeatenAtFirst(CallStore):
    """A store in which somebody else is faster, until this worker has given up once."""

    attempts = 0

    async def commit(self, changes: Sequence[Change]) -> list[bool]:
        """Let another commit go first, five times."""
        self.attempts += 1
        if self.attempts <= 5:
            for change in changes:
                await super().commit([Change(change.call, change.version)])
        return await super().commit(changes)


def delivery(
    body: bytes, tag: int, message_id: str | None, subscription: Subscription | None = None
) -> Delivery:
    """A command on partition 0."""
    subscription = subscription or Subscription(0, cast("Channel", None), "me")
    properties = Basic.Properties(message_id=message_id)
    return Delivery(subscription, tag, body, properties, False, "commands", "1")  # noqa: FBT003 - not redelivered


def pipeline(store: CallStore, redis: RedisClient, inbox: Inbox, outbox: Outbox) -> Pipeline:
    """A pipeline with a real Redis between an inbox and an outbox that have no broker."""
    return Pipeline(
        inbox=inbox,
        store=store,
        outbox=outbox,
        suspects=Suspects(redis, prefix="test", worker="me"),
        observer=Observer(Metrics()),
        decide=decide_and_grant,
        writer=Writer.of(Settings.from_environment({})),
        batch_size=100,
        hold_seconds=10,
    )


async def commit(
    store: CallStore, redis: RedisClient, *bodies: bytes, named: bool
) -> tuple[list[Outcome], Returned]:
    """Run load, decide and commit on a batch."""
    inbox = Returned()
    items = [
        read_delivery(delivery(body, tag, f"command-{tag}" if named else None))
        for tag, body in enumerate(bodies)
    ]
    return await pipeline(store, redis, inbox, Taken()).commit(items, decide_and_grant), inbox


@pytest.mark.parametrize("named", [True, False], ids=["with message_id", "without"])
async def test_a_commit_of_unknown_outcome_gives_each_command_its_one_outcome(
    stores: dict[str, Any],
    named: bool,  # noqa: FBT001 - pytest passes parameters by name
) -> None:
    """It was done, and is found to be done: nothing takes effect twice, nothing is lost."""
    outcomes, inbox = await commit(LostAnswer(**stores), stores["redis"], CALL, HOLD, named=named)
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
    outcomes, inbox = await commit(AlwaysBeaten(**stores), stores["redis"], CALL, HOLD, named=True)
    assert outcomes == []
    assert [given.tag for given in inbox.given_back] == [0, 1]


async def test_nothing_overtakes_what_was_given_back(stores: dict[str, Any]) -> None:
    """Neither does a command of the same call that is processed alone, behind it in the batch."""
    subscription = Subscription(0, cast("Channel", None), "me")
    first = delivery(CALL, 0, "command-0", subscription)
    behind = replace(delivery(HOLD, 1, "command-1", subscription), returns=8)
    inbox, outbox, store = Returned(first, behind), Taken(), BeatenAtFirst(**stores)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await pipeline(store, stores["redis"], inbox, outbox).run()
    assert inbox.given_back == [first]
    assert (outbox.taken, inbox.settled, subscription.in_hand) == ([], [], 1)
    history = await store.history("1")
    assert history is not None
    assert history[1] == []
