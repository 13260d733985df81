"""The job on plain aio-pika: a callback for each message.

As in aio-pika's documentation, "Quick start" and the tutorial's "Work Queues"
(https://docs.aio-pika.com/): a robust connection, ``set_qos``, ``message.process()`` around the
work, and a channel of its own to publish on, with confirms.
"""

import asyncio

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from redis.asyncio import Redis

from tests.bench.peers.job import KEPT_SECONDS, PREFETCH, Command, Place, decide


async def main() -> None:
    """Consume until the process is ended."""
    place = Place.from_environment()
    redis = Redis.from_url(place.redis_url)
    connection = await aio_pika.connect_robust(place.amqp_url)
    async with connection:
        publishing = await connection.channel(publisher_confirms=True, on_return_raises=True)
        events = await publishing.get_exchange(place.events, ensure=False)
        consuming = await connection.channel()
        await consuming.set_qos(prefetch_count=PREFETCH)
        queue = await consuming.declare_queue(
            place.queue, durable=True, arguments={"x-queue-type": "quorum"}
        )

        async def on_message(message: AbstractIncomingMessage) -> None:
            async with message.process():
                command = Command.model_validate_json(message.body)
                key = place.key(command)
                state, event = decide(await redis.get(key), command)
                await redis.set(key, state, ex=KEPT_SECONDS)
                await events.publish(
                    aio_pika.Message(
                        event.model_dump_json().encode(),
                        content_type="application/json",
                        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                        correlation_id=message.correlation_id,
                    ),
                    routing_key=event.routing_key,
                    mandatory=True,
                )

        await queue.consume(on_message)
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main())
