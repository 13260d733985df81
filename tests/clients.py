"""Clients under test, and what becomes of them."""

import asyncio
from typing import Any

import aio_pika

from tests.harness import Installation
from worker.client import CallControl, Event, Subscription

CONNECTION = "a client under test"
A, B, C = "tel:+18164388687", "tel:+18165057120", "tel:+18166623395"


def connected_to(calls: Installation, **options: Any) -> CallControl:
    """Return a client of an installation."""
    url = calls.settings.amqp_url.get_secret_value()
    return CallControl(url, namespace=calls.names.namespace, name=CONNECTION, **options)


async def close_connections(calls: Installation) -> None:
    """Close the client's connections at the broker, as an operator can."""
    rabbitmq = calls.services.rabbitmq
    assert rabbitmq is not None, "connections are closed by rabbitmqctl"
    columns = ("pid", "client_properties")
    for _ in range(60):
        listed = await asyncio.to_thread(rabbitmq.ctl, "-q", "list_connections", *columns)
        pids = [line.split("\t")[0] for line in listed.splitlines() if CONNECTION in line]
        if pids:
            break
    assert pids, "the client is connected"
    for pid in pids:
        await asyncio.to_thread(rabbitmq.ctl, "close_connection", pid, "a test")


async def subscribers(calls: Installation) -> int:
    """Return how many queues get the installation's events."""
    assert calls.services.rabbitmq is not None, "queues are counted by rabbitmqctl"
    listed = await asyncio.to_thread(
        calls.services.rabbitmq.ctl, "-q", "list_bindings", "source_name"
    )
    return listed.splitlines().count(calls.names.events)


async def until_subscribers(calls: Installation, count: int) -> None:
    """Wait until so many queues get the installation's events."""
    for _ in range(60):
        if await subscribers(calls) == count:
            return
    raise AssertionError(f"not {count} queues get the events")


async def kinds_of(events: Subscription, count: int) -> list[str]:
    """Return the kinds of the next events."""
    return [event.kind for event in await take(events, count)]


async def forge(calls: Installation, body: bytes, headers: dict[str, Any], count: int = 1) -> None:
    """Publish to the events exchange, as nobody but a worker should."""
    exchange = await calls.producer.get_exchange(calls.names.events, ensure=False)
    message = aio_pika.Message(body, type="call_held", headers=headers)
    for _ in range(count):
        await exchange.publish(message, routing_key="call_held.123XYZ")


async def take(events: Subscription, count: int) -> list[Event]:
    """Return the next events."""
    found: list[Event] = []
    async with asyncio.timeout(30):
        async for event in events:
            found.append(event)
            if len(found) == count:
                return found
    raise AssertionError("no more events")
