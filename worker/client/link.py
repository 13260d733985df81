"""A connection that is opened again when it was lost."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from aio_pika.abc import AbstractConnection
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from worker.broker import connection as broker
from worker.errors import BrokerUnavailable

_T = TypeVar("_T")
_log: Final = logging.getLogger(__name__)


class Closed(RuntimeError):
    """Raised for who still uses a client that has been closed."""


class Link:
    """One connection at a time, for everybody who asks for it.

    Args:
        url: RabbitMQ.
        name: What RabbitMQ shows as the connection's name.
    """

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._connection: AbstractConnection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self) -> None:
        """Connect now, or not at all.

        Raises:
            BrokerUnavailable: RabbitMQ cannot be reached, or refuses.
            ConfigurationError: The URL is not one of RabbitMQ's.
        """
        self._connection = await broker.connect(self._url, self._name)
        self._closed = False

    async def get(self) -> AbstractConnection:
        """Return an open connection; while RabbitMQ is away, all wait for the same attempts.

        Raises:
            Closed: It has been closed.
        """
        while not self._closed:
            if self._connection is not None and not broker.is_lost(self._connection):
                return self._connection
            if self._opening is None or self._opening.done():
                self._opening = asyncio.create_task(self._open_again())
            await asyncio.wait({self._opening})
        raise Closed("the client is closed")

    async def _open_again(self) -> None:
        if self._connection is not None:
            await broker.close(self._connection)
        self._connection = await persistently(lambda: broker.connect(self._url, self._name))

    async def close(self) -> None:
        """Close it for good: who still waits for something is told so."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening})
        if self._connection is not None:
            await broker.close(self._connection)


async def persistently(step: Callable[[], Awaitable[_T]]) -> _T:
    """Do something until RabbitMQ lets it be done, ever less often and with jitter.

    Whoever cannot wait for ever bounds it in time.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(BrokerUnavailable),
        wait=wait_random_exponential(multiplier=0.05, max=2.0),
        before_sleep=_log_retry,
    )

    async def attempt() -> _T:
        return await step()

    return await retrying(attempt)


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    _log.info("attempt %d: %s", state.attempt_number, error)
