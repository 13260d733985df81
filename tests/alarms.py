"""What keeps RabbitMQ from confirming: alarms, which block whoever publishes, and mute queues."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from deploy.local import Broker

#: RabbitMQ's own default since 4.0, as a part of the machine's memory.
_WATERMARK: Final = "0.6"

#: A part that no RabbitMQ gets along with.
_TOO_LOW: Final = "0.00001"


@asynccontextmanager
async def memory_alarm(rabbitmq: Broker) -> AsyncIterator[None]:
    """Have RabbitMQ believe that it is out of memory."""
    await _set_watermark(rabbitmq, _TOO_LOW)
    try:
        yield
    finally:
        await _set_watermark(rabbitmq, _WATERMARK)


@asynccontextmanager
async def mute_queue(rabbitmq: Broker, queue: str) -> AsyncIterator[None]:
    """Have a quorum queue that does not answer, as one without its majority."""
    found = f'rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{queue}">>))'
    told = "{{ok, Queue}} = {0}, sys:{1}(amqqueue:get_pid(Queue))."
    await asyncio.to_thread(rabbitmq.ctl, "eval", told.format(found, "suspend"))
    try:
        yield
    finally:
        await asyncio.to_thread(rabbitmq.ctl, "eval", told.format(found, "resume"))


async def _set_watermark(rabbitmq: Broker, part: str) -> None:
    await asyncio.to_thread(rabbitmq.ctl, "set_vm_memory_high_watermark", part)
