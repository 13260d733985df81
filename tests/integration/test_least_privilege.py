"""The users in ``deploy/rabbitmq/definitions.json`` can each do their work."""

import asyncio
import json
import re
import secrets
from dataclasses import dataclass
from typing import Any

import pytest
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ProbableAuthenticationError
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from yarl import URL

from deploy.local import Services
from tests.guarded import LONGEST, PASSWORD, guarded_installation, set_passwords
from tests.harness import PATIENCE_SECONDS, eventually
from tests.integration.test_cli import callctl
from worker.broker import connection as broker
from worker.broker.connection import Channel, open_channel
from worker.broker.declaring import declare
from worker.broker.topology import MARK, topology
from worker.client import CallControl, Event, Subscription
from worker.errors import BrokerUnavailable
from worker.names import Names


async def first(events: Subscription) -> Event:
    """Return the first event."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for event in events:
            return event
    raise AssertionError("the subscription has ended")


async def test_imported_users_cannot_log_in_before_they_have_a_password(
    services: Services,
) -> None:
    """A file in a repository holds no secret, and lets nobody in without one."""
    async with guarded_installation(services) as guarded:
        for password in (PASSWORD, "", "x"):
            url = URL(guarded.url("topology")).with_password(password)
            with pytest.raises(BrokerUnavailable) as caught:
                await broker.connect(str(url), "nobody")
            assert isinstance(caught.value.__cause__, ProbableAuthenticationError)


async def test_each_user_can_do_its_work(services: Services) -> None:
    """From an empty broker to a reply, an event, the journal and a dead letter put back."""
    async with guarded_installation(services) as guarded:
        await set_passwords(guarded)
        calls, names = guarded.calls, guarded.names
        calls.environment["CALL_CONTROL_AMQP_URL"] = guarded.url("topology")
        found = await callctl(calls, "topology", "apply")
        assert found == (0, "3 exchanges, 10 queues and 10 bindings are in place\n", "")
        calls.environment["CALL_CONTROL_AMQP_URL"] = guarded.url("worker")
        code, _, errors = await callctl(calls, "topology", "apply")
        assert (code, errors.count("\n")) == (2, 1)
        # RabbitMQ 3.10 does not say which access.
        assert re.match(r"callctl: RabbitMQ: ACCESS_REFUSED - (configure )?access to queue", errors)
        (worker,) = await calls.start()
        async with (
            guarded.acting_as("producer") as producing,
            guarded.acting_as("subscriber") as subscribing,
            guarded.acting_as("operator") as operating,
        ):
            durable = await subscribe(subscribing, names)
            following = CallControl(guarded.url("subscriber"), namespace=names.namespace)
            async with following as client, client.events() as events:
                reply = await ask(producing, names, {"call_control": "hold", "request_id": "1"})
                assert (await taken(durable)).body == reply.body
                event = await first(events)
            assert event.correlation_id == reply.header.properties.correlation_id
            assert event.status == 481
            journal = await consume(subscribing, names.journal, {"x-stream-offset": "first"})
            # The worker has found it empty.
            assert (await taken(journal)).header.properties.message_type == MARK
            assert (await taken(journal)).body == reply.body

            malformed = await ask(producing, names, {"call_control": "call", "request_id": "1"})
            await put_back_a_dead_letter(operating, names)
            for _ in range(2):
                copy = await taken(durable)
                assert copy.body == malformed.body
                assert copy.header.properties.message_id == malformed.header.properties.message_id
        assert await worker.terminate() == 0


async def test_callctl_does_its_work_as_the_user_that_the_page_names(services: Services) -> None:
    """Publish, take dead letters back, restore Redis; refused in a line as another user."""
    async with guarded_installation(services) as guarded:
        await set_passwords(guarded)
        calls = guarded.calls

        async def run(role: str, *arguments: str) -> tuple[int, str, str]:
            calls.environment["CALL_CONTROL_AMQP_URL"] = guarded.url(role)
            return await callctl(calls, *arguments)

        assert (await run("topology", "topology", "apply"))[0] == 0
        await calls.subscribe()
        body = {"call_control": "accept", "request_id": "1", "endpoint": "tel:+18166623395"}
        late = await calls.publish("1", body, expiration=0.01)
        await calls.until_dead(1)
        calls.environment["CALL_CONTROL_AMQP_URL"] = guarded.url("worker")
        (worker,) = await calls.start()

        code, output, errors = await run("worker", "dead", "list")
        assert (code, output, errors.count("\n")) == (3, "", 1)
        assert "ACCESS_REFUSED" in errors
        code, output, errors = await run("operator", "dead", "list", "--json")
        assert (code, errors) == (0, "")
        letter = json.loads(output)
        assert letter["message_id"] == late.message_id
        assert (await run("operator", "dead", "show", letter["id"]))[0] == 0
        code, output, errors = await run("operator", "dead", "replay", "--all", "--yes")
        assert (code, errors) == (0, ""), output
        assert (await calls.answer(late)).content["status"] == 200
        assert (await run("operator", "dead", "list"))[0] == 1

        code, output, errors = await run("producer", "send", "mute", "1", "--wait", "--json")
        assert (code, json.loads(output)["event"], errors) == (0, "call_muted", "")
        code, output, errors = await run("producer", "send", "hold", "1")
        assert (code, errors) == (0, "")
        assert (await calls.answer_to(output.split()[-1])).content["status"] == 200

        assert await worker.terminate() == 0
        await calls.redis.delete(f"{calls.names.call_prefix}1")
        assert (await run("operator", "rebuild"))[0] == 3
        code, output, errors = await run("worker", "rebuild", "--json")
        assert (code, errors) == (0, "")
        report = json.loads(output.splitlines()[-1])
        assert (report["calls"], report["records"]) == (1, 3)
        assert (await run("worker", "show", "1"))[0] == 0

        await calls.publish("1", body, expiration=0.01)
        await calls.until_dead(2)
        code, output, errors = await run("operator", "dead", "drop", "--all", "--yes")
        assert (code, errors) == (0, ""), output
        assert (await run("operator", "dead", "list"))[0] == 1


async def ask(connection: AbstractConnection, names: Names, body: object) -> DeliveredMessage:
    """Publish a command, and return the answer that comes by direct reply-to."""
    replies = await consume(connection, "amq.rabbitmq.reply-to", no_ack=True)
    properties = Basic.Properties(
        message_id=secrets.token_hex(8), reply_to="amq.rabbitmq.reply-to", delivery_mode=2
    )
    await replies.channel.basic_publish(
        json.dumps(body).encode(),
        exchange=names.commands,
        routing_key="1",
        properties=properties,
        mandatory=True,
    )
    return await taken(replies)


async def subscribe(connection: AbstractConnection, names: Names) -> "Consumed":
    """Subscribe by a durable queue of one's own."""
    channel = await open_channel(connection)
    queue = f"{names.base}.subscriber.billing"
    await channel.queue_declare(queue, durable=True)
    await channel.queue_bind(queue, names.events, "#")
    return await consume(connection, queue)


