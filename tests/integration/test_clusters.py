"""Workers on clusters that lose a node, are cut apart, and are restarted under traffic.

Before anything is done to a cluster each test makes sure that it will be felt: that what is killed
or cut off has partitions with traffic, connections or calls.
"""

import asyncio
import json
import re
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
from deploy.local.rabbitmq import RabbitMQProcess
from deploy.local.redis import asked
from tests.backlog import waiting
from tests.chaos.load import Load
from tests.chaos.traffic import Traffic, judged
from tests.harness import Installation, Worker, eventually, installation
from tests.integration.test_cli import callctl
from tests.integration.test_rebuild import until_noticed

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


@pytest.fixture
def sentinel() -> Iterator[RedisSentinel]:
    """A Redis primary with two replicas, watched by Sentinels: new ones, after any failover."""
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


def partitions_of(calls: Installation) -> set[str]:
    """Return the names of an installation's partitions."""
    return {calls.names.partition(number) for number in range(calls.settings.partitions)}


async def led_by_all(calls: Installation, brokers: RabbitMQCluster) -> dict[str, RabbitMQProcess]:
    """Have each node lead a partition; return which one leads which."""
    # RabbitMQ balances queues as it declares them, but not those that it declares at one time.
    rebalance = 'rabbit_amqqueue:rebalance(quorum, ".*", ".*").'
    await asyncio.to_thread(brokers.nodes[0].ctl, "eval", rebalance)
    partitions = partitions_of(calls)
    for _ in range(60):
        leaders = await asyncio.to_thread(brokers.leaders)
        led = {name: leader for name, leader in leaders.items() if name in partitions}
        if led.keys() == partitions and set(led.values()) == set(brokers.nodes):
            return led
        await asyncio.sleep(0.5)
    raise AssertionError(f"not all nodes lead a partition: {leaders}")


# How far the log of each quorum queue has come: every command adds to it. What is asked of its
# leader does not matter, so long as all versions know it.
_PROGRESS = """
Applied = fun(Leader) ->
    case ra:local_query(Leader, fun erlang:is_tuple/1) of
        {ok, {{Index, _}, _}, _} -> Index;
        _ -> 0
    end
end,
[io:format("~s ~b~n", [element(4, amqqueue:get_name(Q)), Applied(amqqueue:get_pid(Q))])
    || Q <- rabbit_amqqueue:list(), amqqueue:get_type(Q) =:= rabbit_quorum_queue], ok.
"""


def progress(node: RabbitMQProcess) -> dict[str, int]:
    """Return how far each quorum queue has come, as a node sees it."""
    pairs = [line.split() for line in node.ctl("eval", _PROGRESS).splitlines()]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


async def until_busy(node: RabbitMQProcess, partitions: set[str]) -> None:
    """Wait until all of some partitions have had traffic from now on."""
    before = await asyncio.to_thread(progress, node)
    for _ in range(60):
        now = await asyncio.to_thread(progress, node)
        if all(now.get(name, 0) > before.get(name, 0) > 0 for name in partitions):
            return
        await asyncio.sleep(0.5)
    raise AssertionError(f"no traffic: {before} {now}")


def connected(node: RabbitMQProcess, who: str) -> bool:
    """Tell whether a connection with such a name is with a node."""
    lines = node.ctl("list_connections", "port", "client_properties").splitlines()
    return any(line.startswith(f"{node.port}\t") and who in line for line in lines)


async def test_the_node_that_leads_a_partition_is_killed(
    spread: Installation, brokers: RabbitMQCluster
) -> None:
    """Others lead its partitions; nothing confirmed is lost, and the order is kept."""
    leaders = await led_by_all(spread, brokers)
    victim = leaders[spread.names.partition(0)]
    survivor = next(node for node in brokers.nodes if node is not victim)
    orphaned = {name for name, leader in leaders.items() if leader is victim}
    async with judged(spread) as flow:
        await until_busy(victim, orphaned)
        await meanwhile(flow.load, victim.kill)
        new_leaders = await asyncio.to_thread(brokers.leaders)
        assert partitions_of(spread) <= new_leaders.keys()
        assert victim not in new_leaders.values()
        await until_busy(survivor, orphaned)
        await meanwhile(flow.load, brokers.start)


