"""A connection that is opened when it is needed, and again when it was lost."""

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


class Link:
    """One connection at a time.

    Args:
        url: RabbitMQ.
        name: What RabbitMQ shows as the connection's name.
    """

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._connection: AbstractConnection | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def get(self) -> AbstractConnection:
        """Return an open connection.

        Raises:
            BrokerUnavailable: RabbitMQ cannot be reached, or refuses.
            ConfigurationError: The URL is not one of RabbitMQ's.
            RuntimeError: It has been closed.
        """
        async with self._opening:
            if self._closed:
                raise RuntimeError("the client is closed")
            if self._connection is not None and broker.is_lost(self._connection):
                await broker.close(self._connection)
                self._connection = None
            if self._connection is None:
                self._connection = await broker.connect(self._url, self._name)
            return self._connection

    async def close(self) -> None:
        """Close it for good: who still waits for something is told so."""
        self._closed = True
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
