"""What is declared at a real broker, and what happens when it does not fit."""

import asyncio
import json
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from yarl import URL

from deploy.local import Services
from tests.harness import Installation, clean_up, eventually, installation
from worker.broker import connection as broker
from worker.broker.connection import Channel
from worker.broker.declaring import declare, establish, remove
from worker.broker.topology import Exchange, network_topology, topology
from worker.errors import TopologyMismatch
from worker.names import Names
from worker.settings import HashExchange

PARTITIONS = 4


@pytest.fixture
async def connection(services: Services) -> AsyncIterator[aio_pika.abc.AbstractConnection]:
    """A connection with all permissions."""
    opened = await broker.connect(services.amqp_url, "topology tests")
    yield opened
    await broker.close(opened)


@pytest.fixture
async def names(services: Services) -> AsyncIterator[Names]:
    """A namespace of its own, emptied afterwards."""
    made = Names(f"test-{secrets.token_hex(5)}")
    yield made
    await clean_up(services, topology(made, PARTITIONS))


@pytest.fixture
async def modest(services: Services) -> AsyncIterator[str]:
    """The URL of a user who may read and write but configure nothing."""
    rabbitmq = services.rabbitmq
    assert rabbitmq is not None, "users are made by rabbitmqctl"
    user = f"modest-{secrets.token_hex(4)}"
    rabbitmq.ctl("add_user", user, "modest")
    rabbitmq.ctl("set_permissions", "-p", "/", user, "^$", ".*", ".*")
    yield str(URL(services.amqp_url).with_user(user).with_password("modest"))
    rabbitmq.ctl("delete_user", user)


async def test_declaring_what_is_there_already_changes_nothing(
    connection: aio_pika.abc.AbstractConnection, names: Names
) -> None:
    """So every worker declares at every start."""
    for _ in range(3):
        await establish(connection, topology(names, PARTITIONS))


async def test_every_partition_gets_its_share_and_every_call_one_partition(
    connection: aio_pika.abc.AbstractConnection, names: Names
) -> None:
    """The command exchange spreads calls, and never one call."""
    await establish(connection, topology(names, PARTITIONS))
    channel = await connection.channel(publisher_confirms=True)
    commands = await channel.get_exchange(names.commands)
    for call in range(200):
        for _ in range(2):
            await commands.publish(aio_pika.Message(str(call).encode()), f"call-{call}")
    partition_of: dict[bytes, set[str]] = {}

    async def note(message: AbstractIncomingMessage) -> None:
        tag = message.consumer_tag or ""
        partition_of.setdefault(message.body, set()).add(tag)

    for partition in range(PARTITIONS):
        queue = await channel.get_queue(names.partition(partition))
        await queue.consume(note, no_ack=True, consumer_tag=str(partition))
    await eventually(lambda: len(partition_of) == 200, "every call has arrived")
    assert all(len(partitions) == 1 for partitions in partition_of.values())
    shares = Counter(partition for (partition,) in partition_of.values())
    assert len(shares) == PARTITIONS
    assert min(shares.values()) > 200 / PARTITIONS / 3


async def test_the_command_exchange_may_be_a_consistent_hash_exchange(
    connection: aio_pika.abc.AbstractConnection, names: Names
) -> None:
    """Where the broker keeps its order over a restart, or the other plugin is not to be had."""
    await establish(connection, topology(names, PARTITIONS, HashExchange.CONSISTENT))
    assert len(set((await partitions_of_calls(connection, names)).values())) == PARTITIONS
    with pytest.raises(TopologyMismatch, match="type"):
        await establish(connection, topology(names, PARTITIONS, HashExchange.MODULUS))


async def test_exchanges_are_deleted_one_after_the_other(
    connection: aio_pika.abc.AbstractConnection, names: Names
) -> None:
    """RabbitMQ may close the connection when two that are bound together go at once."""
    going: list[str] = []
    gone: list[str] = []

    class Watched(Exchange):
        async def delete(self, channel: Channel) -> None:
            going.append(self.name)
            await super().delete(channel)
            assert going == [*gone, self.name]
            gone.append(self.name)

    wanted = topology(names, PARTITIONS) + network_topology(names)
    watched = tuple(Watched(each.name, each.type, each.arguments) for each in wanted.exchanges)
    await declare(connection, wanted)
    await remove(connection, replace(wanted, exchanges=watched))
    assert set(gone) == {each.name for each in wanted.exchanges}
    channel = await connection.channel()
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await channel.get_exchange(names.actions)


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_call_keeps_its_partition_when_rabbitmq_is_restarted(
    services: Services, names: Names, how: str
) -> None:
    """Else what is published afterwards could overtake what waits from before."""
    rabbitmq = services.rabbitmq
    assert rabbitmq is not None, "RabbitMQ has to be one that the tests may restart"
    connection = await broker.connect(services.amqp_url, "before")
    await establish(connection, topology(names, PARTITIONS))
    before = await partitions_of_calls(connection, names)
    await asyncio.sleep(2)
    await broker.close(connection)
    await asyncio.to_thread(getattr(rabbitmq, how))
    await asyncio.to_thread(rabbitmq.start)
    connection = await broker.connect(services.amqp_url, "after")
    assert await partitions_of_calls(connection, names) == before
    await broker.close(connection)


