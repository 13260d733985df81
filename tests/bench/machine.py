"""What a run ran on: the machine without its name, and the versions of everything."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from deploy.local import Services
from tests.bench.results import Machine
from tests.bench.stage import connected
from worker.broker.connection import broker_version

_PACKAGES: Final = (
    "call-control-worker",
    "faststream",
    "aio-pika",
    "aiormq",
    "taskiq",
    "taskiq-aio-pika",
    "dramatiq",
    "pika",
    "pydantic",
    "redis",
    "hiredis",
)


def machine() -> Machine:
    """Describe this machine."""
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return Machine(
        cpu=found[1] if found else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=platform.release(),
    )


async def versions(services: Services) -> dict[str, str]:
    """Return the versions of the servers, of Python and of the packages."""
    async with connected(services) as connection, Redis.from_url(services.redis_url) as redis:
        server: dict[str, Any] = await redis.info("server")
        return {
            "RabbitMQ": broker_version(connection),
            "Redis": str(server["redis_version"]),
            "Python": platform.python_version(),
            **{package: version(package) for package in _PACKAGES},
        }