async def test_a_minority_is_cut_off_and_comes_back(
    spread: Installation, brokers: RabbitMQCluster
) -> None:
    """The majority goes on without it.

    What the minority's worker had in hand comes back, and events whose confirms are lost with the
    links between the nodes are published again.
    """
    leaders = await led_by_all(spread, brokers)
    # Where clients connect is random: not on every node there is a worker that consumes.
    minority = next(node for node in brokers.nodes if connected(node, " consuming"))
    majority = next(node for node in brokers.nodes if node is not minority)
    orphaned = {name for name, leader in leaders.items() if leader is minority}
    async with judged(spread) as flow:
        await until_busy(minority, orphaned)
        await meanwhile(flow.load, brokers.cut_off, minority)
        await until_busy(majority, orphaned)
        await meanwhile(flow.load, brokers.heal)


async def test_nodes_are_restarted_one_by_one(
    spread: Installation, brokers: RabbitMQCluster
) -> None:
    """An upgrade's way through a cluster: workers and producers connect again by themselves."""
    await led_by_all(spread, brokers)
    async with judged(spread) as flow:
        await until_busy(brokers.nodes[0], partitions_of(spread))
        await meanwhile(flow.load, brokers.restart_one_by_one)
    assert all(worker.logged("session lost") for worker in spread.workers)


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


@pytest.mark.parametrize("durability", ["server", "replica"])
async def test_a_replica_that_lacks_the_last_calls_is_promoted(
    services: Services, sentinel: RedisSentinel, durability: str
) -> None:
    """With ``replica`` too: WAIT asks for any replica, and another one may be promoted."""
    former, replicas = sentinel.primary, sentinel.replicas
    lagging = replicas if durability == "server" else replicas[:1]
    dying = [former, *(each for each in replicas if each not in lagging)]
    # Partitions are let go meanwhile, and are with workers afterwards that do not know their calls.
    settings = {"durability": durability, "hold_seconds": 3}
    async with installation(services, redis_url=sentinel.url, **settings) as calls:
        await start_workers(calls)
        async with judged(calls) as flow:
            # As it is without our replicas.conf: a primary goes on alone.
            asked(former.port, "CONFIG", "SET", "min-replicas-to-write", "0")
            for replica in lagging:
                replica.pause()
            try:
                # What is under way to a paused replica would reach it when it goes on.
                asked(former.port, "CLIENT", "KILL", "TYPE", "replica")
                await until_answered(flow, 200)
                for server in dying:
                    await asyncio.to_thread(server.kill)
            finally:
                for replica in lagging:
                    replica.resume()
            await asyncio.to_thread(sentinel.wait_promoted, former)
            for server in dying:
                await asyncio.to_thread(server.start)
                await asyncio.to_thread(sentinel.wait_following, server)
            await until_noticed(*calls.workers)
            for worker in calls.workers:
                assert "callctl rebuild" in str(await worker.until_ready(ready=False))

            # Nothing is acknowledged and nothing is answered, though there is enough to do.
            waited, unanswered = await waiting(calls), set(flow.timeline.outstanding)
            assert waited > 0
            await asyncio.sleep(2)
            assert await waiting(calls) >= waited
            assert unanswered <= flow.timeline.outstanding.keys()

            code, output, errors = await callctl(calls, "rebuild", "--json")
            assert code == 0, errors
            report = json.loads(output)
            assert (report["calls"] > 0, report["new_epoch"]) == (True, True)
            for worker in calls.workers:
                await worker.rejoined()


async def until_answered(flow: Traffic, count: int) -> None:
    """Wait until so many more commands have been answered."""
    before = answered(flow)
    await eventually(lambda: answered(flow) >= before + count, "commands are answered")


def answered(flow: Traffic) -> int:
    """Return how many commands have been answered."""
    return len(flow.timeline.timings) - len(flow.timeline.outstanding)


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
                sent_on, moved = redirected(shards, "ASK"), redirected(shards, "MOVED")
                with shards.moving(shards.slot(calls.names.call_prefix + latest)):
                    await eventually(
                        lambda: redirected(shards, "ASK") > sent_on,  # noqa: B023 - called in this turn
                        "a worker is sent on to where the call went",
                    )
                await eventually(
                    lambda: redirected(shards, "MOVED") > moved,  # noqa: B023 - called in this turn
                    "a worker is told that the slot has moved",
                )


def redirected(shards: RedisCluster, how: str) -> int:
    """Return how often clients of a Redis Cluster were redirected, with ASK or with MOVED."""
    texts = [asked(node.port, "INFO", "errorstats").decode() for node in shards.nodes]
    return sum(int(count) for text in texts for count in re.findall(rf"_{how}:count=(\d+)", text))
