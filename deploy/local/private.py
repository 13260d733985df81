"""Both servers as processes of this machine, started side by side."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from deploy.local.rabbitmq import RabbitMQProcess
from deploy.local.redis import RedisProcess
from deploy.local.running import running
from deploy.local.runtime import Runtime
from deploy.local.services import Progress, Services


class _Pair:
    def __init__(self, runtime: Runtime, directory: Path) -> None:
        self.broker = RabbitMQProcess(runtime, directory / "rabbitmq")
        self.redis = RedisProcess(runtime, directory / "redis")

    def start(self) -> None:
        self.redis.begin()
        self.broker.begin()
        self.redis.wait()
        self.broker.wait()

    def discard(self) -> None:
        self.redis.discard()
        self.broker.discard()


@contextlib.contextmanager
def private_servers(name: str, runtime: Runtime, progress: Progress) -> Iterator[Services]:
    """Yield servers that run from ``runtime``; their data goes with them.

    Raises:
        ServerFailedError: one did not start; carries the end of its log.
    """
    progress("starting RabbitMQ and Redis")
    with running(lambda directory: _Pair(runtime, directory)) as pair:
        broker, redis = pair.broker, pair.redis
        yield Services(name, broker.url, redis.url, broker.management_url, broker, redis)
