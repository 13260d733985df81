"""Clusters start, do on demand what chaos would do to them, and are gone afterwards."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import aio_pika
import pytest
import redis

from deploy.local import RabbitMQCluster, rabbitmq_cluster, redis_cluster, redis_sentinel
from deploy.local.process import descendants, wait_until
from deploy.local.session import owner, sessions

QUEUES = [f"queue-{number}" for number in range(6)]


@contextmanager
def nothing_left() -> Iterator[None]:
    """Check that what is started in the block has ended with it."""
    before = {each.pid for each in descendants(os.getpid())}
    of_others = sessions()
    yield
    assert wait_until(lambda: {each.pid for each in descendants(os.getpid())} <= before, timeout=10)
    left = [each for each in sessions() if each not in of_others]
    assert not [each for each in left if (known := owner(each)) and known.pid == os.getpid()]


@pytest.fixture(scope="module")
def brokers() -> Iterator[RabbitMQCluster]:
    """Three RabbitMQ nodes."""
    with nothing_left(), rabbitmq_cluster(3) as cluster:
        yield cluster


async def declare(cluster: RabbitMQCluster) -> None:
    """Declare quorum queues, if they are not there."""
    async with await aio_pika.connect(cluster.nodes[0].url) as connection:
        channel = await connection.channel()
        for name in QUEUES:
            await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})


async def test_queues_are_led_by_all_nodes_and_a_dead_nodes_queues_by_the_others(
    brokers: RabbitMQCluster,
) -> None:
    """Leaders are spread; those of a node that is killed move, and the node comes back."""
    await declare(brokers)
    before = brokers.leaders()
    assert set(before) == set(QUEUES)
    assert {node.node for node in before.values()} == {node.node for node in brokers.nodes}
    victim = before[QUEUES[0]]
    victim.kill()
    assert not victim.running
    assert wait_until(
        lambda: set(brokers.leaders()) == set(QUEUES) and victim not in brokers.leaders().values(),
        timeout=30,
    )
    brokers.start()
    others = {node.node for node in brokers.nodes if node is not victim}
    assert brokers.seen_by(victim) == others


async def test_a_minority_is_cut_off_while_it_runs_and_comes_back_when_healed(
    brokers: RabbitMQCluster,
) -> None:
    """Neither side sees the other; the majority leads all queues meanwhile."""
    await declare(brokers)
    minority = brokers.leaders()[QUEUES[0]]
    majority = [node for node in brokers.nodes if node is not minority]
    brokers.cut_off(minority)
    try:
        assert minority.running
        assert brokers.seen_by(minority) == set()
        for node in majority:
            assert brokers.seen_by(node) == {each.node for each in majority if each is not node}
        assert wait_until(
            lambda: (
                set(brokers.leaders()) == set(QUEUES) and minority not in brokers.leaders().values()
            ),
            timeout=30,
        )
    finally:
        brokers.heal()
    assert brokers.seen_by(minority) == {each.node for each in majority}
    async with await aio_pika.connect(minority.url) as connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.default_exchange.publish(aio_pika.Message(b"again"), QUEUES[0])


def test_sentinels_promote_a_replica_and_the_former_primary_follows_it() -> None:
    """What was replicated is there, and a server that comes back is not taken for the primary."""
    with nothing_left(), redis_sentinel() as servers:
        former = servers.primary
        replicas = servers.replicas
        assert len(replicas) == 2
        with redis.Redis.from_url(former.url) as client:
            client.set("key", "kept")
            assert client.wait(2, 5000) == 2
        former.kill()
        promoted = servers.wait_promoted(former)
        assert promoted in replicas
        with redis.Redis.from_url(promoted.url) as client:
            assert client.get("key") == b"kept"
        former.start()
        servers.wait_following(former)
        assert servers.primary is promoted
        with redis.Redis.from_url(former.url) as client, pytest.raises(redis.ReadOnlyError):
            client.set("key", "spoilt")


def test_a_replica_takes_over_a_primarys_slots_and_a_slot_moves_with_its_keys() -> None:
    """Afterwards the cluster is whole again, with everything that was in it."""
    with nothing_left(), redis_cluster() as cluster:
        slot = cluster.slot("{tag}")
        former = cluster.primary_of("{tag}")
        with redis.RedisCluster.from_url(f"redis://127.0.0.1:{former.port}") as client:
            for number in range(250):
                client.set(f"{{tag}}{number}", number)
            assert client.wait(1, 5000, target_nodes=client.get_node_from_key("{tag}")) == 1
        former.kill()
        successor = cluster.wait_taken_over(former, slot)
        assert successor is not former
        former.start()
        cluster.wait_whole()
        assert cluster.primary_of("{tag}") is successor

        with cluster.moving(slot) as (source, target):
            assert source is successor
            with (
                redis.Redis.from_url(source.url) as client,
                pytest.raises(redis.exceptions.AskError),
            ):
                client.get("{tag}1")
        assert cluster.primary_of("{tag}") is target
        with redis.RedisCluster.from_url(f"redis://127.0.0.1:{source.port}") as client:
            assert [client.get(f"{{tag}}{number}") for number in range(250)] == [
                str(number).encode() for number in range(250)
            ]
        with (
            redis.Redis.from_url(source.url) as client,
            pytest.raises(redis.exceptions.MovedError),
        ):
            client.get("{tag}1")
