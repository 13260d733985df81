"""What RabbitMQ refuses for good, told apart from what passes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed

from worker.broker.connection import is_missing
from worker.errors import BrokerUnavailable, ConfigurationError


@asynccontextmanager
async def mistakes(name: str) -> AsyncIterator[None]:
    """Raise for what no patience helps against.

    Args:
        name: The exchange or stream that is used.

    Raises:
        ConfigurationError: It is not there, or this user may not do that, or nobody may.
    """
    try:
        yield
    except BrokerUnavailable as error:
        if is_missing(error.__cause__):
            raise ConfigurationError(f"there is no {name}: has a worker ever run?") from None
        if isinstance(error.__cause__, ChannelAccessRefused | ChannelPreconditionFailed):
            raise ConfigurationError(f"RabbitMQ: {error.__cause__}") from None
        raise
