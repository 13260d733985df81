"""What arrives where an installation publishes: in a producer's own queue, and in the journal."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aio_pika.abc import AbstractIncomingMessage

from tests.harness import PATIENCE_SECONDS, Installation

#: Entries of the journal under way at a time; a stream gives none without a limit.
_PREFETCH = 1000


@asynccontextmanager
async def asked(calls: Installation) -> AsyncIterator[tuple[str, list[AbstractIncomingMessage]]]:
    """Yield the name of a queue of the producer's own, and what arrives in it."""
    channel = await calls.connection.channel()
    queue = await channel.declare_queue(exclusive=True)
    arrived: list[AbstractIncomingMessage] = []

    async def keep(message: AbstractIncomingMessage) -> None:
        arrived.append(message)

    await queue.consume(keep, no_ack=True)
    yield queue.name, arrived
    await channel.close()


async def journal(calls: Installation, until: str) -> list[AbstractIncomingMessage]:
    """Return what the journal holds, from its first entry to the one with a ``message_id``."""
    channel = await calls.connection.channel()
    await channel.set_qos(prefetch_count=_PREFETCH)
    queue = await channel.get_queue(calls.names.journal, ensure=False)
    arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    await queue.consume(arrived.put, arguments={"x-stream-offset": "first"})
    entries: list[AbstractIncomingMessage] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not entries or entries[-1].message_id != until:
            entries.append(await arrived.get())
            await entries[-1].ack()
    await channel.close()
    return entries
