"""A worker and a gateway, as tasks, in a namespace of their own that is removed afterwards."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final, Protocol

from worker.broker import connection as broker
from worker.broker.declaring import remove
from worker.broker.topology import topology_of
from worker.errors import Unavailable
from worker.gateways.asterisk.service import Service as Gateway
from worker.gateways.asterisk.settings import AsteriskSettings
from worker.names import Names
from worker.service import Service as Worker
from worker.settings import Settings
from worker.store import close, connect

#: Seconds until both are ready; they take one or two.
_START_SECONDS: Final = 60.0


class _Service(Protocol):
    def problems(self) -> list[str]: ...

    def stop(self) -> None: ...

    async def run(self) -> None: ...


@asynccontextmanager
async def running(
    settings: Settings, asterisk: AsteriskSettings, calls: Collection[str]
) -> AsyncIterator[None]:
    """Run both while the block is.

    Args:
        settings: The installation's settings.
        asterisk: The gateway's settings.
        calls: The names of the calls there have been; asked for in the end.

    Raises:
        CallControlError: One of them cannot start.
    """
    worker = Worker(settings)
    services: list[_Service] = [worker, Gateway(settings, asterisk)]
    tasks = [asyncio.create_task(service.run()) for service in services]
    try:
        await _ready(services, tasks)
        yield
        for service in services:
            service.stop()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await _remove(settings, asterisk.name, worker.name, calls)


async def _ready(services: list[_Service], tasks: list["asyncio.Task[None]"]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while problems := [problem for service in services for problem in service.problems()]:
        for task in tasks:
            if task.done():
                await task
        if time.monotonic() > deadline:
            raise Unavailable("; ".join(problems))
        await asyncio.sleep(0.02)


async def _remove(settings: Settings, gateway: str, worker: str, calls: Collection[str]) -> None:
    names = Names(settings.namespace)
    connection = await broker.connect(settings.amqp_url.get_secret_value(), "demo-calls")
    try:
        await remove(connection, topology_of(settings, [gateway]))
    finally:
        await broker.close(connection)
    redis = connect(settings.redis_url.get_secret_value())
    try:
        for key in (*(names.call_prefix + call for call in calls), *names.keys):
            await redis.delete(key)
        await redis.delete(names.worker(worker))
    finally:
        await close(redis)
