"""A cancellation reaches its task even through a library that swallows it."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from worker.broker.connection import broker_errors
from worker.errors import BrokerUnavailable, StoreUnavailable
from worker.store.errors import translated_errors

Act = Callable[[], Coroutine[None, None, None]]


async def swallow() -> None:
    """Do as ``asyncio.wait_for`` does at an unlucky moment, and as if nothing had happened."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(60)


async def fail() -> None:
    """Do as aiormq does when a connection is lost just then."""
    await swallow()
    raise ConnectionError("lost")


async def fail_in_redis() -> None:
    """Do as redis-py does when a connection is lost just then."""
    await swallow()
    raise RedisConnectionError("lost")


async def at_redis(act: Act) -> None:
    """Work until cancelled, and go on after a failure."""
    while True:
        with suppress(StoreUnavailable), translated_errors():
            await act()


async def at_rabbitmq(act: Act) -> None:
    """Work until cancelled, and go on after a failure."""
    while True:
        with suppress(BrokerUnavailable):
            async with broker_errors("testing"):
                await act()


@pytest.mark.parametrize(
    ("work", "act"),
    [
        (at_redis, swallow),
        (at_redis, fail),
        (at_redis, fail_in_redis),
        (at_rabbitmq, swallow),
        (at_rabbitmq, fail),
    ],
)
async def test_a_swallowed_cancellation_ends_the_task(
    work: Callable[[Act], Coroutine[None, None, None]], act: Act
) -> None:
    """Else a session whose connection is lost would wait for its tasks for ever."""
    task = asyncio.create_task(work(act))
    await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=5)
    assert done
    assert task.cancelled()


async def test_a_cancellation_that_is_not_the_task_s_own_is_a_lost_connection() -> None:
    """Aiormq cancels whoever waits on a connection that it finds half open."""
    with pytest.raises(BrokerUnavailable, match="connection lost while testing"):
        async with broker_errors("testing"):
            raise asyncio.CancelledError
