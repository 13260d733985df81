"""Partitions that stand still are seen, said and mended."""

import asyncio
import os
import signal

from aio_pika import connect
from aio_pika.abc import AbstractIncomingMessage

from tests.chaos.faults.rabbitmq import GAP_SECONDS
from tests.harness import Installation, eventually
from worker.broker.connection import broker_version, close, open_channel
from worker.broker.connection import connect as connect_plainly
from worker.broker.topology import Queue, topology

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}


async def test_a_partition_that_somebody_else_holds_is_seen_in_log_metric_and_readiness(
    empty: Installation,
) -> None:
    """The broker counts on a consumer that does nothing; once it is gone, the worker goes on."""
    (first,) = await empty.start()
    await first.terminate()
    await empty.subscribe()
    ghost = await connect(empty.services.amqp_url)
    channel = await ghost.channel()
    await channel.set_qos(prefetch_count=1)

    async def nothing(_: AbstractIncomingMessage) -> None:
        """Never acknowledge."""

    partitions = range(empty.settings.partitions)
    for number in partitions:
        queue = await channel.get_queue(empty.names.partition(number), ensure=False)
        await queue.consume(nothing)

    (worker,) = await empty.start(stall_seconds=1)
    # The first is with the ghost; the second waits.
    calls = [await empty.command("123XYZ", "call", **CALL), await empty.command("123XYZ", "hold")]
    await eventually(lambda: worker.logged("partition stalled"), "the log says it")
    assert "partitions stalled" in str(await worker.until_ready(ready=False))
    assert await worker.metric("call_control_stalled_partitions") == 1
    assert await worker.metric("call_control_partition_stalls_total") == 1

    await ghost.close()
    for command in calls:
        assert (await empty.answer(command)).content["status"] == 200
    await worker.until_ready(ready=True)
    assert await worker.metric("call_control_stalled_partitions") == 0


async def redeclare(calls: Installation) -> None:
    """Delete every partition's queue and declare it anew."""
    connection = await connect_plainly(calls.services.amqp_url, "operator")
    channel = await open_channel(connection)
    for queue in partitions_of(calls):
        await queue.delete(channel)
        await asyncio.sleep(GAP_SECONDS if broker_version(connection).startswith("3.") else 0)
        await queue.declare(channel)
    for binding in topology(calls.names, calls.settings.partitions).bindings:
        await binding.declare(channel)
    await close(connection)


def partitions_of(calls: Installation) -> list[Queue]:
    """Return the installation's partition queues."""
    queues = topology(calls.names, calls.settings.partitions).queues
    return [queue for queue in queues if queue.name.startswith(f"{calls.names.commands}.")]


async def test_a_partition_deleted_and_declared_anew_is_subscribed_to_again(
    empty: Installation,
) -> None:
    """RabbitMQ tells nobody that a consumer is gone with its queue."""
    (worker,) = await empty.start(stall_seconds=1)
    await empty.subscribe()
    await empty.ask("123XYZ", "call", **CALL)
    # Or it might look while there is no queue, and begin a new session.
    os.kill(worker.pid, signal.SIGSTOP)
    await redeclare(empty)
    os.kill(worker.pid, signal.SIGCONT)
    assert (await empty.ask("123XYZ", "hold")).content["status"] == 200
    assert worker.logged("partition stalled")
    assert not worker.logged("session lost")
    await worker.until_ready(ready=True)


async def test_a_deleted_partition_is_declared_again(empty: Installation) -> None:
    """Until then its commands come back to their producers as unroutable."""
    (worker,) = await empty.start(stall_seconds=1)
    await empty.subscribe()
    connection = await connect_plainly(empty.services.amqp_url, "operator")
    channel = await open_channel(connection)
    for queue in partitions_of(empty):
        await queue.delete(channel)
    await eventually(lambda: worker.logged("session lost"), "the worker notices")
    await worker.rejoined()
    await close(connection)
    assert (await empty.ask("123XYZ", "call", **CALL)).content["status"] == 200
