"""A cancellation reaches its task even through a library that swallows it."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress

import pytest

from worker.broker.connection import broker_errors
from worker.errors import BrokerUnavailable
from worker.store.errors import translated_errors


async def swallow() -> None:
    """Do as ``asyncio.wait_for`` does at an unlucky moment, and as if nothing had happened."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(60)


async def at_redis() -> None:
    """Work until cancelled."""
    while True:
        with translated_errors():
            await swallow()


async def at_rabbitmq() -> None:
    """Work until cancelled."""
    while True:
        async with broker_errors("testing"):
            await swallow()


@pytest.mark.parametrize("work", [at_redis, at_rabbitmq])
async def test_a_swallowed_cancellation_ends_the_task(
    work: Callable[[], Coroutine[None, None, None]],
) -> None:
    """Else a session whose connection is lost would wait for its pipeline for ever."""
    task = asyncio.create_task(work())
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
