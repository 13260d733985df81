"""A gateway's side of RabbitMQ: actions come in, reports go out.

It is all that a gateway needs to know of the workers, whatever network is behind it.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, NamedTuple

import structlog
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pydantic_core import to_json
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from schemas.actions import Action
from schemas.reports import Report
from schemas.wire import Malformed, read_action
from worker.broker import connection as broker
from worker.broker.connection import Channel, Connection, broker_errors, open_channel
from worker.broker.declaring import declare, find
from worker.broker.encoding import PERSISTENT
from worker.broker.publisher import Batch, Outgoing, Publisher, open_publisher
from worker.broker.topology import gateway_topology, topology_of
from worker.errors import BrokerUnavailable, MayNotConfigure
from worker.names import Names
from worker.settings import Settings

#: Actions that may be in hand. Each takes as long as a telephone network does, and many calls are
#: set up at once; what is not in hand expires, and is answered with 503.
_PREFETCH: Final = 2000

#: Seconds between two looks at whether another process has the gateway's queue.
_LOOK_SECONDS: Final = 0.5

#: Seconds between two looks at whether RabbitMQ blocks what waits for a confirm.
_CONFIRM_SECONDS: Final = 10.0

#: Seconds that RabbitMQ may take to confirm a report, unless it blocks, before what has no confirm
#: is said again on another channel. Each copy is kept until then, here and on its way.
_MOST_CONFIRM_SECONDS: Final = 60.0

_log: Final = structlog.get_logger(__name__)


class _Refused(BrokerUnavailable):
    """Raised while a partition takes no more."""


class Taken(NamedTuple):
    """An action in hand.

    Attributes:
        action: What to do.
        redelivered: Whether it may have been begun before, here or by another process.
        channel: Where it was delivered.
        tag: Its delivery tag there.
    """

    action: Action
    redelivered: bool
    channel: Channel
    tag: int


class Port:
    """A gateway's queue, and the way back.

    Args:
        consuming: A connection to consume on.
        publishing: Another one to publish on, which RabbitMQ may block.
        names: The installation's names.
        gateway: The gateway's name, which every report says.
    """

    def __init__(
        self, consuming: Connection, publishing: Connection, names: Names, gateway: str
    ) -> None:
        self.gateway = gateway
        self._consuming = consuming
        self._publishing = publishing
        self._names = names
        self._channel: Channel | None = None
        self._publisher: Publisher | None = None
        self._opening = asyncio.Lock()
        self._arrived: deque[Taken] = deque()
        self._wake = asyncio.Event()

    async def claim(self) -> None:
        """Wait until no other process has the gateway's queue, and take what comes from then on.

        Two that look at the same moment both consume; RabbitMQ serves the first, and the network
        tells one of them that the other is there.

        Raises:
            BrokerUnavailable: The connection is gone.
        """
        queue = self._names.gateway(self.gateway)
        channel = await open_channel(self._consuming)
        while True:
            async with broker_errors("looking at the gateway's queue"):
                found = await channel.queue_declare(queue, passive=True)
            if not found.consumer_count:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        channel.closing.add_done_callback(lambda _: self._wake.set())
        self._channel = channel
        async with broker_errors("consuming actions"):
            await channel.basic_qos(prefetch_count=_PREFETCH)
            await channel.basic_consume(queue, self._on_message)

    async def take(self) -> Taken:
        """Return the next action, in their order.

        Raises:
            BrokerUnavailable: The connection is gone.
        """
        while not self._arrived:
            if self._channel is None or self._channel.is_closed:
                raise BrokerUnavailable("RabbitMQ: connection lost while waiting for actions")
            self._wake.clear()
            await self._wake.wait()
        return self._arrived.popleft()

    async def settle(self, taken: Taken, *, heard: bool = False) -> None:
        """Acknowledge an action: its report is confirmed, or the network remembers it.

        One that is not acknowledged comes back, and by then may have expired; so it is answered
        as if nobody had taken it.

        Args:
            taken: The action.
            heard: Whether to wait until RabbitMQ has heard it, which says nothing to an
                acknowledgement, but answers what comes behind it on the channel.

        Raises:
            BrokerUnavailable: The connection is gone, and it will come back.
        """
        async with broker_errors("settling an action"):
            await taken.channel.basic_ack(taken.tag)
            if heard:
                await taken.channel.basic_qos(prefetch_count=_PREFETCH)

    async def say(self, report: Report) -> None:
        """Publish a report, and return when RabbitMQ has it.

        A partition that is full is waited for: what the network has done cannot be undone.

        Raises:
            BrokerUnavailable: The connection is gone, or RabbitMQ has not confirmed what was said
                for too long. It may have been published or not; said once more, it changes nothing.
        """
        message = self._message(report)
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(_Refused),
            wait=wait_random_exponential(multiplier=0.1, max=2.0),
        ):
            with attempt:
                await self._publish(message)

    async def until_lost(self) -> None:
        """Wait until a connection is gone.

        Raises:
            BrokerUnavailable: Always, then.
        """
        await broker.until_lost(self._consuming, self._publishing)

    async def _publish(self, message: Outgoing) -> None:
        publisher = await self._open_publisher()
        batch = publisher.publish([message], mandatory=True)
        await self._answered(batch, publisher)
        if batch.refused:
            why = batch.refused[0]
            _log.warning("report refused", why=why)
            raise _Refused(f"RabbitMQ has not taken a report: {why}")

    async def _open_publisher(self) -> Publisher:
        # A new connection finds many calls that have something to say; they share one channel.
        async with self._opening:
            if self._publisher is None or not self._publisher.is_open:
                self._publisher = await open_publisher(self._publishing)
            return self._publisher

    async def _answered(self, batch: Batch, publisher: Publisher) -> None:
        """Wait until RabbitMQ has said something of a batch, however long it blocks.

        Raises:
            BrokerUnavailable: It no longer can, or has not for too long: then another channel is
                to be opened. This one stays, since one that waits for a queue would not close.
        """
        waited = 0.0
        while not batch.done.done():
            done, _ = await asyncio.wait([batch.done], timeout=_CONFIRM_SECONDS)
            if done or await broker.is_blocked(self._publishing):
                continue
            waited += _CONFIRM_SECONDS
            if waited >= _MOST_CONFIRM_SECONDS:
                if self._publisher is publisher:
                    self._publisher = None
                publisher.abandon(f"no confirm in {waited:g} s")
        batch.done.result()

    def _message(self, report: Report) -> Outgoing:
        named = report.model_copy(update={"gateway": self.gateway})
        return Outgoing(
            exchange=self._names.commands,
            routing_key=report.request_id,
            body=to_json(named.model_dump(exclude_none=True)),
            encoded=Basic.Properties(
                content_type="application/json",
                delivery_mode=PERSISTENT,
                message_id=secrets.token_hex(16),
                message_type=report.network_report.value,
            ).marshal(),
            order=report.request_id,
        )

    async def _on_message(self, message: DeliveredMessage) -> None:
        channel, tag = self._channel, message.delivery_tag
        if channel is None or tag is None:
            return
        action = read_action(message.body)
        if isinstance(action, Malformed):
            # It goes back to the commands, and from there to the dead letters.
            _log.error("action cannot be read", field=action.field, why=action.problem)
            async with broker_errors("refusing an action"):
                await channel.basic_reject(tag, requeue=False)
            return
        self._arrived.append(Taken(action, bool(message.redelivered), channel, tag))
        self._wake.set()


@asynccontextmanager
async def open_port(settings: Settings, gateway: str) -> AsyncIterator[Port]:
    """Connect a gateway, and make sure that it has its queue.

    Args:
        settings: The installation's settings.
        gateway: Its name.

    Raises:
        TopologyMismatch: RabbitMQ has something else under a name of the installation, or lacks
            something that this user may not declare.
        BrokerUnavailable: RabbitMQ cannot be reached, or refuses.
    """
    names = Names(settings.namespace)
    url = settings.amqp_url.get_secret_value()
    async with AsyncExitStack() as closing:
        connections = []
        for purpose in ("consuming", "publishing"):
            connection = await broker.connect(url, f"gateway {gateway} {purpose}")
            closing.push_async_callback(broker.close, connection)
            connections.append(connection)
        consuming, publishing = connections
        try:
            await declare(publishing, topology_of(settings, [gateway]))
        except MayNotConfigure:
            (queue,) = gateway_topology(names, gateway).queues
            await find(publishing, queue)
        yield Port(consuming, publishing, names, gateway)
