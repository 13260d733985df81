"""The job on FastStream: a handler for each message.

As in FastStream's documentation, "RabbitMQ: Basic Publishing", "Quorum queues" and "Logging"
(https://faststream.ag2.ai/latest/rabbit/): a typed handler, the framework's own validation and
acknowledgement, a publisher object, ``prefetch_count`` by the default channel. Its two log lines
for each message are off, since none of the others logs messages.
"""

import asyncio

from faststream import FastStream
from faststream.rabbit import (
    Channel,
    ExchangeType,
    QueueType,
    RabbitBroker,
    RabbitExchange,
    RabbitMessage,
    RabbitQueue,
)
from redis.asyncio import Redis

from tests.bench.peers.job import KEPT_SECONDS, PREFETCH, Command, Place, decide

place = Place.from_environment()
broker = RabbitBroker(
    place.amqp_url,
    default_channel=Channel(prefetch_count=PREFETCH, on_return_raises=True),
    logger=None,
)
events = RabbitExchange(place.events, type=ExchangeType.TOPIC, durable=True)
publisher = broker.publisher(exchange=events, persist=True, mandatory=True)
redis = Redis.from_url(place.redis_url)


@broker.subscriber(RabbitQueue(place.queue, queue_type=QueueType.QUORUM))
async def on_command(command: Command, message: RabbitMessage) -> None:
    """Do the job; FastStream acknowledges the command when this returns."""
    key = place.key(command)
    state, event = decide(await redis.get(key), command)
    await redis.set(key, state, ex=KEPT_SECONDS)
    await publisher.publish(
        event, routing_key=event.routing_key, correlation_id=message.correlation_id
    )


if __name__ == "__main__":
    asyncio.run(FastStream(broker, logger=None).run())
