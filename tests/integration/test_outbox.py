"""Batches on their way to RabbitMQ, several at a time: what becomes of each, and in which order."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pamqp.commands import Basic
from pamqp.common import FieldValue
from prometheus_client import Gauge

from deploy.local import Services
from worker.broker.connection import Channel, Connection, close, connect, open_channel
from worker.broker.outbox import Outbox, Outgoing

QUEUE = "outbox"
ROOM = 4


@pytest.fixture
async def connection(services: Services) -> AsyncIterator[Connection]:
    """A connection that publishes."""
    made = await connect(services.amqp_url, "outbox")
    yield made
    await close(made)


@pytest.fixture
async def queue(connection: Connection) -> Channel:
    """A channel with a queue that refuses what it has no room for, and goes with the connection."""
    channel = await open_channel(connection)
    arguments: dict[str, FieldValue] = {"x-max-length": ROOM, "x-overflow": "reject-publish"}
    await channel.queue_declare(QUEUE, exclusive=True, arguments=arguments)
    return channel


@pytest.fixture
def outbox(connection: Connection) -> Outbox:
    """An outbox that waits for confirms for as long as it takes."""
    gauge = Gauge("unconfirmed", "Whether a batch is held.", registry=None)
    return Outbox(connection, confirm_seconds=30, unconfirmed=gauge)


def message(name: str) -> Outgoing:
    """Return a message of the call that its name begins with."""
    encoded = Basic.Properties(message_id=name).marshal()
    return Outgoing("", QUEUE, name.encode(), encoded, order=name[0])


async def held(queue: Channel) -> list[str]:
    """Return what the queue holds, and take it away."""
    names: list[str] = []
    while True:
        got = await queue.basic_get(QUEUE, no_ack=True)
        if isinstance(got.delivery, Basic.GetEmpty):
            return names
        names.append(got.body.decode())


async def test_batches_are_confirmed_without_waiting_for_each_other(
    outbox: Outbox, queue: Channel
) -> None:
    """Each is told what RabbitMQ says of its own messages, in however many confirms."""
    names = [["a1", "b1"], [], ["a2"], ["c1"]]
    batches = [await outbox.publish([message(name) for name in some]) for some in names]
    async with asyncio.timeout(30):
        for batch in batches:
            await outbox.confirmed(batch)
    assert all(batch.taken for batch in batches)
    assert await held(queue) == ["a1", "b1", "a2", "c1"]


async def test_what_is_refused_goes_again_with_all_behind_it_of_its_call(
    outbox: Outbox, queue: Channel
) -> None:
    """Though it was published in later batches; what is published meanwhile waits."""
    await outbox.confirmed(await outbox.publish([message(f"x{n}") for n in range(ROOM)]))
    batches = [
        await outbox.publish([message(name) for name in some]) for some in (["a1"], ["b1", "a2"])
    ]
    async with asyncio.timeout(30):
        await asyncio.gather(*(batch.done for batch in batches))
        confirming = asyncio.create_task(outbox.confirmed(batches[0]))
        await asyncio.sleep(0)
        last = asyncio.create_task(outbox.publish([message("a3")]))
        done, _ = await asyncio.wait({confirming, last}, timeout=1)
        assert not done
        await queue.queue_purge(QUEUE)
        await confirming
        await outbox.confirmed(batches[1])
        await outbox.confirmed(await last)
    assert await held(queue) == ["a1", "b1", "a2", "a3"]


async def test_what_was_taken_behind_a_refused_one_of_its_call_goes_again(
    outbox: Outbox, queue: Channel
) -> None:
    """So that its last copy comes last; other calls are left alone."""
    await outbox.confirmed(await outbox.publish([message(f"x{n}") for n in range(ROOM)]))
    refused = await outbox.publish([message("a1")])
    async with asyncio.timeout(30):
        await refused.done
        await queue.queue_purge(QUEUE)
        behind = await outbox.publish([message("a2"), message("b1")])
        await outbox.confirmed(refused)
        await outbox.confirmed(behind)
    assert await held(queue) == ["a2", "b1", "a1", "a2"]