async def partitions_of_calls(
    connection: aio_pika.abc.AbstractConnection, names: Names
) -> dict[bytes, str]:
    """Publish a command of each of 100 calls, and see where it arrives."""
    channel = await connection.channel(publisher_confirms=True)
    commands = await channel.get_exchange(names.commands)
    found: dict[bytes, str] = {}

    async def note(message: AbstractIncomingMessage) -> None:
        found[message.body] = message.consumer_tag or ""

    for partition in range(PARTITIONS):
        queue = await channel.get_queue(names.partition(partition), ensure=False)
        await queue.consume(note, no_ack=True, consumer_tag=str(partition))
    for call in range(100):
        await commands.publish(aio_pika.Message(str(call).encode()), f"call-{call}")
    await eventually(lambda: len(found) == 100, "every command has arrived")
    await channel.close()
    return found


async def test_a_queue_with_another_argument_is_an_error_that_names_it(
    connection: aio_pika.abc.AbstractConnection, names: Names
) -> None:
    """Somebody declared a partition with a delivery limit of their own."""
    channel = await connection.channel()
    arguments = dict(topology(names, PARTITIONS).queues[-1].arguments)
    await channel.declare_queue(
        names.partition(1), durable=True, arguments={**arguments, "x-delivery-limit": 3}
    )
    with pytest.raises(TopologyMismatch, match=rf"x-delivery-limit.*{names.partition(1)}"):
        await establish(connection, topology(names, PARTITIONS))


async def test_an_exchange_of_another_type_is_an_error_that_names_it(
    connection: aio_pika.abc.AbstractConnection, names: Names
) -> None:
    """Somebody declared the command exchange as a topic exchange."""
    channel = await connection.channel()
    await channel.declare_exchange(names.commands, "topic", durable=True)
    with pytest.raises(TopologyMismatch, match=rf"type.*{names.commands}"):
        await establish(connection, topology(names, PARTITIONS))


async def test_without_permission_to_configure_a_complete_topology_is_enough(
    connection: aio_pika.abc.AbstractConnection, names: Names, modest: str
) -> None:
    """An operator declares it once; workers only make sure that it is there."""
    await establish(connection, topology(names, PARTITIONS))
    other = await broker.connect(modest, "modest")
    await establish(other, topology(names, PARTITIONS))
    await broker.close(other)


async def test_without_permission_to_configure_what_is_missing_is_named(
    connection: aio_pika.abc.AbstractConnection, names: Names, modest: str
) -> None:
    """An operator left a partition out."""
    await establish(connection, topology(names, PARTITIONS - 1))
    other = await broker.connect(modest, "modest")
    with pytest.raises(TopologyMismatch, match=names.partition(PARTITIONS - 1)):
        await establish(other, topology(names, PARTITIONS))
    await broker.close(other)


async def test_installations_with_namespaces_of_their_own_share_a_broker(
    services: Services,
) -> None:
    """A command in one is no business of the other."""
    async with installation(services) as one, installation(services) as other:
        for calls in (one, other):
            await calls.start()
            await calls.subscribe()
        await one.ask("123XYZ", "hold")
        await other.ask("123XYZ", "mute")
        assert [event.headers["call_control"] for event in one.events] == ["hold"]
        assert [event.headers["call_control"] for event in other.events] == ["mute"]


async def test_a_command_that_exceeds_the_delivery_limit_is_dead_lettered_not_lost(
    calls: Installation,
) -> None:
    """By the broker itself, at least once, with the reason in its x-death header."""
    for worker in calls.workers:
        await worker.terminate()
    async with delivery_limit(calls, 10):
        published = await calls.command("123XYZ", "hold")
        for _ in range(40):
            if calls.dead:
                break
            await take_and_vanish(calls)
        await calls.until_dead(1)
    assert calls.dead[0].message_id == published.message_id
    assert calls.dead[0].headers["x-first-death-reason"] == "delivery_limit"


@asynccontextmanager
async def delivery_limit(calls: Installation, limit: int) -> AsyncIterator[None]:
    """Have a policy lower the limit that the topology declares: 1000 returns take a minute."""
    rabbitmq = calls.services.rabbitmq
    assert rabbitmq is not None, "policies are set by rabbitmqctl"
    name, pattern = f"{calls.names.commands}.limit", f"^{re.escape(calls.names.commands)}"
    policy = json.dumps({"delivery-limit": limit})
    options = ("--apply-to", "queues", name, pattern, policy)
    await asyncio.to_thread(rabbitmq.ctl, "set_policy", *options)
    try:
        yield
    finally:
        await asyncio.to_thread(rabbitmq.ctl, "clear_policy", name)


async def take_and_vanish(calls: Installation) -> None:
    """Take whatever waits, and lose the connection with it in hand, as a crash would."""
    connection = await broker.connect(calls.services.amqp_url, "about to vanish")
    taken = asyncio.Event()

    async def on_message(_: AbstractIncomingMessage) -> None:
        taken.set()

    channel = await connection.channel()
    for partition in range(calls.settings.partitions):
        queue = await channel.get_queue(calls.names.partition(partition), ensure=False)
        await queue.consume(on_message)
    with suppress(TimeoutError):
        await asyncio.wait_for(taken.wait(), 1)
    await broker.close(connection)
