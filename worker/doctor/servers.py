"""Judge a Redis server by what it says of itself."""

from collections.abc import Mapping
from typing import Any, Final

from worker.doctor.findings import Report
from worker.settings import Durability

#: What Redis says of itself (``INFO``), or of its configuration (``CONFIG GET``).
Facts = Mapping[str, Any]

#: The oldest version that workers know, and the first with WAITAOF.
_OLDEST: Final = (7, 0)
_WAITAOF: Final = (7, 2)

#: Bytes of a value up to which a call stays compact.
_LISTPACK_BYTES: Final = 256

#: Shares of the memory that are worth a word, and worse.
_MUCH: Final = 0.8
_NEARLY_ALL: Final = 0.95

_UNSEEN: Final = "only CONFIG GET tells, which this user may not use"
_SHIPPED: Final = "as deploy/redis/redis.conf has it"


def judge(report: Report, info: Facts, config: Facts | None, durability: Durability) -> None:
    """Add what is to be said of one server that holds calls.

    Args:
        report: Where to add it.
        info: What it says of itself.
        config: Its configuration; None where this user may not read it.
        durability: What a commit waits for.
    """
    _version(report, info, durability)
    role = str(info.get("role", ""))
    if role == "master":
        report.ok("role", "a primary")
    else:
        report.bad("role", f"a {role}", "name the primary in CALL_CONTROL_REDIS_URL")
    _persistence(report, info, config, durability)
    _writes(report, info)
    _memory(report, info)
    _replicas(report, info, config, durability)
    _compactness(report, config)


def _version(report: Report, info: Facts, durability: Durability) -> None:
    # Valkey says in redis_version which Redis it is like.
    text = str(info.get("redis_version", ""))
    name = "Valkey" if "valkey_version" in info else "Redis"
    shown = f"{name} {info.get('valkey_version', text)}"
    version = tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())
    if version < _OLDEST:
        report.bad("version", shown, "run Redis 7.0 or newer, or Valkey")
    elif durability is Durability.AOF and version < _WAITAOF:
        remedy = "run Redis 7.2 or newer, or choose another CALL_CONTROL_DURABILITY"
        report.bad("version", f"{shown} has no WAITAOF", remedy)
    else:
        report.ok("version", shown)


def _persistence(report: Report, info: Facts, config: Facts | None, durability: Durability) -> None:
    check = "persistence"
    if not info.get("aof_enabled"):
        remedy = f"set appendonly yes and appendfsync always, {_SHIPPED}"
        found = "appendonly no: a restart loses calls"
        add = report.warning if durability is Durability.REPLICA else report.bad
        add(check, found, remedy)
        return
    if config is None:
        remedy = "run doctor as a user who may, or look with redis-cli CONFIG GET appendfsync"
        report.unknown(check, f"appendonly yes; of appendfsync {_UNSEEN}", remedy)
        return
    fsync = str(config.get("appendfsync"))
    found = f"appendonly yes, appendfsync {fsync}"
    if fsync == "always":
        report.ok(check, found)
    elif durability is Durability.AOF:
        remedy = f"set appendfsync always, {_SHIPPED}: it makes that milliseconds"
        report.warning(check, f"{found}: each batch waits up to a second for the disk", remedy)
    else:
        lost = "the last second" if fsync == "everysec" else "what the system has not written yet"
        remedy = f"set appendfsync always, {_SHIPPED}, or CALL_CONTROL_DURABILITY=aof"
        report.warning(check, f"{found}: a power cut loses {lost}", remedy)


def _writes(report: Report, info: Facts) -> None:
    statuses = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
    failed = [name for name in statuses if info.get(name, "ok") != "ok"]
    if failed:
        remedy = "see to its disk; its log says more"
        report.bad("last writes to disk", f"failed: {', '.join(failed)}", remedy)
    else:
        report.ok("last writes to disk", "went well")


def _memory(report: Report, info: Facts) -> None:
    policy = str(info.get("maxmemory_policy"))
    if policy == "noeviction":
        report.ok("eviction", policy)
    else:
        remedy = f"set maxmemory-policy noeviction, {_SHIPPED}"
        report.bad("eviction", f"{policy}: calls are lost when memory is short", remedy)
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    shown = f"{used / 2**20:.0f} MiB in use"
    if not most:
        report.ok("memory", f"{shown}, no maxmemory")
        return
    shown, share = f"{shown} of {most / 2**20:.0f} MiB", used / most
    remedy = "raise maxmemory: when it is full, commands wait"
    if share >= _NEARLY_ALL:
        report.bad("memory", shown, remedy)
    elif share >= _MUCH:
        report.warning("memory", shown, remedy)
    else:
        report.ok("memory", shown)


def _replicas(report: Report, info: Facts, config: Facts | None, durability: Durability) -> None:
    count = int(info.get("connected_slaves", 0))
    needed = durability is Durability.REPLICA
    if needed and not count:
        remedy = "start two replicas; without one, workers do not join"
        report.bad("replicas", "none, and CALL_CONTROL_DURABILITY=replica", remedy)
    elif needed and count == 1:
        report.warning("replicas", "one: commands wait while it is away", "start a second one")
    else:
        report.ok("replicas", str(count or "none"))
    if not count:
        return
    check, remedy = "min-replicas-to-write", "set it to 1, as deploy/redis/replicas.conf has it"
    if config is None:
        report.unknown(check, _UNSEEN, "run doctor as a user who may")
    elif int(config.get(check, 0)):
        report.ok(check, str(config[check]))
    else:
        report.warning(check, "0: a primary that was cut off goes on beside its successor", remedy)


def _compactness(report: Report, config: Facts | None) -> None:
    check = "hash-max-listpack-value"
    if config is None:
        report.unknown(check, _UNSEEN, "run doctor as a user who may")
        return
    limit = int(config.get(check, 0))
    if limit >= _LISTPACK_BYTES:
        report.ok(check, str(limit))
    else:
        remedy = f"set {_LISTPACK_BYTES}, {_SHIPPED}"
        report.warning(check, f"{limit}: calls take half as much memory again", remedy)
