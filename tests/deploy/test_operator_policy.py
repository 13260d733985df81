"""The operator policy keeps subscribers' queues from refusing, whatever policy they have."""

import asyncio
import json

import pytest

from deploy.local import Services
from tests.guarded import DEFINITIONS, LONGEST, guarded_installation
from worker.broker.connection import open_channel
from worker.broker.declaring import declare
from worker.broker.topology import topology

OPERATOR_POLICY = DEFINITIONS.with_name("operator_policy.json")

#: The first release with an overflow in operator policies.
SINCE = (3, 12, 7)


async def skip_before(services: Services) -> None:
    """Skip on a RabbitMQ that has no overflow in operator policies."""
    assert services.rabbitmq is not None, "its version is what rabbitmqctl says"
    version = (await asyncio.to_thread(services.rabbitmq.ctl, "version")).strip()
    if tuple(map(int, version.split("."))) < SINCE:
        pytest.skip(f"RabbitMQ {version} knows no overflow in operator policies")


async def test_a_subscriber_s_own_policy_cannot_make_its_queue_refuse(services: Services) -> None:
    """The oldest events go, although the policy of the highest priority says to refuse new ones."""
    await skip_before(services)
    async with guarded_installation(services) as guarded:
        names, management = guarded.names, guarded.management
        text = OPERATOR_POLICY.read_text()
        assert LONGEST in text
        text = text.replace("call_control", names.base).replace(LONGEST, '"max-length": 3')
        imported = json.loads(text)
        await management("POST", "definitions", imported)
        (policy,) = imported["parameters"]
        own = {
            "pattern": f"^{names.base}[.]subscriber[.]",
            "apply-to": "queues",
            "priority": 200,
            "definition": {"max-length": 5, "overflow": "reject-publish"},
        }
        await management("PUT", f"policies/%2F/{names.base}.own", own)
        connection = guarded.calls.connection
        channel = await open_channel(connection, confirms=True)
        queues = {
            f"{names.base}.subscriber.classic": {},
            f"{names.base}.subscriber.quorum": {"x-queue-type": "quorum"},
        }
        try:
            await declare(connection, topology(names, guarded.calls.settings.partitions))
            for queue, arguments in queues.items():
                await channel.queue_declare(queue, durable=True, arguments=dict(arguments))
                await channel.queue_bind(queue, names.events, "#")
            for number in range(20):
                # Refused, it would raise.
                await channel.basic_publish(b"%d" % number, exchange=names.events)
            for queue in queues:
                left = [(await channel.basic_get(queue, no_ack=True)).body for _ in range(4)]
                assert left == [b"17", b"18", b"19", b""]
        finally:
            for queue in queues:
                await channel.queue_delete(queue)
            await management("DELETE", f"policies/%2F/{names.base}.own")
            await management("DELETE", f"operator-policies/%2F/{policy['name']}")
