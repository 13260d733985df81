"""Redis and RabbitMQ restarted under traffic: nothing lost, and the worker is back by itself."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from deploy.local import Services
from tests.chaos.traffic import judged
from tests.harness import Installation, eventually, installation


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
    async with judged(calls):
        await asyncio.to_thread(redis.stop)
        await asyncio.sleep(3)
        await asyncio.to_thread(redis.start)


async def test_redis_killed_under_traffic_costs_no_command(calls: Installation) -> None:
    """With appendfsync always, what Redis has confirmed it still has after a crash."""
    redis = calls.services.redis
    assert redis is not None, "Redis has to be one that the tests may kill"
    async with judged(calls):
        for _ in range(3):
            await asyncio.to_thread(redis.kill)
            await asyncio.to_thread(redis.start)
            await asyncio.sleep(1)


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_rabbitmq_restarted_under_traffic_costs_no_command(
    calls: Installation, how: str
) -> None:
    """Stopped cleanly, or killed: confirmed commands and events are still there."""
    rabbitmq = calls.services.rabbitmq
    assert rabbitmq is not None, "RabbitMQ has to be one that the tests may restart"
    async with judged(calls):
        await asyncio.to_thread(getattr(rabbitmq, how))
        await asyncio.to_thread(rabbitmq.start)


async def test_a_worker_started_before_its_services_waits_for_them(services: Services) -> None:
    """It says what it waits for, and joins when they are there."""
    redis = services.redis
    assert redis is not None, "Redis has to be one that the tests may restart"
    await asyncio.to_thread(redis.stop)
    try:
        async with installation(services) as calls:
            worker = await calls.spawn()
            await eventually(lambda: worker.logged("cannot join"), "the worker waits")
            assert worker.process.returncode is None
            await asyncio.to_thread(redis.start)
            await worker.joined()
    finally:
        await asyncio.to_thread(redis.start)
