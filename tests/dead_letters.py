"""Dead letters as an operator sees and makes them."""

import asyncio
import json
from typing import Any

import aio_pika
from typer.testing import CliRunner

from tests.harness import Installation
from worker.cli.app import app

#: Looks until a dead letter is in its queue; each takes half a second.
_MOST_LOOKS = 40


async def dead(calls: Installation, *arguments: str, columns: int = 200) -> tuple[int, str, str]:
    """Run ``callctl dead`` in this process; return its exit code, its output and its errors."""
    environment = {**calls.environment, "COLUMNS": str(columns)}
    command = ("dead", *arguments)
    result = await asyncio.to_thread(CliRunner().invoke, app, command, env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


async def listed(calls: Installation, *filters: str) -> list[dict[str, Any]]:
    """What ``callctl dead list`` says."""
    code, output, errors = await dead(calls, "list", "--json", *filters)
    letters = [json.loads(line) for line in output.splitlines()]
    assert code == (0 if letters else 1), errors
    return letters


async def expire(calls: Installation, request_id: str, body: Any, **properties: Any) -> str:
    """Publish a command that nobody takes in time; return its ``message_id``."""
    count = len(calls.dead)
    published = await calls.publish(request_id, body, expiration=0.01, **properties)
    await calls.until_dead(count + 1)
    # Who looks on may see it before the queue has it from which they are listed.
    for _ in range(_MOST_LOOKS):
        if await listed(calls, published.message_id):
            return published.message_id
    raise AssertionError("what has expired is no dead letter")


async def put(calls: Installation, body: bytes, **properties: Any) -> None:
    """Put a message among the dead letters by hand."""
    exchange = await calls.producer.get_exchange(calls.names.dead_letters, ensure=False)
    await exchange.publish(aio_pika.Message(body, **properties), "123XYZ")


async def put_many(calls: Installation, count: int) -> list[str]:
    """Put commands among the dead letters as a worker does; return their ``message_id``s."""
    ids = [f"m-{number:06}" for number in range(count)]
    headers = {
        "status": 500,
        "reason": "Internal Error: the stored call cannot be read",
        "original_exchange": calls.names.commands,
        "original_routing_key": "123XYZ",
    }
    body = json.dumps({"call_control": "hold", "request_id": "123XYZ"}).encode()
    for start in range(0, count, 500):
        await asyncio.gather(
            *(put(calls, body, message_id=each, headers=headers) for each in ids[start:][:500])
        )
    return ids
