"""The job on taskiq with taskiq-aio-pika: a task for each message, in one worker process.

As in taskiq's documentation, "Getting started" and "State and events"
(https://taskiq-python.github.io/guide/): a task whose arguments taskiq validates, and connections
made when the worker starts. taskiq-aio-pika's queues are quorum queues by default; its prefetch
is 10 by default and 100 here, as many as taskiq runs tasks at once and as the others have.
"""

from typing import Annotated

import aio_pika
from redis.asyncio import Redis
from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_aio_pika import AioPikaBroker, Exchange, Queue

from tests.bench.peers.job import KEPT_SECONDS, PREFETCH, Command, Place, decide

place = Place.from_environment()
broker = AioPikaBroker(
    place.amqp_url,
    qos=PREFETCH,
    exchange=Exchange(name=f"{place.queue}.tasks"),
    task_queues=[Queue(name=place.queue)],
    dead_letter_queue=Queue(name=f"{place.queue}.dead"),
)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def connect(state: TaskiqState) -> None:
    """Connect, in the process that runs the tasks."""
    state.redis = Redis.from_url(place.redis_url)
    state.connection = await aio_pika.connect_robust(place.amqp_url)
    channel = await state.connection.channel(publisher_confirms=True, on_return_raises=True)
    state.events = await channel.get_exchange(place.events, ensure=False)


@broker.task(task_name="on_command")
async def on_command(
    command: Command, command_id: str, context: Annotated[Context, TaskiqDepends()]
) -> None:
    """Do the job; taskiq acknowledges the command when this returns."""
    redis, key = context.state.redis, place.key(command)
    state, event = decide(await redis.get(key), command)
    await redis.set(key, state, ex=KEPT_SECONDS)
    await context.state.events.publish(
        aio_pika.Message(
            event.model_dump_json().encode(),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            correlation_id=command_id,
        ),
        routing_key=event.routing_key,
        mandatory=True,
    )
