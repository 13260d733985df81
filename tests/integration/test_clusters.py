"""Workers on clusters that lose a node, are cut apart, and are restarted under traffic."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from deploy.local import (
    RabbitMQCluster,
    RedisCluster,
    RedisSentinel,
    Services,
    rabbitmq_cluster,
    redis_cluster,
    redis_sentinel,
)
from tests.chaos.load import Load
from tests.chaos.traffic import judged
from tests.harness import Installation, Worker, eventually, installation

# A primary tells its client before its replicas have answered: only with WAIT is what a dead
# primary has confirmed sure to be known to the one that is promoted.
DURABLE = {"durability": "replica"}

# Starting nodes takes the longer the more else runs on the machine.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def brokers() -> Iterator[RabbitMQCluster]:
    """Three RabbitMQ nodes."""
    with rabbitmq_cluster(3) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def sentinel() -> Iterator[RedisSentinel]:
    """A Redis primary with two replicas, watched by Sentinels."""
    with redis_sentinel(replicas=2) as servers:
        yield servers


@pytest.fixture(scope="module")
def shards() -> Iterator[RedisCluster]:
    """Three Redis primaries with a replica each."""
    with redis_cluster() as cluster:
        yield cluster


@pytest.fixture
async def spread(services: Services, brokers: RabbitMQCluster) -> AsyncIterator[Installation]:
    """An installation whose workers and producers know all RabbitMQ nodes, and are on any."""
    on_cluster = replace(services, amqp_url=brokers.url, management_url=None, rabbitmq=None)
    async with installation(on_cluster) as made:
        await start_workers(made)
        yield made


async def start_workers(calls: Installation) -> None:
    """Start three workers, with patience: the nodes need the machine too."""
    workers = [await calls.spawn() for _ in range(3)]
    await eventually(
        lambda: all(worker.logged("worker joined") for worker in workers), "workers join", 90
    )


async def meanwhile(load: Load, act: Callable[..., Any], *arguments: Any) -> None:
    """Do something that blocks; commands have to be confirmed afterwards."""
    await asyncio.to_thread(act, *arguments)
    before = confirmed(load)
    await eventually(lambda: confirmed(load) > before, "producers get on", seconds=60)


def confirmed(load: Load) -> int:
    """Return how many commands were confirmed to producers."""
    return sum(map(len, load.published.values()))


def held(workers: list[Worker]) -> bool:
    """Tell whether a worker had to hold commands."""
    return any(worker.logged("holding commands") for worker in workers)


async def test_the_node_that_leads_a_partition_is_killed(
    spread: Installation, brokers: RabbitMQCluster
) -> None:
    """Others lead its partitions; nothing confirmed is lost, and the order is kept."""
    partitions = {spread.names.partition(number) for number in range(spread.settings.partitions)}
    leaders = await asyncio.to_thread(brokers.leaders)
    victim = leaders[spread.names.partition(0)]
    async with judged(spread) as flow:
        await meanwhile(flow.load, victim.kill)
        leaders = await asyncio.to_thread(brokers.leaders)
        assert partitions <= leaders.keys()
        assert victim not in leaders.values()
        await meanwhile(flow.load, brokers.start)


async def test_a_minority_is_cut_off_and_comes_back(
    spread: Installation, brokers: RabbitMQCluster
) -> None:
    """The majority goes on without it; what the minority's worker had in hand comes back."""
    minority = brokers.nodes[-1]
    async with judged(spread) as flow:
        await meanwhile(flow.load, brokers.cut_off, minority)
        await meanwhile(flow.load, brokers.heal)


async def test_nodes_are_restarted_one_by_one(
    spread: Installation, brokers: RabbitMQCluster
) -> None:
    """An upgrade's way through a cluster: workers and producers connect again by themselves."""
    async with judged(spread) as flow:
        await meanwhile(flow.load, brokers.restart_one_by_one)


async def test_a_replica_is_promoted_when_the_redis_primary_dies(
    services: Services, sentinel: RedisSentinel
) -> None:
    """Commands are held until the Sentinels name another; the former primary becomes a replica."""
    async with installation(services, redis_url=sentinel.url, **DURABLE) as calls:
        await start_workers(calls)
        former = sentinel.primary
        async with judged(calls) as flow:
            await asyncio.to_thread(former.kill)
            await meanwhile(flow.load, sentinel.wait_promoted, former)
            await asyncio.to_thread(former.start)
            await meanwhile(flow.load, sentinel.wait_following, former)
        assert held(calls.workers)


async def test_a_replica_takes_over_when_a_primary_of_a_redis_cluster_dies(
    services: Services, shards: RedisCluster
) -> None:
    """Commands are held until it has; calls of the other primaries wait no longer than that."""
    async with installation(services, redis_url=shards.url, **DURABLE) as calls:
        await start_workers(calls)
        async with judged(calls) as flow:
            key = calls.names.call_prefix + next(iter(flow.load.published))
            slot, former = shards.slot(key), shards.primary_of(key)
            await asyncio.to_thread(former.kill)
            await meanwhile(flow.load, shards.wait_taken_over, former, slot)
            await asyncio.to_thread(former.start)
            await meanwhile(flow.load, shards.wait_whole)
        assert held(calls.workers)


async def test_slots_of_a_redis_cluster_move_while_their_calls_go_on(
    services: Services, shards: RedisCluster
) -> None:
    """A call whose hash is on its way from one primary to another goes on where it went."""
    async with installation(services, redis_url=shards.url, **DURABLE) as calls:
        await start_workers(calls)
        async with judged(calls) as flow:
            for _ in range(5):
                latest = next(reversed(flow.load.published))
                with shards.moving(shards.slot(calls.names.call_prefix + latest)):
                    await asyncio.sleep(1)
