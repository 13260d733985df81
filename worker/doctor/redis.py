"""Examine Redis: its servers, and what the installation keeps there beside its calls."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import RedisCluster
from redis.exceptions import NoPermissionError, ResponseError

from worker.doctor.findings import Report
from worker.doctor.servers import Facts, judge
from worker.errors import ConfigurationError, StoreUnavailable
from worker.names import Names
from worker.settings import Settings
from worker.store import RedisClient, close, connect
from worker.store.epoch import Epoch
from worker.store.errors import translated_errors

#: Seconds by which clocks may differ before it is worth a word.
_CLOCK_SECONDS: Final = 2.0

_CONFIG: Final = ("appendfsync", "hash-max-listpack-value", "min-replicas-to-write")


@dataclass(frozen=True, slots=True)
class Kept:
    """What an installation keeps beside its calls, and the time by Redis' clock.

    Attributes:
        epoch: The value of the epoch's key.
        partitions: The recorded number of partitions.
        heartbeats: The workers' heartbeats, in milliseconds since the epoch.
        now: Redis' time, in seconds since the epoch.
        ahead: By how many seconds that is ahead of this machine's.
    """

    epoch: bytes | None
    partitions: bytes | None
    heartbeats: Mapping[str, float]
    now: float
    ahead: float

    def alive(self, settings: Settings) -> int:
        """Return how many workers live."""
        oldest = (self.now - settings.lapse_seconds) * 1000
        return sum(beat >= oldest for beat in self.heartbeats.values())


async def examine_redis(settings: Settings, report: Report) -> int | None:
    """Add what is to be said of Redis; return how many workers live, if it answers."""
    try:
        redis = connect(settings.redis_url.get_secret_value())
    except ConfigurationError as error:
        report.bad("connection", str(error), "mend CALL_CONTROL_REDIS_URL")
        return None
    try:
        servers = await _servers(redis)
        kept = await _kept(redis, Names(settings.namespace))
    except StoreUnavailable as error:
        remedy = "start it, or mend CALL_CONTROL_REDIS_URL and what its user may do (deploy/redis)"
        report.bad("connection", str(error), remedy)
        return None
    finally:
        await close(redis)
    report.ok("connection", "answers")
    for name, info, config in servers:
        server = Report(f"{report.service} {name}".rstrip(), report.findings)
        judge(server, info, config, settings.durability)
    alive = kept.alive(settings)
    _epoch(report, kept, alive)
    _partitions(report, kept, settings.partitions)
    _clock(report, kept.ahead)
    return alive


async def _servers(redis: RedisClient) -> list[tuple[str, Facts, Facts | None]]:
    """Return what the servers that hold calls say of themselves, by names in a cluster."""
    client: Any = redis
    if not isinstance(redis, RedisCluster):
        return [("", *await _asked(client, {}))]
    with translated_errors():
        await redis.initialize()
    return [
        (str(node.name), *await _asked(client, {"target_nodes": node}))
        for node in redis.get_primaries()
    ]


async def _asked(client: Any, where: dict[str, Any]) -> tuple[Facts, Facts | None]:
    with translated_errors():
        info: Facts = await client.info(**where)
        try:
            config: Facts = await client.config_get(*_CONFIG, **where)
        except (NoPermissionError, ResponseError):
            # Providers that run Redis for others do not know the command at all.
            return info, None
    return info, config


async def _kept(redis: RedisClient, names: Names) -> Kept:
    client: Any = redis
    with translated_errors():
        epoch = await client.get(names.epoch)
        partitions = await client.get(names.partition_count)
        beats = await client.zrange(names.workers, 0, -1, withscores=True)
        before = time.time()
        where = {"target_nodes": RedisCluster.RANDOM} if isinstance(redis, RedisCluster) else {}
        seconds, microseconds = await client.time(**where)
        after = time.time()
    now = int(seconds) + int(microseconds) / 1e6
    heartbeats = {worker.decode(errors="replace"): float(beat) for worker, beat in beats}
    return Kept(epoch, partitions, heartbeats, now, now - (before + after) / 2)


def _epoch(report: Report, kept: Kept, alive: int) -> None:
    check, remedy = "calls lost", "mend Redis, then run callctl rebuild"
    if kept.epoch is None and alive:
        report.bad(check, "the epoch is missing: Redis was emptied or replaced", remedy)
    elif kept.epoch is None and kept.partitions:
        found = "the epoch is missing: the first worker is starting, or Redis has lost something"
        report.warning(check, found, f"look again in a moment; if that stays so, {remedy}")
    elif kept.epoch is None:
        report.ok(check, "none: no worker has run here yet")
    elif Epoch.decode(kept.epoch) is None:
        report.bad(check, "a worker has found calls in an earlier state", remedy)
    else:
        report.ok(check, "none that a worker has noticed")


def _partitions(report: Report, kept: Kept, wanted: int) -> None:
    if kept.partitions is None:
        report.ok("partitions", f"{wanted}, to be recorded by the first worker")
    elif kept.partitions == str(wanted).encode():
        report.ok("partitions", f"{wanted}, as recorded")
    else:
        recorded = kept.partitions.decode(errors="replace")
        remedy = f"set CALL_CONTROL_PARTITIONS={recorded}: or change it as deploy/SCALING.md says"
        report.bad("partitions", f"{wanted} are set, {recorded} are in force", remedy)


def _clock(report: Report, ahead: float) -> None:
    found = f"Redis' is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    if abs(ahead) > _CLOCK_SECONDS:
        remedy = "set them by NTP: how long calls are kept is reckoned by workers' clocks"
        report.warning("clock", found, remedy)
    else:
        report.ok("clock", found)
