"""What a gateway says reaches the workers once, whatever keeps RabbitMQ from confirming it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from deploy.local import Broker, Services
from schemas.reports import Ringing
from tests.alarms import memory_alarm, mute_queue
from tests.harness import Installation, installation
from worker.errors import BrokerUnavailable
from worker.gateways import port as ports
from worker.gateways.port import Port, open_port

#: More than the channels that RabbitMQ grants a connection.
MANY = 2_500

REPORT = Ringing(request_id="123XYZ", action_id="a")


@pytest.fixture
async def idle(services: Services) -> AsyncIterator[Installation]:
    """An installation with one partition, and no worker that takes what is said."""
    async with installation(services, partitions=1) as made:
        made.gateways.add("pbx-1")
        yield made


@pytest.fixture
async def port(idle: Installation) -> AsyncIterator[Port]:
    """A gateway's port."""
    async with open_port(idle.settings, "pbx-1") as opened:
        yield opened


@pytest.fixture
def rabbitmq(services: Services) -> Broker:
    """A RabbitMQ that may be disturbed."""
    assert services.rabbitmq is not None, "RabbitMQ has to be one that the tests may disturb"
    return services.rabbitmq


async def waiting(idle: Installation) -> int:
    """Return how many messages wait for workers."""
    channel = await idle.connection.channel()
    queue = await channel.declare_queue(idle.names.partition(0), passive=True)
    return queue.declaration_result.message_count or 0


async def test_calls_that_report_at_once_share_a_channel(idle: Installation, port: Port) -> None:
    """As they do when a gateway has taken over, or has RabbitMQ again."""
    await asyncio.gather(*(port.say(REPORT) for _ in range(MANY)))
    assert await waiting(idle) == MANY


async def test_a_report_waits_while_rabbitmq_blocks_publishing(
    idle: Installation, port: Port, rabbitmq: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not written again meanwhile: copies would pile up here, and come all at once."""
    await port.say(REPORT)
    monkeypatch.setattr(ports, "_CONFIRM_SECONDS", 0.2)
    monkeypatch.setattr(ports, "_MOST_CONFIRM_SECONDS", 2.0)
    async with memory_alarm(rabbitmq):
        saying = asyncio.create_task(port.say(REPORT))
        await asyncio.wait([saying], timeout=6)
        assert not saying.done()
        monkeypatch.undo()
    await asyncio.wait_for(saying, 30)
    assert await waiting(idle) == 2


async def test_a_report_without_a_confirm_is_given_back_to_be_said_on_another_channel(
    idle: Installation, port: Port, rabbitmq: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ may have lost it, or the confirm, for ever; all that wait are told at once."""
    await port.say(REPORT)
    monkeypatch.setattr(ports, "_CONFIRM_SECONDS", 0.2)
    monkeypatch.setattr(ports, "_MOST_CONFIRM_SECONDS", 1.0)
    async with mute_queue(rabbitmq, idle.names.partition(0)):
        said = await asyncio.gather(*(port.say(REPORT) for _ in range(3)), return_exceptions=True)
        assert {type(each) for each in said} == {BrokerUnavailable}
        assert "no confirm" in str(said[0])
    monkeypatch.undo()
    await port.say(REPORT)
    # Those that were given back had been taken, in this case.
    assert await waiting(idle) == 5
