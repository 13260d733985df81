"""A broker that is short of memory is waited for."""

import asyncio
import os
import signal

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
