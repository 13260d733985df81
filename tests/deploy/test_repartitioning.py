"""The number of partitions can be changed as deploy/SCALING.md says."""

import asyncio

import pytest
from aiormq.exceptions import ChannelAccessRefused

from deploy.local import Broker, Services
from tests.guarded import guarded_installation, set_passwords
from tests.harness import Installation, eventually, installation
from tests.integration.test_cli import callctl
from tests.integration.test_order import CONVERSATION, FIELDS, all_answered, check
from tests.messages import Published
from worker.broker import connection as broker
from worker.broker.connection import Channel, open_channel
from worker.broker.declaring import declare
from worker.broker.topology import topology
from worker.cli.exit_codes import ExitCode
from worker.settings import PREFIX

CALLS = 60

#: Where each conversation is interrupted: held, with commands of every kind still to come.
HALF = 4


async def publish(
    calls: Installation, published: dict[str, list[Published]], part: slice
) -> dict[str, list[Published]]:
    """Publish a part of every call's conversation, interleaved."""
    for name, _, _ in list(CONVERSATION)[part]:
        for request_id, commands in published.items():
            commands.append(await calls.command(request_id, name, **FIELDS.get(name, {})))
    return published


async def until_empty(rabbitmq: Broker, calls: Installation) -> None:
    """Wait until nothing is in a partition, and nothing taken from it unacknowledged."""
    for _ in range(60):
        listed = await asyncio.to_thread(rabbitmq.ctl, "list_queues", "name", "messages")
        prefix = f"{calls.names.commands}."
        partitions = [
            int(line.split()[1]) for line in listed.splitlines() if line.startswith(prefix)
        ]
        assert partitions
        if not any(partitions):
            return
    raise AssertionError("commands are left in partitions")


@pytest.mark.parametrize(("before", "after"), [(4, 16), (16, 4)], ids=["more", "fewer"])
async def test_calls_go_on_in_order_with_another_number_of_partitions(
    services: Services, before: int, after: int
) -> None:
    """Commands before and after the change: one outcome each, in order, calls in the middle."""
    rabbitmq = services.rabbitmq
    assert rabbitmq is not None, "queues are deleted by rabbitmqctl"
    async with installation(services, partitions=before) as calls:
        await calls.start()
        await calls.subscribe()
        published: dict[str, list[Published]] = {f"call-{n}": [] for n in range(CALLS)}
        await publish(calls, published, slice(HALF))
        # 1. The producers are stopped. 2. Nothing is left.
        await until_empty(rabbitmq, calls)
        # 3. No worker is left.
        assert [await worker.terminate() for worker in calls.workers] == [0]
        # 4. The number in force; 5. queues that have become too many.
        await calls.redis.set(calls.names.partition_count, after)
        for number in range(after, before):
            name = calls.names.partition(number)
            await asyncio.to_thread(rabbitmq.ctl, "delete_queue", name)
        # 6. The new number, everywhere.
        calls.environment[f"{PREFIX}PARTITIONS"] = str(after)
        code, _, errors = await callctl(calls, "topology", "apply")
        assert (code, errors) == (0, "")
        await calls.start()
        # 7. The producers go on.
        await publish(calls, published, slice(HALF, None))
        await all_answered(calls, published)
        check(calls, published)
        # What is repeated across the change is answered from its record.
        again = published["call-0"][0]
        answers = len(calls.answers(again.message_id))
        await calls.publish("call-0", again.body, message_id=again.message_id)
        await eventually(lambda: len(calls.answers(again.message_id)) > answers, "it is answered")
        assert len({event.message_id for event in calls.answers(again.message_id)}) == 1
        # A worker that was forgotten does no harm.
        forgotten = await calls.spawn(partitions=before)
        assert await asyncio.wait_for(forgotten.process.wait(), 60) == ExitCode.USAGE
        assert f"{after} is in force" in forgotten.log.read_text()


async def test_producers_that_are_shut_out_publish_nothing_until_they_are_let_in(
    services: Services,
) -> None:
    """Neither on a connection that they have already, nor on a new one."""
    rabbitmq = services.rabbitmq
    assert rabbitmq is not None, "permissions are changed by rabbitmqctl"
    async with guarded_installation(services) as guarded:
        await set_passwords(guarded)
        user, names = guarded.user("producer"), guarded.names
        connection = guarded.calls.connection
        await declare(connection, topology(names, guarded.calls.settings.partitions))

        async def publish_once(channel: Channel) -> None:
            await channel.basic_publish(b"{}", exchange=names.commands, mandatory=True)

        def permit(write: str) -> None:
            rabbitmq.ctl("set_permissions", user, "^$", write, "^$")

        producing = await broker.connect(guarded.url("producer"), "producer")
        opened = await open_channel(producing, confirms=True)
        await publish_once(opened)
        await asyncio.to_thread(permit, "^$")
        await asyncio.to_thread(rabbitmq.ctl, "close_all_user_connections", user, "changing")
        await eventually(lambda: opened.is_closed, "the producer's channel is closed")
        async with guarded.acting_as("producer") as again:
            with pytest.raises(ChannelAccessRefused):
                await publish_once(await open_channel(again, confirms=True))
        pattern = names.commands.replace(".", "[.]")
        await asyncio.to_thread(permit, f"^{pattern}$")
        async with guarded.acting_as("producer") as again:
            await publish_once(await open_channel(again, confirms=True))


async def test_two_generations_serve_one_subscriber_side_by_side(services: Services) -> None:
    """Each call stays in the generation where it began; neither sees the other's."""
    async with (
        installation(services, partitions=4) as old,
        installation(services, partitions=16) as new,
    ):
        for generation in (old, new):
            await generation.start()
        await old.subscribe()
        # The same queue, and so the same subscriber, for both.
        new.events = old.events
        await new.subscribe()
        earlier = await publish(old, {f"earlier-{n}": [] for n in range(20)}, slice(None))
        later = await publish(new, {f"later-{n}": [] for n in range(20)}, slice(None))
        await all_answered(old, earlier | later)
        check(old, earlier | later)
        for generation, calls in ((old, earlier), (new, later)):
            prefix = generation.names.call_prefix
            keys = {key.decode() async for key in old.redis.scan_iter(f"{prefix}*")}
            assert keys == {f"{prefix}{request_id}" for request_id in calls}
