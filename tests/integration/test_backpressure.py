"""A broker that is short of memory, or does not confirm, is waited for."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.alarms import memory_alarm
from tests.harness import Installation, eventually

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
    queue = await calls.producer.declare_queue(
        f"{calls.names.events}.silent", durable=True, arguments={"x-queue-type": "quorum"}
    )
    await queue.bind(calls.names.events, "#")
    found = f'rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{queue.name}">>))'
    told = "{{ok, Queue}} = {0}, sys:{1}(amqqueue:get_pid(Queue))."
    await asyncio.to_thread(rabbitmq.ctl, "eval", told.format(found, "suspend"))
    try:
        yield
    finally:
        await asyncio.to_thread(rabbitmq.ctl, "eval", told.format(found, "resume"))
        await queue.delete(if_unused=False, if_empty=False)


async def test_commands_are_held_while_a_subscribers_queue_does_not_confirm(
    empty: Installation,
) -> None:
    """Nothing is delivered again meanwhile, however long it takes, and nothing said twice."""
    (worker,) = await empty.start(confirm_seconds=0.5)
    await empty.subscribe()
    async with unconfirming_subscriber(empty):
        published = [await empty.command(f"call-{n}", "call", **CALL) for n in range(20)]
        await eventually(lambda: worker.logged("events not confirmed"), "it notices")
        assert await worker.metric("call_control_events_unconfirmed") == 1
        # Four times as long as a batch may take to be confirmed.
        await asyncio.sleep(2)
    for command in published:
        await empty.answer(command)
    assert (await empty.ask("call-0", "hold")).sequence == 2
    assert not worker.logged("session lost")
    assert len(empty.events) == len(published) + 1
    assert await worker.metric("call_control_events_unconfirmed") == 0
