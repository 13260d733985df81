"""A limit: the same work at the broker and nothing else, at the level below aio-pika.

Consume with a prefetch, publish with a confirm and without waiting for the socket
(``wait=False``), acknowledge everything that has arrived at once (``multiple=True``). There is no
logic and no Redis, and every event has the same body.
"""

import asyncio
from typing import cast

import aiormq
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from tests.bench.peers.job import Event, Place

_PREFETCH = 1000

_BODY = Event(event="call_held", request_id="any", status=200, reason="OK").model_dump_json()


async def main() -> None:
    """Consume until the process is ended."""
    place = Place.from_environment()
    connection = await aiormq.connect(place.amqp_url)
    consuming = await connection.channel(publisher_confirms=False)
    publishing = cast(
        "aiormq.Channel",
        await connection.channel(publisher_confirms=True, on_return_raises=True),
    )
    arrived: asyncio.Queue[DeliveredMessage] = asyncio.Queue()

    async def on_message(message: DeliveredMessage) -> None:
        arrived.put_nowait(message)

    await consuming.basic_qos(prefetch_count=_PREFETCH)
    await consuming.basic_consume(place.queue, on_message)
    body = _BODY.encode()
    while True:
        batch = [await arrived.get()]
        while not arrived.empty():
            batch.append(arrived.get_nowait())
        await asyncio.gather(
            *(
                publishing.basic_publish(
                    body,
                    exchange=place.events,
                    routing_key="call_held.any",
                    properties=Basic.Properties(
                        delivery_mode=2,
                        correlation_id=message.header.properties.correlation_id,
                    ),
                    mandatory=True,
                    wait=False,
                )
                for message in batch
            )
        )
        await consuming.basic_ack(batch[-1].delivery_tag or 0, multiple=True)


if __name__ == "__main__":
    asyncio.run(main())
