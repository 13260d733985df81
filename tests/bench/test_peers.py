"""Every contender does the job, so that nobody wins by doing less."""

import json
from typing import Any

import pytest
from aiormq.abc import DeliveredMessage

from deploy.local import Services
from tests.bench.commands import Sent
from tests.bench.contenders import Contender, contenders
from tests.bench.drain import check
from tests.bench.stage import JobNotDone, Stage, stage
from tests.harness import START_SECONDS, eventually
from worker.broker import connection as broker

COMMANDS = [
    Sent(
        f"command-{number}",
        f"call-{number}",
        {
            "call_control": "call",
            "request_id": f"call-{number}",
            "origin": "tel:+18164388687",
            "destination": "tel:+18165057120",
        },
    )
    for number in range(50)
]

BY_KEY = {each.key: each for each in contenders()}

PEERS = [each for each in contenders() if not each.is_worker and not each.is_limit]


async def events_of(place: Stage) -> list[DeliveredMessage]:
    """Start a contender on the commands, and return its events once it has taken all."""
    found: list[DeliveredMessage] = []

    async def on_event(message: DeliveredMessage) -> None:
        found.append(message)

    channel = await broker.open_channel(place.connection)
    queue = (await channel.queue_declare(exclusive=True)).queue or ""
    await channel.queue_bind(queue, place.calls.names.events, "#")
    await channel.basic_consume(queue, on_event, no_ack=True)
    await place.publish(COMMANDS)
    await place.start()
    await eventually(lambda: len(found) >= len(COMMANDS), "all events come", START_SECONDS)
    return found


@pytest.mark.parametrize("contender", PEERS, ids=lambda each: each.key)
async def test_a_peer_answers_each_command_by_one_event_and_keeps_the_state(
    services: Services, contender: Contender
) -> None:
    """Read, validated, state in Redis, event published, persistent, acknowledged."""
    async with stage(services, contender) as place:
        events = await events_of(place)
        prefix = place.calls.names.call_prefix
        states = await place.calls.redis.mget([prefix + x.request_id for x in COMMANDS])
        await place.stop()
        left = await place.waiting()
        await check(place)
    properties = [event.header.properties for event in events]
    assert sorted(x.correlation_id or "" for x in properties) == sorted(x.id for x in COMMANDS)
    assert {x.delivery_mode for x in properties} == {2}
    bodies: list[dict[str, Any]] = [json.loads(event.body) for event in events]
    assert {body["request_id"] for body in bodies} == {x.request_id for x in COMMANDS}
    assert {(body["event"], body["status"]) for body in bodies} == {("call_connected", 200)}
    assert [json.loads(state or "{}")["sequence"] for state in states] == [1] * len(COMMANDS)
    assert left == 0


@pytest.mark.parametrize("key", ["worker", "limit-aiormq"])
async def test_the_worker_and_the_limit_at_the_broker_answer_each_command(
    services: Services, key: str
) -> None:
    """The worker's events have their own tests; here they have to be counted like the peers'."""
    async with stage(services, BY_KEY[key]) as place:
        events = await events_of(place)
        await place.stop()
        await check(place)
    found = sorted(event.header.properties.correlation_id or "" for event in events)
    assert found == sorted(command.id for command in COMMANDS)


async def test_the_limit_in_redis_counts_what_it_does(services: Services) -> None:
    """It has no queue to be measured by."""
    async with stage(services, BY_KEY["limit-redis"]) as place:
        await place.publish(COMMANDS)
        await place.start()
        done = 0
        for _ in range(int(START_SECONDS * 100)):
            done = await place.done()
            if done:
                break
        assert done > 0


async def test_a_contender_that_acknowledges_without_an_event_is_found_out(
    services: Services,
) -> None:
    """It would be the fastest of all."""
    async with stage(services, BY_KEY["aio-pika"]) as place:
        await place.publish(COMMANDS)
        await check(place, patience_seconds=1)
        taken = await place.counting.basic_get(place.queues[0], no_ack=True)
        assert taken.body
        with pytest.raises(JobNotDone, match="taken 1 commands and answered 0"):
            await check(place, patience_seconds=1)