async def put_back_a_dead_letter(connection: AbstractConnection, names: Names) -> None:
    """Publish a dead letter where it came from, and take it out of the queue."""
    channel = await open_channel(connection, confirms=True)
    dead = await channel.basic_get(names.dead_letters)
    headers = dead.header.properties.headers or {}
    await channel.basic_publish(
        dead.body,
        exchange=str(headers["original_exchange"]),
        routing_key=str(headers["original_routing_key"]),
        properties=Basic.Properties(message_id=dead.header.properties.message_id),
        mandatory=True,
    )
    await channel.basic_ack(dead.delivery_tag or 0)


@dataclass
class Consumed:
    """What arrives from a queue, and its channel."""

    channel: Channel
    messages: "asyncio.Queue[DeliveredMessage]"


async def consume(
    connection: AbstractConnection,
    queue: str,
    arguments: dict[str, Any] | None = None,
    *,
    no_ack: bool = False,
) -> Consumed:
    """Consume a queue, on a channel of its own with confirms."""
    channel = await open_channel(connection, confirms=True)
    consumed = Consumed(channel, asyncio.Queue())

    async def on_message(message: DeliveredMessage) -> None:
        consumed.messages.put_nowait(message)

    await channel.basic_qos(prefetch_count=100)
    await channel.basic_consume(queue, on_message, arguments=arguments, no_ack=no_ack)
    return consumed


async def taken(consumed: Consumed) -> DeliveredMessage:
    """Wait for the next message."""
    return await asyncio.wait_for(consumed.messages.get(), PATIENCE_SECONDS)


async def test_a_full_queue_of_a_subscriber_drops_its_oldest_and_nothing_else_drops_any(
    services: Services,
) -> None:
    """Else events of all would wait for one subscriber; a partition that drops loses commands."""
    async with guarded_installation(services, LONGEST.replace("100000", "3")) as guarded:
        await set_passwords(guarded)
        names, partitions = guarded.names, guarded.calls.settings.partitions
        async with guarded.acting_as("topology") as connection:
            await declare(connection, topology(names, partitions))
        own = {
            f"{names.base}.subscriber.classic": {},
            f"{names.base}.subscriber.quorum": {
                "x-queue-type": "quorum",
                "x-overflow": "reject-publish",
            },
        }
        async with guarded.acting_as("subscriber") as subscribing:
            channel = await open_channel(subscribing)
            for queue, arguments in own.items():
                await channel.queue_declare(queue, durable=True, arguments=dict(arguments))
                await channel.queue_bind(queue, names.events, "#")
            for role, exchange in {
                "worker": names.events,
                "producer": names.commands,
                "topology": names.dead_letters,
            }.items():
                async with guarded.acting_as(role) as publishing:
                    publisher = await open_channel(publishing, confirms=True)
                    for number in range(20):
                        await publisher.basic_publish(b"%d" % number, exchange=exchange)
            for queue in own:
                assert await everything_in(channel, queue) == [b"17", b"18", b"19"]
            journal = await consume(subscribing, names.journal, {"x-stream-offset": "first"})
            await eventually(lambda: journal.messages.qsize() == 20, "the journal has every event")
            for queue in own:
                await channel.queue_delete(queue)
        async with guarded.acting_as("worker") as working:
            waiting = [await consume(working, names.partition(n)) for n in range(partitions)]
            await eventually(
                lambda: sum(partition.messages.qsize() for partition in waiting) == 20,
                "the partitions have every command",
            )
        async with guarded.acting_as("operator") as operating:
            channel = await open_channel(operating)
            assert len(await everything_in(channel, names.dead_letters)) == 20


async def everything_in(channel: Channel, queue: str) -> list[bytes]:
    """Take all that is in a queue."""
    bodies: list[bytes] = []
    while True:
        message = await channel.basic_get(queue, no_ack=True)
        if message.delivery_tag is None:
            return bodies
        bodies.append(message.body)
