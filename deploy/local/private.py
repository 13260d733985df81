"""Both servers as processes of this machine, started side by side."""

import contextlib
from collections.abc import Iterator

from deploy.local.errors import ServerFailedError
from deploy.local.rabbitmq import RabbitMQProcess
from deploy.local.redis import RedisProcess
from deploy.local.runtime import Runtime
from deploy.local.services import Progress, Services
from deploy.local.session import session, uninterrupted

#: Another process may take a port between choosing it and listening on it.
_ATTEMPTS = 3
_PORT_TAKEN = ("eaddrinuse", "address already in use")


@contextlib.contextmanager
def private_servers(name: str, runtime: Runtime, progress: Progress) -> Iterator[Services]:
    """Yield servers that run from ``runtime``; their data goes with them.

    Raises:
        ServerFailedError: one did not start; carries the end of its log.
    """
    progress("starting RabbitMQ and Redis")
    with session() as directory, contextlib.ExitStack() as cleaning:
        for attempt in range(_ATTEMPTS):
            broker = RabbitMQProcess(runtime, directory / f"rabbitmq-{attempt}")
            redis = RedisProcess(runtime, directory / f"redis-{attempt}")
            cleaning.callback(_discard, broker, redis)
            try:
                redis.begin()
                broker.begin()
                redis.wait()
                broker.wait()
            except ServerFailedError as error:
                taken = any(sign in str(error).lower() for sign in _PORT_TAKEN)
                if not taken or attempt == _ATTEMPTS - 1:
                    raise
            else:
                break
        yield Services(name, broker.url, redis.url, broker.management_url, broker, redis)


def _discard(broker: RabbitMQProcess, redis: RedisProcess) -> None:
    # Their data is removed next, so there is nothing a clean shutdown would save.
    with uninterrupted():
        redis.kill()
        broker.discard()
