"""What each worker says of itself in Redis, about once a second, for ``callctl top``."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable
from typing import Any, Final

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from worker.broker.inbox import Inbox
from worker.errors import StoreUnavailable
from worker.metrics import Metrics, build_version, total
from worker.names import Names
from worker.store import RedisClient
from worker.store.errors import translated_errors

_log: Final = structlog.get_logger(__name__)

#: Seconds between two of a worker's statuses.
_PAUSE_SECONDS: Final = 1.0

#: How long a status is kept, in milliseconds; a worker that is gone leaves none for longer.
_KEPT_MS: Final = 5_000


class Status(BaseModel):
    """How a worker is.

    Attributes:
        worker: Its name.
        host: The machine it runs on.
        pid: Its process there.
        http_port: The port of its health checks.
        version: The version that runs.
        uptime_seconds: How long it has run; rates are reckoned by it.
        problems: What keeps it from taking commands.
        active: Partitions that it consumes from.
        standby: Partitions that it stands by for.
        commands: Commands answered since it started, as are all that follow.
        events: Events confirmed.
        redelivered: Deliveries that RabbitMQ had made before.
        duplicates: Messages answered from a record.
        conflicts: Calls decided again, because others had changed them.
        dead_letters: Dead letters published.
        unsettled_seconds: How long ago the oldest delivery came that is not acknowledged.
    """

    model_config = ConfigDict(frozen=True)

    worker: str
    host: str
    pid: int
    http_port: int | None
    version: str
    uptime_seconds: float
    problems: list[str]
    active: int
    standby: int
    commands: int
    events: int
    redelivered: int
    duplicates: int
    conflicts: int
    dead_letters: int
    unsettled_seconds: float

    @classmethod
    def of(
        cls,
        worker: str,
        metrics: Metrics,
        inbox: Inbox | None,
        *,
        problems: list[str],
        http_port: int | None,
        uptime_seconds: float,
    ) -> "Status":
        """Return how a worker is: its metrics, and the partitions it is subscribed to."""
        active = inbox.active if inbox else 0
        return cls(
            worker=worker,
            host=socket.gethostname(),
            pid=os.getpid(),
            http_port=http_port,
            version=build_version(),
            uptime_seconds=uptime_seconds,
            problems=problems,
            active=active,
            standby=(inbox.partitions if inbox else 0) - active,
            commands=total(metrics.commands),
            events=total(metrics.events),
            redelivered=total(metrics.redelivered),
            duplicates=total(metrics.duplicates),
            conflicts=total(metrics.conflicts),
            dead_letters=total(metrics.dead_letters),
            unsettled_seconds=inbox.unsettled_seconds if inbox else 0.0,
        )


async def tell(redis: RedisClient, key: str, status: Callable[[], Status]) -> None:
    """Write a worker's status once a second, until cancelled.

    While Redis does not take it, nothing is said; others have to do with what that means.
    """
    client: Any = redis
    while True:
        try:
            with translated_errors():
                await client.set(key, status().model_dump_json(), px=_KEPT_MS)
        except StoreUnavailable as error:
            _log.debug("status not written", why=str(error))
        await asyncio.sleep(_PAUSE_SECONDS)


async def ask(redis: RedisClient, names: Names) -> list[Status]:
    """Return the statuses of the workers that live, by name.

    One that has just joined may not have said anything yet.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    client: Any = redis
    with translated_errors():
        workers: Iterable[bytes] = await client.zrange(names.workers, 0, -1)
        pipeline: Any = redis.pipeline(transaction=False)
        for worker in sorted(workers):
            pipeline.get(names.worker(worker.decode()))
        answers = await pipeline.execute()
    found = []
    for answer in answers:
        try:
            found.append(Status.model_validate_json(answer or b""))
        except ValidationError:
            # Nothing yet, or what a worker of another version says.
            continue
    return found
