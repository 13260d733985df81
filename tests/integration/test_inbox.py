"""What the inbox takes for a delivery, and what it does not."""

import asyncio

from aio_pika import Message
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from tests.harness import Installation
from worker.broker.connection import Connection, close, connect
from worker.broker.frames import BODY, HEADER, METHOD
from worker.broker.inbox import Inbox
from worker.broker.subscription import Delivery


async def opened(calls: Installation, *, prefetch: int) -> tuple[Connection, Inbox]:
    """Return an inbox that owns the first partition, and its connection."""
    connection = await connect(calls.services.amqp_url, "inbox")
    inbox = Inbox(connection, calls.names, worker="me", prefetch=prefetch, patience_seconds=60)
    inbox.follow({0: ("me",)})
    await inbox.in_place()
    return connection, inbox


async def test_a_delivery_to_the_channel_that_had_the_number_before_is_not_taken(
    idle: Installation,
) -> None:
    """Its tag is not the next one's: to acknowledge it would acknowledge another command."""
    connection, inbox = await opened(idle, prefetch=8)
    (former,) = inbox.owned()
    inbox.resubscribe(0)
    await inbox.in_place()
    (latter,) = inbox.owned()
    assert former.channel.number == latter.channel.number
    _, take = connection.frames._handed[latter.channel.number]  # noqa: SLF001 - as RabbitMQ would write
    for tag, subscription in enumerate((former, latter), 1):
        delivered = Basic.Deliver(subscription.consumer_tag, tag, exchange="x", routing_key="1")
        assert take(METHOD, b"\x00\x3c\x00\x3c" + delivered.marshal())
        assert take(HEADER, ContentHeader(body_size=2, properties=Basic.Properties()).marshal())
        assert take(BODY, b"{}")
    taken = await inbox.take(10)
    assert [(each.tag, each.subscription) for each in taken] == [(2, latter)]
    inbox.abort()
    await close(connection)


async def test_acknowledgements_are_pressed_for_where_somebody_waits_for_them(
    idle: Installation,
) -> None:
    """The next owner of a partition that is to be left, or RabbitMQ when prefetch runs out."""
    connection, inbox = await opened(idle, prefetch=4)

    async def taken(count: int) -> list[Delivery]:
        for _ in range(count):
            await idle.producer.default_exchange.publish(Message(b"{}"), idle.names.partition(0))
        found: list[Delivery] = []
        while len(found) < count:
            found += await inbox.take(10)
        return found

    async def is_pressed() -> bool:
        waiting = asyncio.create_task(inbox.pressed())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return waiting.done() or not waiting.cancel()

    first = await taken(1)
    assert not await is_pressed()
    second = await taken(1)
    assert await is_pressed()
    await inbox.settle([*first, *second])
    assert not await is_pressed()

    third = await taken(1)
    inbox.resubscribe(0)
    await inbox.pressed()
    await inbox.settle(third)
    await inbox.in_place()
    await inbox.settle(await taken(1))
    assert not await is_pressed()
    inbox.abort()
    await close(connection)
