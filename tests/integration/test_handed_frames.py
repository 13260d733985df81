"""Frames that pass aiormq by: what RabbitMQ makes of them, and aiormq of what is left to it."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from aiormq.exceptions import ChannelPreconditionFailed
from pamqp.commands import Basic
from yarl import URL

from deploy.local import Services
from tests.alarms import memory_alarm
from tests.chaos.proxy import Proxy
from tests.harness import eventually
from worker.broker.connection import Channel, Connection, close, connect, is_lost, open_channel
from worker.broker.contents import DELIVER, Contents, acknowledged
from worker.broker.publisher import Batch, Outgoing, Publisher, open_publisher
from worker.errors import BrokerUnavailable

QUEUE = "frames"
#: As large as RabbitMQ takes here, and larger than a frame.
LARGE = bytes(range(256)) * 512


@pytest.fixture
async def connection(services: Services) -> AsyncIterator[Connection]:
    """A connection with a queue that goes when it does."""
    made = await connect(services.amqp_url, "frames")
    channel = await open_channel(made)
    await channel.queue_declare(QUEUE, exclusive=True)
    yield made
    await close(made)


def messages(*bodies: bytes, to: str = QUEUE) -> list[Outgoing]:
    """Return messages to a queue, with ids by their places."""
    return [
        Outgoing("", to, body, Basic.Properties(message_id=str(place)).marshal(), "order")
        for place, body in enumerate(bodies)
    ]


async def published(publisher: Publisher, sent: Sequence[Outgoing]) -> Batch:
    """Publish messages, and return what became of them."""
    batch = publisher.publish(sent, mandatory=True)
    async with asyncio.timeout(30):
        await batch.done
    return batch


class Consumer:
    """A channel that consumes, and the bodies of what it has got."""

    def __init__(self, connection: Connection, channel: Channel) -> None:
        self.channel = channel
        self.bodies: list[bytes] = []
        contents = Contents(DELIVER, len(LARGE), lambda *got: self.bodies.append(got[2]))
        connection.frames.hand(channel, contents.take)

    async def consume(self) -> None:
        """Begin."""
        await self.channel.rpc(Basic.Consume(queue=QUEUE, consumer_tag="consumer"))

    async def until(self, bodies: list[bytes]) -> None:
        """Wait for deliveries, exactly these."""
        await eventually(lambda: len(self.bodies) >= len(bodies), "they arrive")
        assert self.bodies == bodies


async def test_what_is_published_is_delivered_whatever_its_size(connection: Connection) -> None:
    """A body goes through as many frames as it takes, in both directions."""
    bodies = [b"", b"a", LARGE[:-8], LARGE[:-7], LARGE, b"b"]
    batch = await published(await open_publisher(connection), messages(*bodies))
    assert batch.refused == {}
    consumer = Consumer(connection, await open_channel(connection))
    await consumer.consume()
    await consumer.until(bodies)


async def test_only_what_no_queue_takes_is_refused(connection: Connection) -> None:
    """RabbitMQ sends it back before it confirms it."""
    publisher = await open_publisher(connection)
    sent = messages(b"a", b"b", b"c", b"d")
    sent[1:3] = messages(b"x", b"b", b"c", to="nowhere")[1:]
    batch = await published(publisher, sent)
    assert batch.refused == {1: "NO_ROUTE", 2: "NO_ROUTE"}
    assert (await published(publisher, messages(b"e"))).refused == {}


async def test_only_what_a_full_queue_does_not_take_is_refused(connection: Connection) -> None:
    """RabbitMQ says so by number, on behalf of several at times."""
    channel = await open_channel(connection)
    await channel.queue_declare(
        "full", exclusive=True, arguments={"x-max-length": 3, "x-overflow": "reject-publish"}
    )
    publisher = await open_publisher(connection)
    batch = await published(publisher, messages(*[b"x"] * 50, to="full"))
    declared = await channel.queue_declare("full", passive=True)
    assert declared.message_count is not None
    assert len(batch.refused) == 50 - declared.message_count > 0
    assert set(batch.refused.values()) == {"nack"}
    assert 0 not in batch.refused
    await channel.queue_purge("full")
    assert (await published(publisher, messages(b"y", to="full"))).refused == {}


async def test_acknowledgements_reach_rabbitmq(connection: Connection) -> None:
    """All up to a tag; what lies behind it comes back when the channel is closed."""
    bodies = [b"%d" % number for number in range(100)]
    await published(await open_publisher(connection), messages(*bodies))
    first = Consumer(connection, await open_channel(connection, number=9))
    await first.consume()
    await first.until(bodies)
    connection.frames.write(acknowledged(9, 60))
    await first.channel.close()
    assert not connection.frames.is_open(first.channel)
    second = Consumer(connection, await open_channel(connection, number=9))
    await second.consume()
    await second.until(bodies[60:])
    assert first.bodies == bodies
    assert connection.frames.is_open(second.channel)
    assert not connection.frames.is_open(first.channel)


async def test_a_channel_that_rabbitmq_closes_amid_deliveries_takes_nothing_else_along(
    connection: Connection,
) -> None:
    """What was delivered before is there, in order, and all comes again on the next channel."""
    bodies = [b"%d" % number for number in range(2000)]
    publisher = await open_publisher(connection)
    await published(publisher, messages(*bodies))
    first = Consumer(connection, await open_channel(connection, number=9))
    await first.consume()
    connection.frames.write(acknowledged(9, 1_000_000))
    with pytest.raises(ChannelPreconditionFailed):
        await first.channel.closing
    assert first.bodies == bodies[: len(first.bodies)]
    assert not connection.frames.is_open(first.channel)
    # What was delivered to the one may be written behind the opening of the next of its number.
    second = Consumer(connection, await open_channel(connection, number=10))
    await second.consume()
    await second.until(bodies)
    assert (await published(publisher, messages(b"more"))).refused == {}


async def test_a_batch_fails_whose_channel_rabbitmq_closes(connection: Connection) -> None:
    """It says why; nothing more is written on that channel, and the connection stays."""
    publisher = await open_publisher(connection)
    (message,) = messages(b"a")
    nowhere = Outgoing("no such exchange", "", message.body, message.encoded, "order")
    with pytest.raises(BrokerUnavailable, match="NOT_FOUND"):
        await published(publisher, [nowhere])
    assert not publisher.is_open
    with pytest.raises(BrokerUnavailable, match="channel closed"):
        await published(publisher, [message])
    assert (await published(await open_publisher(connection), [message])).refused == {}


async def test_a_batch_fails_whose_connection_is_lost(services: Services) -> None:
    """At once, whether RabbitMQ has confirmed it or not."""
    url = URL(services.amqp_url)
    proxy = Proxy(str(url.host), url.port or 5672)
    await proxy.start()
    behind = await connect(str(url.with_host("127.0.0.1").with_port(proxy.port)), "frames")
    publisher = await open_publisher(behind)
    async with proxy.filtering_replies(lambda _: b""):
        sent = messages(b"a", to="nowhere")
        publishing = asyncio.create_task(published(publisher, sent))
        await asyncio.wait([publishing], timeout=0.1)
        assert not publishing.done()
        for link in proxy.links:
            link.abort()
        with pytest.raises(BrokerUnavailable):
            await publishing
        with pytest.raises(BrokerUnavailable):
            await published(publisher, sent)
    await close(behind)
    await proxy.close()


async def test_who_publishes_waits_until_rabbitmq_reads(
    connection: Connection, services: Services
) -> None:
    """While it blocks publishers, what it has not read must not pile up; then all goes on."""
    assert services.rabbitmq is not None, "RabbitMQ has to be one that the tests may alarm"
    publisher = await open_publisher(connection)
    async with memory_alarm(services.rabbitmq):
        batch = publisher.publish(messages(*[LARGE] * 128), mandatory=True)
        draining = asyncio.create_task(connection.frames.drain())
        await asyncio.wait([draining], timeout=2)
        assert not draining.done()
        assert not batch.done.done()
    async with asyncio.timeout(60):
        await draining
        await batch.done
    assert batch.refused == {}


async def test_a_connection_lives_on_deliveries_alone(services: Services) -> None:
    """RabbitMQ sends no heartbeats beside them, and aiormq, which sees neither, waits for some."""
    consuming = await connect(f"{services.amqp_url}?heartbeat=1", "frames")
    publishing = await connect(services.amqp_url, "frames publishing")
    channel = await open_channel(consuming)
    await channel.queue_declare(QUEUE, auto_delete=True)
    consumer = Consumer(consuming, channel)
    await consumer.consume()
    publisher = await open_publisher(publishing)
    sent: list[bytes] = []
    # Three times the heartbeat, each a second longer, and as much again.
    until = time.monotonic() + 12
    while time.monotonic() < until:
        sent.append(b"%d" % len(sent))
        await published(publisher, messages(sent[-1]))
        await consumer.until(sent)
        await asyncio.sleep(0.1)
    assert not is_lost(consuming)
    await close(consuming)
    await close(publishing)
