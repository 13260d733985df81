"""A broker that is short of memory, or does not confirm, is waited for."""

import asyncio
import os
import signal
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pamqp import frame
from pamqp.commands import Basic
from yarl import URL

from tests.alarms import memory_alarm, mute_queue
from tests.chaos.proxy import Proxy
from tests.harness import Installation, eventually
from tests.messages import Seen

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}


async def test_commands_are_held_while_rabbitmq_blocks_publishing(empty: Installation) -> None:
    """The worker is not ready, loses no session over it, and goes on by itself."""
    rabbitmq = empty.services.rabbitmq
    assert rabbitmq is not None, "RabbitMQ has to be one that the tests may alarm"
    (worker,) = await empty.start(confirm_seconds=1)
    await empty.subscribe()
    os.kill(worker.pid, signal.SIGSTOP)
    published = [await empty.command(f"call-{n}", "call", **CALL) for n in range(20)]
    async with memory_alarm(rabbitmq):
        os.kill(worker.pid, signal.SIGCONT)
        await eventually(lambda: worker.logged("publishing blocked"), "it notices")
        assert "blocks publishing" in str(await worker.until_ready(ready=False))
        # Three times as long as a batch may take to be confirmed.
        await asyncio.sleep(3)
        assert empty.events == []
    for command in published:
        await empty.answer(command)
    await worker.until_ready(ready=True)
    assert not worker.logged("session lost")
    assert len(empty.events) == len(published)


@asynccontextmanager
async def unconfirming_subscriber(calls: Installation) -> AsyncIterator[None]:
    """Have a subscriber whose quorum queue does not answer, as one without its majority."""
    rabbitmq = calls.services.rabbitmq
    assert rabbitmq is not None, "RabbitMQ has to be one that the tests may disturb"
    # Not deleted here: a queue that goes while messages are on their way to it may take a
    # connection along (541 INTERNAL_ERROR).
    queue = await calls.producer.declare_queue(
        f"{calls.names.events}.silent",
        durable=True,
        arguments={"x-queue-type": "quorum", "x-expires": 60_000},
    )
    await queue.bind(calls.names.events, "#")
    async with mute_queue(rabbitmq, queue.name):
        yield


async def test_commands_are_held_while_a_subscribers_queue_does_not_confirm(
    empty: Installation,
) -> None:
    """No command is delivered again meanwhile, however long it takes; subscribers see copies."""
    (worker,) = await empty.start(confirm_seconds=1)
    await empty.subscribe()
    async with unconfirming_subscriber(empty):
        published = [await empty.command(f"call-{n}", "call", **CALL) for n in range(20)]
        await eventually(lambda: worker.logged("events not confirmed"), "it notices")
        assert await worker.metric("call_control_events_unconfirmed") == 1
        # Four times as long as a batch may take to be confirmed.
        await asyncio.sleep(4)
    for command in published:
        await empty.answer(command)
    assert (await empty.ask("call-0", "hold")).sequence == 2
    assert not worker.logged("session lost"), worker.log.read_text()
    assert len({event.message_id for event in empty.events}) == len(published) + 1
    assert await worker.metric("call_control_events_unconfirmed") == 0


def copies(calls: Installation, event: Seen) -> list[Seen]:
    """Return how often an event has come."""
    return [each for each in calls.events if each.message_id == event.message_id]


async def test_a_confirm_that_got_lost_costs_seconds_and_a_copy(empty: Installation) -> None:
    """A RabbitMQ node that is cut off for a moment loses confirms, and events, for ever."""
    lost: list[bytes] = []

    def without_first_confirm(chunk: bytes) -> bytes:
        kept = b""
        while chunk:
            size = frame.frame_parts(chunk)[2] or 0
            whole, chunk = chunk[: size + 8], chunk[size + 8 :]
            if not lost and whole[0] == 1 and whole[7:11] == struct.pack(">I", Basic.Ack.index):
                lost.append(whole)
            else:
                kept += whole
        return kept

    url = URL(empty.services.amqp_url)
    assert url.host is not None
    proxy = Proxy(url.host, url.port or 5672)
    await proxy.start()
    behind = str(url.with_host("127.0.0.1").with_port(proxy.port))
    (worker,) = await empty.start(confirm_seconds=0.5, amqp_url=behind)
    await empty.subscribe()
    async with proxy.filtering_replies(without_first_confirm):
        call = await empty.ask("call-0", "call", **CALL)
        assert (await empty.ask("call-0", "hold")).sequence == 2
        await eventually(lambda: len(copies(empty, call)) > 1, "it is published again")
    assert len(copies(empty, call)) == 2
    assert lost
    assert worker.logged("events not confirmed")
    assert not worker.logged("session lost")
    await proxy.close()
