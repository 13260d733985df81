"""A worker that comes to a backlog takes what it can work on, and leaves the rest to RabbitMQ."""

import pytest
from aio_pika.exceptions import ChannelPreconditionFailed

from schemas.wire import MAX_BODY_BYTES
from tests.backlog import drain, publish_backlog
from tests.harness import Installation
from worker.broker import connection as broker
from worker.broker.inbox import Inbox

_COMMANDS = 10_000
_BYTES = 4096


async def test_a_backlog_does_not_become_the_worker_s_memory(empty: Installation) -> None:
    """What it takes grows with the prefetch and the partitions, not with what waits."""
    await publish_backlog(empty, _COMMANDS, _BYTES)
    samples = await drain(empty, _COMMANDS, seconds=90)
    grown = samples[-1].peak - samples[0].now
    assert grown < _COMMANDS * _BYTES / 4, f"{grown} bytes, of {_COMMANDS * _BYTES} that waited"


async def test_a_body_that_is_far_too_long_never_gets_to_a_worker(calls: Installation) -> None:
    """RabbitMQ, set up as in deploy/, refuses it and says why; the next is taken as ever."""
    assert calls.services.rabbitmq is not None, "the limit is in the configuration under deploy/"
    with pytest.raises(ChannelPreconditionFailed, match="larger than configured max size"):
        await calls.publish_bytes("1", b"x" * 200_000, message_id="long")
    calls.producer = await calls.connection.channel(publisher_confirms=True)
    await calls.ask("1", "hold")
    assert calls.dead == []


async def test_a_worker_keeps_no_more_of_a_body_than_it_reads(empty: Installation) -> None:
    """Just enough to see that it is too long, whatever the broker lets through."""
    longest = b"x" * (2 * MAX_BODY_BYTES)
    await publish_backlog(empty, 0)
    await empty.publish_bytes("1", longest, message_id="long")
    connection = await broker.connect(empty.services.amqp_url, "a test")
    inbox = Inbox(connection, empty.names, worker="test", prefetch=1, patience_seconds=1)
    inbox.follow(dict.fromkeys(range(empty.settings.partitions), ("test",)))
    (delivery,) = await inbox.take(1)
    assert delivery.body == longest[: MAX_BODY_BYTES + 1]
    inbox.abort()
    await broker.close(connection)
