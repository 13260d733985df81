"""``callctl send`` and ``callctl offer``."""

import secrets
from collections.abc import Mapping

from pydantic_core import to_json
from rich.console import Console

from schemas.commands import Command
from schemas.contract import OK, CommandName, ReportName
from schemas.fields import routing_word
from schemas.reports import Offered
from schemas.wire import Malformed, read
from worker.client import answer, open_client
from worker.errors import ConfigurationError
from worker.settings import Settings


async def send(
    name: CommandName,
    request_id: str,
    fields: Mapping[str, str],
    wait_seconds: float | None,
    settings: Settings,
) -> int:
    """Publish a command; return 0, or 1 when its answer was waited for and is a refusal.

    Raises:
        ConfigurationError: A field is missing or wrong, or the installation is not there.
        BrokerUnavailable: RabbitMQ cannot be reached, or the answer does not come in time.
    """
    command = _checked({"call_control": name.value, "request_id": request_id, **fields})
    console = Console()
    async with open_client(settings) as client:
        if wait_seconds is None:
            console.print("published", await client.publish_command(command))
            return 0
        async with client.events(f"*.{routing_word(request_id)}") as events:
            event = await answer(events, await client.publish_command(command), wait_seconds)
    console.print_json(data=event.body)
    return 0 if event.content.get("status") == OK else 1


def _checked(body: Mapping[str, str]) -> Command:
    reading = read(to_json(body)).body
    if isinstance(reading, Malformed):
        raise ConfigurationError(f"{reading.field}: {reading.problem}")
    if isinstance(reading, Command):
        return reading
    raise ConfigurationError("not a command")


async def offer(origin: str, destination: str, request_id: str | None, settings: Settings) -> int:
    """Publish the report of an incoming call, and print its ``request_id``.

    Raises:
        ConfigurationError: An address is wrong, or the installation is not there.
        BrokerUnavailable: RabbitMQ cannot be reached.
    """
    reading = read(
        to_json(
            {
                "network_report": ReportName.OFFERED,
                "request_id": request_id or f"in-{secrets.token_hex(6)}",
                "origin": origin,
                "destination": destination,
            }
        )
    ).body
    if not isinstance(reading, Offered):
        problem = f"{reading.field}: {reading.problem}" if isinstance(reading, Malformed) else ""
        raise ConfigurationError(problem)
    async with open_client(settings) as client:
        await client.publish_report(reading)
    Console().print("offered", reading.request_id)
    return 0
