"""What is said of servers that the tests cannot have."""

from typing import Any

import pytest

from worker.doctor.findings import Level, Report
from worker.doctor.rabbitmq import _version
from worker.doctor.servers import judge
from worker.settings import Durability

REDIS: dict[str, Any] = {
    "redis_version": "8.0.2",
    "role": "master",
    "aof_enabled": 1,
    "maxmemory_policy": "noeviction",
}


def level(durability: Durability, check: str, **facts: Any) -> Level:
    """How bad one thing is at a Redis that differs from a good one in some facts."""
    report = Report("Redis", [])
    config = {"appendfsync": "always", "hash-max-listpack-value": "256"}
    judge(report, {**REDIS, **facts}, config, durability)
    return next(each.level for each in report.findings if each.check == check)


@pytest.mark.parametrize(
    ("version", "durability", "expected"),
    [
        ("6.2.14", Durability.SERVER, Level.BAD),
        ("7.0.15", Durability.SERVER, Level.OK),
        ("7.0.15", Durability.AOF, Level.BAD),
        ("7.2.4", Durability.AOF, Level.OK),
        ("8.10.0", Durability.AOF, Level.OK),
    ],
)
def test_a_redis_is_as_old_as_the_durability_allows(
    version: str, durability: Durability, expected: Level
) -> None:
    """WAITAOF came with 7.2."""
    assert level(durability, "version", redis_version=version) is expected


@pytest.mark.parametrize(
    "status", ["aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"]
)
def test_a_disk_that_failed_is_bad(status: str) -> None:
    """Redis refuses writes then, or will."""
    assert level(Durability.SERVER, "last writes to disk", **{status: "ok"}) is Level.OK
    assert level(Durability.SERVER, "last writes to disk", **{status: "err"}) is Level.BAD


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("3.9.29", Level.BAD),
        ("3.10.8", Level.OK),
        ("4.3.6", Level.OK),
        ("4.4.0", Level.WARNING),
        ("5.0.0-rc.1", Level.WARNING),
    ],
)
def test_a_rabbitmq_is_one_that_was_tested(version: str, expected: Level) -> None:
    """Newer ones may do."""
    report = Report("RabbitMQ", [])
    _version(report, version)
    assert [each.level for each in report.findings] == [expected]
