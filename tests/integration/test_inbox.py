"""What the inbox takes for a delivery, and what it does not."""

import asyncio

from aio_pika import Message
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from tests.harness import Installation
from worker.broker.connection import close, connect
from worker.broker.frames import BODY, HEADER, METHOD
from worker.broker.inbox import Inbox


async def test_a_delivery_to_the_channel_that_had_the_number_before_is_not_taken(
    idle: Installation,
) -> None:
    """Its tag is not the next one's: to acknowledge it would acknowledge another command."""
    connection = await connect(idle.services.amqp_url, "inbox")
    inbox = Inbox(connection, idle.names, worker="me", prefetch=8, patience_seconds=60)
    inbox.follow({0: ("me",)})
    await inbox.in_place()
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


async def test_a_partition_that_is_to_be_left_asks_for_what_was_taken_from_it_to_be_settled(
    idle: Installation,
) -> None:
    """Acknowledgements are collected for a while, for which its next owner would have to wait."""
    connection = await connect(idle.services.amqp_url, "inbox")
    inbox = Inbox(connection, idle.names, worker="me", prefetch=8, patience_seconds=60)
    inbox.follow({0: ("me",)})
    await inbox.in_place()
    leaving = asyncio.create_task(inbox.leaving())
    (subscription,) = inbox.owned()
    await idle.producer.default_exchange.publish(Message(b"{}"), idle.names.partition(0))
    (delivery,) = await inbox.take(10)
    assert not leaving.done()

    inbox.resubscribe(0)
    await leaving
    assert subscription.leaving
    await inbox.settle([delivery])
    await inbox.in_place()
    again = asyncio.create_task(inbox.leaving())
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()
    inbox.abort()
    await close(connection)
