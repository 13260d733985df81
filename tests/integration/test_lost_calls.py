"""A gateway learns from the journal which of its calls ended while it was away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aio_pika import Message
from pamqp.common import FieldValue
from pydantic import SecretStr

from deploy.local import Services
from tests.guarded import Guarded, guarded_installation, set_passwords
from tests.harness import PATIENCE_SECONDS, Installation
from worker.broker.declaring import establish
from worker.broker.journal import leave_mark
from worker.broker.topology import topology
from worker.errors import BrokerUnavailable
from worker.gateways.asterisk.lost import living

WEST = "west"


@pytest.fixture
async def guarded(services: Services) -> AsyncIterator[Guarded]:
    """An installation with the users of ``deploy/``, and no worker."""
    async with guarded_installation(services) as made:
        await set_passwords(made)
        async with made.acting_as("topology") as connection:
            await establish(connection, topology(made.names, made.calls.settings.partitions))
        yield made


async def write(calls: Installation, request_id: str, state: str = "connected") -> None:
    """Write an event of a call into the journal."""
    headers: dict[str, FieldValue] = {
        "request_id": request_id,
        "sequence": 1 if state == "connected" else 2,
        "call_state": state,
        "gateway": WEST,
        "terminal": state == "ended",
    }
    message = Message(b"{}", headers=headers, timestamp=datetime.now(UTC))
    await calls.producer.default_exchange.publish(message, routing_key=calls.names.journal)


@asynccontextmanager
async def traffic(calls: Installation) -> AsyncIterator[None]:
    """Let other calls come and go, so that the journal is never silent."""

    async def flow() -> None:
        while True:
            await write(calls, "other")
            await write(calls, "other", "ended")
            await asyncio.sleep(0.1)

    flowing = asyncio.create_task(flow())
    try:
        yield
        assert not flowing.done(), "there was no traffic"
    finally:
        flowing.cancel()
        await asyncio.wait([flowing])


@pytest.mark.parametrize("role", ["worker", "gateway"])
async def test_the_journal_is_read_to_its_end_even_under_traffic(
    guarded: Guarded, role: str
) -> None:
    """By who may leave a mark in it, and by who may only read."""
    calls = guarded.calls
    for request_id in ("lost", "over"):
        await write(calls, request_id)
    await write(calls, "over", "ended")
    settings = calls.settings.model_copy(update={"amqp_url": SecretStr(guarded.url(role))})
    async with traffic(calls), asyncio.timeout(PATIENCE_SECONDS):
        found = await living(settings, WEST)
    assert found.keys() - {"other"} == {"lost"}


async def test_an_empty_journal_tells_of_no_calls(guarded: Guarded) -> None:
    """It is silent, and whoever may only read it does not wait for ever."""
    settings = guarded.calls.settings.model_copy(
        update={"amqp_url": SecretStr(guarded.url("gateway"))}
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await living(settings, WEST) == {}


async def test_a_journal_that_is_gone_takes_no_mark(idle: Installation) -> None:
    """It was deleted just now; whoever wanted to leave one tries again."""
    with pytest.raises(BrokerUnavailable, match="does not take a mark"):
        await leave_mark(idle.connection, f"{idle.names.journal}.gone")
