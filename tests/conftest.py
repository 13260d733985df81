"""Fixtures: real services, and an installation of its own for each test that asks for one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from deploy.local import Services, provide
from tests.clients import connected_to
from tests.epochs import begun
from tests.harness import EVENT_LOOP, Installation, installation
from worker.broker import connection as broker
from worker.broker.declaring import establish
from worker.broker.topology import topology
from worker.client import CallControl
from worker.event_loop import loop_factory
from worker.settings import Settings
from worker.store import RedisClient, close, connect
from worker.store.epoch import Guard

#: Calls through Asterisk are a run of their own: `make test-calls` names them.
collect_ignore = ["calls"]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests on the event loop that their workers have."""
    return {EVENT_LOOP: loop_factory(EVENT_LOOP)}


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """RabbitMQ and Redis; where they cannot be had, the test fails rather than skips."""
    with provide("tests") as provided:
        yield provided


@pytest.fixture
async def calls(services: Services) -> AsyncIterator[Installation]:
    """An installation with one worker, and a subscriber to its events."""
    async with installation(services) as made:
        await made.start()
        await made.subscribe()
        yield made


@pytest.fixture
async def client(calls: Installation) -> AsyncIterator[CallControl]:
    """A client of an installation with one worker."""
    async with connected_to(calls, timeout=30) as client:
        yield client


@pytest.fixture
async def empty(services: Services) -> AsyncIterator[Installation]:
    """An installation without a worker."""
    async with installation(services) as made:
        yield made


@pytest.fixture
async def wide(services: Services) -> AsyncIterator[Installation]:
    """An installation with the default number of partitions, and no worker yet."""
    async with installation(services, partitions=Settings.from_environment({}).partitions) as made:
        yield made


@pytest.fixture
async def idle(empty: Installation) -> Installation:
    """An installation without a worker at the moment."""
    connection = await broker.connect(empty.services.amqp_url, "setting up")
    await establish(connection, topology(empty.names, empty.settings.partitions))
    await broker.close(connection)
    await empty.subscribe()
    return empty


@pytest.fixture
async def redis(services: Services) -> AsyncIterator[RedisClient]:
    """A client as the worker makes it."""
    client = connect(services.redis_url)
    yield client
    await close(client)


@pytest.fixture
async def guard(redis: RedisClient) -> Guard:
    """A guard whose first epoch has begun."""
    return await begun(redis)
