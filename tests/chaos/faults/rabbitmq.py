"""RabbitMQ restarted, killed, out of memory; connections and queues that fail."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from tests import alarms
from tests.chaos.target import Target, fault
from tests.harness import eventually
from worker.broker.connection import broker_errors, broker_version, close, connect, open_channel
from worker.broker.topology import topology

_COMPONENT: Final = "RabbitMQ"

#: RabbitMQ before 4.0 takes a moment to tell its channels that a queue is gone. One that is
#: declared within it keeps their consumers, and never delivers; so an operator has to wait, in
#: seconds.
GAP_SECONDS: Final = 0.5


@fault(_COMPONENT, "restarted")
async def restarted(target: Target) -> AsyncIterator[None]:
    """Stopped cleanly and started."""
    await asyncio.to_thread(target.rabbitmq.stop)
    try:
        yield
    finally:
        await asyncio.to_thread(target.rabbitmq.start)


@fault(_COMPONENT, "killed")
async def killed(target: Target) -> AsyncIterator[None]:
    """SIGKILL, and started."""
    await asyncio.to_thread(target.rabbitmq.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(target.rabbitmq.start)


@fault(_COMPONENT, "memory alarm for 5 s", lasting=5)
async def memory_alarm(target: Target) -> AsyncIterator[None]:
    """Publishers are blocked, the workers' too."""
    async with alarms.memory_alarm(target.rabbitmq):
        yield


@fault(_COMPONENT, "one connection half open", lasting=11, felt_from="fault")
async def half_open(target: Target) -> AsyncIterator[None]:
    """Nothing passes on it any more, and nobody is told."""
    # Another fault may have cut them all.
    await eventually(lambda: bool(target.amqp_proxy.links), "a worker is connected")
    link = target.random.choice(target.amqp_proxy.links)
    async with target.amqp_proxy.half_open(link):
        yield


@fault(
    _COMPONENT,
    "a partition's queue deleted and declared anew",
    # Until there are commands in it that wait.
    lasting=2,
    felt_from="fault",
    mixes=False,
)
async def partition_redeclared(target: Target) -> AsyncIterator[None]:
    """While nobody publishes, since what is in a queue goes with it; no worker is told."""
    installation = target.installation
    name = installation.names.partition(target.random.randrange(installation.settings.partitions))
    wanted = topology(installation.names, installation.settings.partitions)
    queue = next(each for each in wanted.queues if each.name == name)
    binding = next(each for each in wanted.bindings if each.destination == name)
    connection = await connect(installation.services.amqp_url, "operator")
    try:
        await target.load.pause()
        channel = await open_channel(connection)
        async with broker_errors("declaring a queue anew"):
            await queue.delete(channel)
            if broker_version(connection).startswith("3."):
                await asyncio.sleep(GAP_SECONDS)
            await queue.declare(channel)
            await binding.declare(channel)
    finally:
        target.load.resume()
        await close(connection)
    yield


@fault(_COMPONENT, "a subscriber's queue full for 4 s", lasting=4)
async def subscriber_full(target: Target) -> AsyncIterator[None]:
    """Events are refused, against the advice to subscribers, until the queue is deleted."""
    names = target.installation.names
    full = f"{names.events}.full"
    connection = await connect(target.installation.services.amqp_url, "full subscriber")
    try:
        channel = await open_channel(connection)
        async with broker_errors("filling a queue"):
            await channel.queue_declare(
                full, arguments={"x-max-length": 10, "x-overflow": "reject-publish"}
            )
            await channel.queue_bind(full, names.events, "#")
        try:
            yield
        finally:
            async with broker_errors("deleting a queue"):
                await channel.queue_delete(full)
    finally:
        await close(connection)
