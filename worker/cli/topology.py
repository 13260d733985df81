"""``callctl topology``."""

from rich.console import Console

from worker.broker.connection import close, connect
from worker.broker.topology import declare, topology_of
from worker.cli.running import group, run
from worker.settings import Settings

app = group()


@app.callback()
def topology() -> None:
    """What the installation has at RabbitMQ."""


@app.command()
def apply() -> None:
    """Declare what is missing, as a user who may configure; a difference is an error that names it.

    Before the first producer of a new installation, and for workers that may not declare.
    """
    run(_apply)


async def _apply(settings: Settings) -> int:
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
