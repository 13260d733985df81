"""Whether RabbitMQ and Redis are installed on this machine, recent enough for the worker."""

import re
import shutil
from pathlib import Path

from deploy.local.errors import CommandFailedError
from deploy.local.process import run
from deploy.local.rabbitmq import SCRIPTS
from deploy.local.runtime import HostRuntime, program_path

_RABBITMQ = (3, 10)
_REDIS = (7, 0)

#: Seconds for redis-server to print its version.
_VERSION_TIMEOUT = 10.0


def missing() -> str | None:
    """Return what is missing, or None."""
    if not Path("/proc/self/stat").exists():
        return "needs Linux, to tell its own processes from others"
    for program in ("rabbitmq-server", "redis-server", "epmd"):
        if not shutil.which(program, path=program_path()):
            return f"{program} is not on PATH (needs RabbitMQ >= 3.10 and Redis >= 7)"
    return _too_old("RabbitMQ", _rabbitmq_version(), _RABBITMQ) or _too_old(
        "Redis", _redis_version(), _REDIS
    )


def _rabbitmq_version() -> str:
    # Its own command line tool would start a shared epmd, just to print the version.
    script = HostRuntime().program(f"{SCRIPTS}/rabbitmq-server", "rabbitmq-server")
    found = shutil.which(script, path=program_path()) or script
    home = Path(found).resolve().parent.parent
    places = [*home.glob("lib/rabbitmq_server-*"), *home.glob("plugins/rabbit-*")]
    return places[0].name if places else ""


def _redis_version() -> str:
    try:
        env = HostRuntime().environment()
        return run(["redis-server", "--version"], timeout=_VERSION_TIMEOUT, env=env)
    except CommandFailedError:
        return ""


def _too_old(name: str, said: str, least: tuple[int, int]) -> str | None:
    found = re.search(r"(\d+)\.(\d+)", said)
    # A version that cannot be told is tried.
    if found is None or (int(found[1]), int(found[2])) >= least:
        return None
    return f"{name} {found[0]} is older than {least[0]}.{least[1]}"
