"""``callctl topology``: what an installation has at RabbitMQ, shown, compared and exported."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aio_pika.abc import AbstractChannel
from yarl import URL

from deploy.local import Services
from tests.guarded import PASSWORD, Management, guarded_installation, set_passwords
from tests.harness import Installation, installation
from tests.integration.test_cli import callctl
from worker.broker.topology import topology


async def verified(calls: Installation) -> tuple[int, dict[str, dict[str, str]]]:
    """What ``callctl topology verify`` says: its exit code, and what is not as it should be."""
    code, output, errors = await callctl(calls, "topology", "verify", "--json")
    assert errors == ""
    found = json.loads(output)
    assert found["ok"] is (code == 0)
    wrong = [each for each in found["compared"] if each["match"] != "same"]
    return code, {f"{each['kind']} {each['name']}": each for each in wrong}


async def test_show_needs_no_broker(empty: Installation) -> None:
    """It says what the settings ask for, partitions in one line."""
    empty.environment["CALL_CONTROL_AMQP_URL"] = "amqp://nobody@127.0.0.1:1/"
    code, output, errors = await callctl(empty, "topology", "show", columns=160)
    assert (code, errors) == (0, "")
    first, last = empty.names.partition(0), empty.names.partition(7)
    assert f"{first} … {last}" in output
    assert "x-single-active-consumer=True" in output
    code, output, _ = await callctl(empty, "topology", "show", "--json")
    shown = json.loads(output)
    assert len(shown["queues"]) == len(shown["bindings"]) == 10
    assert {"name": empty.names.events, "type": "topic", "arguments": {}} in shown["exchanges"]


@pytest.fixture
async def channel(idle: Installation) -> AsyncIterator[AbstractChannel]:
    """A channel to make things wrong with."""
    opened = await idle.connection.channel()
    yield opened
    await opened.close()


async def test_verify_finds_nothing_wrong_with_what_was_applied(idle: Installation) -> None:
    """And says how much it has compared."""
    assert await verified(idle) == (0, {})
    code, output, _ = await callctl(idle, "topology", "verify")
    assert (code, output) == (0, "13 exchanges and queues: 13 as they should be\n")


async def test_verify_names_what_is_missing_and_what_is_different_and_makes_nothing(
    idle: Installation, channel: AbstractChannel
) -> None:
    """With what RabbitMQ says of it."""
    gone, changed = idle.names.partition(3), idle.names.partition(5)
    expected = {f"queue {gone}", f"queue {changed}", f"exchange {idle.names.events}"}
    await channel.queue_delete(gone)
    await channel.queue_delete(changed)
    wanted = topology(idle.names, 8).queues[-1].arguments
    await channel.declare_queue(changed, durable=True, arguments={**wanted, "x-max-length": 7})
    await channel.exchange_delete(idle.names.events)
    await channel.declare_exchange(idle.names.events, "fanout", durable=True)
    for _ in range(2):
        code, wrong = await verified(idle)
        assert (code, set(wrong)) == (1, expected)
        assert wrong[f"queue {gone}"]["match"] == "missing"
        assert wrong[f"queue {changed}"]["match"] == "different"
        assert "x-max-length" in wrong[f"queue {changed}"]["why"]
        assert "type" in wrong[f"exchange {idle.names.events}"]["why"]
    code, output, _ = await callctl(idle, "topology", "verify")
    assert "10 as they should be, 1 missing, 2 different" in output


async def test_verify_says_what_a_user_cannot_have_compared(services: Services) -> None:
    """A worker's user sees that its queues are there; their arguments it cannot."""
    async with guarded_installation(services) as guarded:
        await set_passwords(guarded)
        calls = guarded.calls
        calls.environment["CALL_CONTROL_AMQP_URL"] = guarded.url("topology")
        assert (await callctl(calls, "topology", "apply"))[0] == 0
        assert await verified(calls) == (0, {})
        calls.environment["CALL_CONTROL_AMQP_URL"] = guarded.url("worker")
        code, unknown = await verified(calls)
        assert (code, len(unknown)) == (0, 13)
        assert {each["match"] for each in unknown.values()} == {"unknown"}
        assert "there; " in unknown[f"queue {calls.names.partition(0)}"]["why"]
        code, output, _ = await callctl(calls, "topology", "verify")
        assert "13 not compared" in output


@asynccontextmanager
async def fresh_vhost(services: Services) -> AsyncIterator[tuple[str, Management]]:
    """A virtual host for what is imported, and a user who may configure nothing in it."""
    assert services.management_url is not None, "definitions are imported by the HTTP API"
    management = Management(services.management_url)
    vhost = f"test-{secrets.token_hex(5)}"
    await management("PUT", f"users/{vhost}", {"password": PASSWORD, "tags": ""})
    try:
        yield vhost, management
    finally:
        await management("DELETE", f"users/{vhost}")
        await management("DELETE", f"vhosts/{vhost}")


async def test_what_is_exported_can_be_imported_and_worked_with(services: Services) -> None:
    """In another virtual host, by workers that may declare nothing."""
    async with fresh_vhost(services) as (vhost, management):
        url = URL(services.amqp_url).with_path(f"/{vhost}")
        async with installation(services) as calls:
            calls.environment["CALL_CONTROL_AMQP_URL"] = str(url)
            code, output, errors = await callctl(calls, "topology", "export")
            assert (code, errors) == (0, "")
            definitions = json.loads(output)
            assert definitions["vhosts"] == [{"name": vhost}]
            await management("POST", "definitions", definitions)
            everything = {"configure": ".*", "write": ".*", "read": ".*"}
            await management("PUT", f"permissions/{vhost}/guest", everything)
            assert await verified(calls) == (0, {})
            nothing_to_declare = {**everything, "configure": "^$"}
            await management("PUT", f"permissions/{vhost}/{vhost}", nothing_to_declare)
            modest = url.with_user(vhost).with_password(PASSWORD)
            calls.environment["CALL_CONTROL_AMQP_URL"] = str(modest)
            (worker,) = await calls.start()
            calls.environment["CALL_CONTROL_AMQP_URL"] = str(url)
            event = await asked(calls)
            assert event["event"] == "call-connected"
            assert await worker.terminate() == 0


async def asked(calls: Installation) -> dict[str, Any]:
    """Have a command answered."""
    call = ("--origin", "tel:+18164388687", "--destination", "tel:+18165057120")
    code, output, errors = await callctl(calls, "send", "call", "123XYZ", *call, "--wait")
    assert code == 0, errors
    event: dict[str, Any] = json.loads(output)
    return event
