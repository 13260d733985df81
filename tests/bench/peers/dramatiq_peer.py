"""The job on Dramatiq: an actor for each message, on the threads of one process.

As in Dramatiq's documentation, "User Guide" and "Best Practices" (https://dramatiq.io/guide.html):
an actor with simple arguments, a client of Redis that all threads share, the broker's own channel
of the current thread, with confirms, to publish on. Threads and prefetch are the defaults, eight
and two for each thread. Dramatiq declares classic queues, so the type is added here.
"""

from typing import Any

import dramatiq
import pika  # type: ignore[import-untyped]  # it has no types
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from redis import Redis

from tests.bench.peers.job import KEPT_SECONDS, Command, Place, decide


class QuorumBroker(RabbitmqBroker):
    """Dramatiq's broker, with quorum queues."""

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        arguments: dict[str, Any] = super()._build_queue_arguments(queue_name)  # type: ignore[no-untyped-call]  # it has no types
        return {**arguments, "x-queue-type": "quorum"}


place = Place.from_environment()
broker = QuorumBroker(url=place.amqp_url, confirm_delivery=True)
dramatiq.set_broker(broker)
redis = Redis.from_url(place.redis_url)


@dramatiq.actor(queue_name=place.queue)
def on_command(body: dict[str, str], command_id: str) -> None:
    """Do the job; Dramatiq acknowledges the command when this returns."""
    command = Command.model_validate(body)
    key = place.key(command)
    state, event = decide(redis.get(key), command)
    redis.set(key, state, ex=KEPT_SECONDS)
    broker.channel.basic_publish(
        exchange=place.events,
        routing_key=event.routing_key,
        body=event.model_dump_json().encode(),
        properties=pika.BasicProperties(
            content_type="application/json", delivery_mode=2, correlation_id=command_id
        ),
        mandatory=True,
    )
