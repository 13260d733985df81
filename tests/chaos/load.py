"""Producers: a steady stream of commands, each call's in order, each published until confirmed."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Final

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import DeliveryError
from pamqp.commands import Basic
from pydantic_core import to_json

from tests.chaos.conversations import Conversation, body
from tests.chaos.history import Published
from tests.chaos.timeline import Timeline
from tests.harness import eventually
from worker.broker.connection import (
    Channel,
    broker_errors,
    close,
    connect,
    open_channel,
    until_lost,
)
from worker.errors import BrokerUnavailable

#: Connections that publish.
_PRODUCERS: Final = 3

#: Calls under way at a time.
_CALLS: Final = 150

#: Seconds after which a publish that has not been confirmed is tried again.
_CONFIRM_SECONDS: Final = 20.0

#: Seconds between two attempts.
_AGAIN_SECONDS: Final = 0.1

#: Seconds between two looks at whether there is room for more commands.
_LOOK_SECONDS: Final = 0.01

#: Seconds after which a command that RabbitMQ does not take, or nobody answers, is given up.
_PATIENCE_SECONDS: Final = 90.0

#: Commands that callers have under way at a time; beyond that they wait. A system that is behind
#: is not driven further behind.
_MOST_UNDER_WAY: Final = 1000


class Producer:
    """A connection that publishes, and is opened again whenever it is lost."""

    def __init__(self, amqp_url: str, exchange: str) -> None:
        self._url = amqp_url
        self._exchange = exchange
        self._channel: Channel | None = None
        self._connected = asyncio.Event()
        #: How often a message was published again: its first outcome was unknown, or a refusal.
        self.again = 0

    async def run(self) -> None:
        """Keep connected until cancelled."""
        while True:
            connection: AbstractConnection | None = None
            try:
                connection = await connect(self._url, "producer")
                self._channel = await open_channel(connection, confirms=True)
                self._connected.set()
                await until_lost(connection)
            except BrokerUnavailable:
                self._connected.clear()
                await asyncio.sleep(_AGAIN_SECONDS)
            finally:
                if connection is not None:
                    await close(connection)

    async def publish(self, message: Published, content: bytes) -> None:
        """Publish a message as often as it takes to have it confirmed, with the same id."""
        properties = Basic.Properties(
            content_type="application/json", delivery_mode=2, message_id=message.message_id
        )
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            await self._connected.wait()
            assert self._channel is not None
            try:
                async with broker_errors("publishing", _CONFIRM_SECONDS):
                    await self._channel.basic_publish(
                        content,
                        exchange=self._exchange,
                        routing_key=message.request_id,
                        properties=properties,
                        mandatory=True,
                        wait=False,
                    )
            except (BrokerUnavailable, DeliveryError):
                self.again += 1
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                return
        raise AssertionError(f"RabbitMQ takes no commands for {_PATIENCE_SECONDS:g} s")


@dataclass(eq=False)
class _Call:
    conversation: Conversation
    producer: Producer
    waiting: deque[Published] = field(default_factory=deque)
    publishing: bool = False


class Load:
    """Many calls at once, at a steady rate whatever the servers do.

    Args:
        amqp_url: RabbitMQ.
        exchange: The command exchange.
        random: Where all that is random comes from.
        rate: Commands per second.
        timeline: Where it is noted when a command was wanted.
    """

    def __init__(
        self, amqp_url: str, exchange: str, *, random: Random, rate: float, timeline: Timeline
    ) -> None:
        #: What is confirmed, by call, in order.
        self.published: dict[str, list[Published]] = {}
        self._random = random
        self._rate = rate
        self._timeline = timeline
        self._under_way = timeline.outstanding
        self._producers = [Producer(amqp_url, exchange) for _ in range(_PRODUCERS)]
        self._calls: list[_Call] = []
        self._began = 0
        self._unpublished = 0
        self._running = asyncio.Event()
        self._running.set()

    @property
    def published_again(self) -> int:
        """How often a producer published a message again."""
        return sum(producer.again for producer in self._producers)

    async def run(self) -> None:
        """Publish until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for producer in self._producers:
                tasks.create_task(producer.run())
            due = time.monotonic()
            while True:
                due += 1 / self._rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                while not self._running.is_set() or len(self._under_way) >= _MOST_UNDER_WAY:
                    await asyncio.sleep(_LOOK_SECONDS)
                    due = time.monotonic()
                self._say_something(tasks)

    async def pause(self) -> None:
        """Say nothing more, and return when all that was said is answered."""
        self._running.clear()
        await eventually(
            lambda: self._unpublished == 0 and not self._under_way,
            "everything published is answered",
            _PATIENCE_SECONDS,
        )

    def resume(self) -> None:
        """Go on after ``pause``."""
        self._running.set()

    def _say_something(self, tasks: asyncio.TaskGroup) -> None:
        if len(self._calls) < _CALLS:
            self._calls.append(self._begin())
        at = self._random.randrange(len(self._calls))
        message = next(self._calls[at].conversation.messages, None)
        while message is None:
            self._calls[at] = self._begin()
            message = next(self._calls[at].conversation.messages, None)
        call = self._calls[at]
        call.waiting.append(message)
        self._unpublished += 1
        self._timeline.wanted(message.answered_by)
        if not call.publishing:
            call.publishing = True
            tasks.create_task(self._publish(call))

    def _begin(self) -> _Call:
        request_id = f"call-{self._began}"
        self._began += 1
        conversation = Conversation(request_id, Random(self._random.random()))  # noqa: S311 - a seed
        return _Call(conversation, self._random.choice(self._producers))

    async def _publish(self, call: _Call) -> None:
        """Publish what one call has to say: each message when the one before it is confirmed."""
        while call.waiting:
            message = call.waiting[0]
            content = to_json(body(message, call.conversation.random))
            await call.producer.publish(message, content)
            self.published.setdefault(message.request_id, []).append(message)
            call.waiting.popleft()
            self._unpublished -= 1
        call.publishing = False
