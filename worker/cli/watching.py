"""``callctl watch``."""

import asyncio
from datetime import datetime

from rich.console import Console

from schemas.contract import OK
from schemas.fields import routing_word
from worker.client import Received, open_client
from worker.settings import Settings


async def watch(request_id: str | None, settings: Settings) -> int:
    """Print events until interrupted.

    Raises:
        BrokerUnavailable: RabbitMQ cannot be reached, or is lost.
    """
    console = Console(highlight=False)
    pattern = "#" if request_id is None else f"*.{routing_word(request_id)}"
    async with open_client(settings) as client, client.events(pattern) as events:
        lost = asyncio.create_task(client.until_lost())
        while True:
            event = asyncio.create_task(events.get())
            await asyncio.wait({lost, event}, return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                event.cancel()
                await lost
            _show(console, event.result())


def _show(console: Console, event: Received) -> None:
    content = event.content
    status = content.get("status")
    console.print(
        f"{datetime.now().astimezone():%H:%M:%S.%f}"[:-3],
        f"{content.get('request_id', ''):<16}",
        f"{event.headers.get('sequence', ''):>4}",
        f"{event.kind:<20}",
        f"{event.headers.get('call_state', ''):<10}",
        f"{status} {content.get('reason', '')}",
        style=None if status == OK else "yellow",
        markup=False,
    )
