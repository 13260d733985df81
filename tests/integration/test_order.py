"""Order, and one outcome for each command, while workers come and go."""

import asyncio
import secrets
from collections import defaultdict

import pytest

from tests.harness import Installation, eventually
from tests.messages import Published, Seen

#: A conversation, and what the state table says to each command, published without waiting.
CONVERSATION = (
    ("call", "call_connected", 200),
    ("hold", "call_held", 200),
    ("dial", "call_control_failed", 409),
    ("retrieve", "call_retrieved", 200),
    ("dial", "digits_dialed", 200),
    ("mute", "call_muted", 200),
    ("transfer", "call_transferred", 200),
    ("un_mute", "call_un_muted", 200),
    ("disconnect", "call_terminated", 200),
    ("hold", "call_control_failed", 481),
)

FIELDS: dict[str, dict[str, str]] = {
    "call": {"origin": "tel:+18164388687", "destination": "tel:+18165057120"},
    "dial": {"digits": "42#"},
    "transfer": {"endpoint": "tel:+18166623395"},
}


async def converse(calls: Installation, request_id: str) -> list[Published]:
    """Publish a whole conversation, in order, without waiting for any event."""
    return [
        await calls.command(request_id, name, **FIELDS.get(name, {})) for name, _, _ in CONVERSATION
    ]


def first_seen(events: list[Seen]) -> dict[str, list[Seen]]:
    """The events of each call in the order of their first copy."""
    seen: set[str] = set()
    calls: dict[str, list[Seen]] = defaultdict(list)
    for event in events:
        if event.message_id not in seen:
            seen.add(event.message_id)
            calls[event.request_id].append(event)
    return calls


def check(calls: Installation, published: dict[str, list[Published]]) -> None:
    """Check every call against the contract's invariants."""
    seen = first_seen(calls.events)
    assert seen.keys() == published.keys()
    for request_id, commands in published.items():
        events = seen[request_id]
        assert [event.sequence for event in events] == list(range(1, len(CONVERSATION) + 1))
        assert [event.correlation_id for event in events] == [c.message_id for c in commands]
        assert [(event.kind, event.content["status"]) for event in events] == [
            (kind, status) for _, kind, status in CONVERSATION
        ]
        assert [event.headers["terminal"] for event in events].count(True) == 1


async def all_answered(calls: Installation, published: dict[str, list[Published]]) -> None:
    """Wait until each command is answered."""
    wanted = {command.message_id for commands in published.values() for command in commands}

    def answered() -> bool:
        return wanted <= {event.correlation_id for event in calls.events}

    await eventually(answered, "every command is answered", seconds=60)


async def publish_calls(
    calls: Installation, at_least: int, over: asyncio.Event | None = None, at_once: int = 20
) -> dict[str, list[Published]]:
    """Publish interleaved conversations, ``at_once`` at a time, until it is over."""
    published: dict[str, list[Published]] = {}

    async def publish() -> None:
        while len(published) < at_least or not (over is None or over.is_set()):
            request_id = f"call-{secrets.token_hex(6)}"
            published[request_id] = []
            published[request_id] = await converse(calls, request_id)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_once):
            tasks.create_task(publish())
    return published


@pytest.mark.parametrize("workers", [2, 4])
async def test_pipelined_conversations_take_effect_in_publish_order_while_workers_come_and_go(
    wide: Installation, workers: int
) -> None:
    """500 interleaved calls; meanwhile workers join, are killed, and are stopped cleanly."""
    await wide.start(workers)
    await wide.subscribe()
    over = asyncio.Event()
    publishing = asyncio.create_task(publish_calls(wide, 500, over))
    for turn in range(4):
        await asyncio.sleep(0.3)
        (joined,) = await wide.start()
        leaving = next(w for w in wide.workers if w.process.returncode is None and w is not joined)
        if turn % 2:
            assert await leaving.terminate() == 0
        else:
            await leaving.kill()
    over.set()
    published = await publishing
    await all_answered(wide, published)
    check(wide, published)


async def test_workers_that_each_believe_to_be_alone_lose_nothing_and_keep_the_order(
    wide: Installation,
) -> None:
    """None of them ever hears of another: the broker alone decides who gets what."""
    for _ in range(3):
        await wide.spawn(command=("-m", "tests.saboteur", "alone"))
    for worker in wide.workers:
        await worker.joined()
    await wide.subscribe()
    published = await publish_calls(wide, 100)
    await all_answered(wide, published)
    check(wide, published)


async def test_an_emptied_heartbeat_set_costs_no_command_and_no_order(wide: Installation) -> None:
    """The set is deleted again and again while commands flow."""
    await wide.start(3)
    await wide.subscribe()
    publishing = asyncio.create_task(publish_calls(wide, 200))
    while not publishing.done():
        await wide.redis.delete(wide.names.workers)
        await asyncio.sleep(0.2)
    published = await publishing
    await all_answered(wide, published)
    check(wide, published)
