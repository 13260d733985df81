"""``callctl topology apply``."""

from rich.console import Console

from worker.broker.connection import close, connect
from worker.broker.topology import declare, topology_of
from worker.settings import Settings


async def apply(settings: Settings) -> int:
    """Declare an installation at RabbitMQ, for workers and others who may not.

    Raises:
        ConfigurationError: RabbitMQ has something else under a name, or its user may not declare.
        BrokerUnavailable: RabbitMQ cannot be reached.
    """
    wanted = topology_of(settings)
    connection = await connect(settings.amqp_url.get_secret_value(), "callctl topology")
    try:
        await declare(connection, wanted)
    finally:
        await close(connection)
    Console(highlight=False).print(
        f"{len(wanted.exchanges)} exchanges, {len(wanted.queues)} queues and"
        f" {len(wanted.bindings)} bindings are in place"
    )
    return 0
