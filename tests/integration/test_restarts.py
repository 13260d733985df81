"""Redis and RabbitMQ restarted under traffic: nothing lost, and the worker is back by itself."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection, AbstractExchange
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from deploy.local import Services
from tests.harness import PATIENCE_SECONDS, Installation, installation
from worker.broker import connection as broker
from worker.errors import BrokerUnavailable

CALLS = 60
COMMANDS = ("call", "hold", "retrieve", "mute", "un_mute", "disconnect")
ADDRESSES = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}


@dataclass
class Producer:
    """A producer as the contract wants it: confirms, and the same id for every new attempt."""

    calls: Installation
    published: dict[str, list[str]] = field(default_factory=dict)
    connection: AbstractConnection | None = None
    exchange: AbstractExchange | None = None

    async def publish(self, request_id: str, name: str) -> None:
        """Publish a command as often as it takes to have it confirmed."""
        body = {"call_control": name, "request_id": request_id}
        message_id = secrets.token_hex(8)
        message = aio_pika.Message(
            json.dumps(body | (ADDRESSES if name == "call" else {})).encode(),
            message_id=message_id,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                async with asyncio.timeout(5):
                    exchange = self.exchange or await self._connect()
                    await exchange.publish(message, routing_key=request_id)
            except (TimeoutError, BrokerUnavailable, *CONNECTION_EXCEPTIONS):
                self.exchange = None
                await asyncio.sleep(0.2)
            else:
                self.published.setdefault(request_id, []).append(message_id)
                return
        raise AssertionError("the broker did not come back")

    async def _connect(self) -> AbstractExchange:
        await self.close()
        self.connection = await broker.connect(self.calls.services.amqp_url, "producer")
        channel = await self.connection.channel(on_return_raises=True)
        self.exchange = await channel.get_exchange(self.calls.names.commands, ensure=False)
        return self.exchange

    async def close(self) -> None:
        """Close the connection."""
        if self.connection is not None:
            await self.connection.close()

    async def converse(self) -> None:
        """Publish whole conversations, their commands in order, at about 100 commands a second."""
        for number in range(CALLS):
            for name in COMMANDS:
                await self.publish(f"call-{number}", name)
                await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Entry:
    """An event in the journal."""

    request_id: str
    sequence: int
    message_id: str
    answers: str | None


async def read_journal(calls: Installation, commands: int) -> list[Entry]:
    """Read the journal from its beginning until it answers so many commands."""
    connection = await broker.connect(calls.services.amqp_url, "reader")
    entries: list[Entry] = []
    answered: set[str | None] = set()
    try:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=500)
        journal = await channel.get_queue(calls.names.journal, ensure=False)
        async with asyncio.timeout(3 * PATIENCE_SECONDS):
            async with journal.iterator(arguments={"x-stream-offset": "first"}) as messages:
                async for message in messages:
                    await message.ack()
                    headers = message.headers
                    entries.append(
                        Entry(
                            str(headers["request_id"]),
                            int(str(headers["sequence"])),
                            message.message_id or "",
                            message.correlation_id,
                        )
                    )
                    answered.add(message.correlation_id)
                    if len(answered) == commands:
                        break
    finally:
        await connection.close()
    return entries


def check(producer: Producer, entries: list[Entry]) -> None:
    """Check each call against the contract: its commands in order, one outcome each, no gap."""
    first_copies: dict[str, Entry] = {}
    for entry in entries:
        first_copies.setdefault(entry.message_id, entry)
    for request_id, message_ids in producer.published.items():
        outcomes = [entry for entry in first_copies.values() if entry.request_id == request_id]
        assert [entry.sequence for entry in outcomes] == list(range(1, len(COMMANDS) + 1))
        assert [entry.answers for entry in outcomes] == message_ids


@pytest.fixture
async def calls(services: Services) -> AsyncIterator[Installation]:
    """An installation with two workers that give up their partitions early."""
    async with installation(services, hold_seconds=2) as made:
        await made.start(2)
        yield made


async def test_redis_restarted_under_traffic_costs_no_command(calls: Installation) -> None:
    """Stopped for longer than commands are held, then started again."""
    redis = calls.services.redis
    assert redis is not None, "Redis has to be one that the tests may restart"
    producer = Producer(calls)
    conversing = asyncio.create_task(producer.converse())
    await asyncio.sleep(1)
    await asyncio.to_thread(redis.stop)
    await asyncio.sleep(3)
    await asyncio.to_thread(redis.start)
    await conversing
    check(producer, await read_journal(calls, CALLS * len(COMMANDS)))
    await producer.close()
    for worker in calls.workers:
        assert worker.process.returncode is None, worker.log.read_text()[-3000:]


async def test_redis_killed_under_traffic_costs_no_command(calls: Installation) -> None:
    """With appendfsync always, what Redis has confirmed it still has after a crash."""
    redis = calls.services.redis
    assert redis is not None, "Redis has to be one that the tests may kill"
    producer = Producer(calls)
    conversing = asyncio.create_task(producer.converse())
    for _ in range(3):
        await asyncio.sleep(1)
        await asyncio.to_thread(redis.kill)
        await asyncio.to_thread(redis.start)
    await conversing
    check(producer, await read_journal(calls, CALLS * len(COMMANDS)))
    await producer.close()


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_rabbitmq_restarted_under_traffic_costs_no_command(
    calls: Installation, how: str
) -> None:
    """Stopped cleanly, or killed: confirmed commands and events are still there."""
    rabbitmq = calls.services.rabbitmq
    assert rabbitmq is not None, "RabbitMQ has to be one that the tests may restart"
    producer = Producer(calls)
    conversing = asyncio.create_task(producer.converse())
    await asyncio.sleep(1)
    await asyncio.to_thread(getattr(rabbitmq, how))
    await asyncio.to_thread(rabbitmq.start)
    await conversing
    check(producer, await read_journal(calls, CALLS * len(COMMANDS)))
    await producer.close()
    for worker in calls.workers:
        assert worker.process.returncode is None, worker.log.read_text()[-3000:]


async def test_a_worker_started_before_its_services_waits_for_them(services: Services) -> None:
    """It says what it waits for, and joins when they are there."""
    redis = services.redis
    assert redis is not None, "Redis has to be one that the tests may restart"
    await asyncio.to_thread(redis.stop)
    try:
        async with installation(services) as calls:
            worker = await calls.spawn()
            await asyncio.sleep(2)
            assert worker.process.returncode is None
            assert worker.logged("cannot join")
            await asyncio.to_thread(redis.start)
            await worker.joined()
    finally:
        await asyncio.to_thread(redis.start)
