"""What ``callctl`` finds by RabbitMQ's management: bindings, and subscribers' queues."""

import asyncio
import json
from typing import Any

import pytest
from yarl import URL

from tests.harness import PATIENCE_SECONDS, Installation
from tests.integration.test_cli import callctl
from worker.broker import connection as broker
from worker.broker.connection import open_channel
from worker.broker.declaring import declare
from worker.broker.topology import topology
from worker.doctor import Level, examine


@pytest.fixture
async def quiet(empty: Installation) -> Installation:
    """An installation without any subscriber."""
    connection = await broker.connect(empty.services.amqp_url, "setting up")
    await declare(connection, topology(empty.names, empty.settings.partitions))
    await broker.close(connection)
    return empty


def management(calls: Installation) -> str:
    """Where it is, without a user: that is the one of RabbitMQ's URL."""
    assert calls.services.management_url is not None, "RabbitMQ has to have its management"
    return str(URL(calls.services.management_url).with_user(None))


async def found(calls: Installation, check: str) -> tuple[Level, str]:
    """How bad one thing is, and what is said of it."""
    findings = await examine(calls.settings, management(calls))
    (finding,) = (each for each in findings if each.check == check)
    assert finding.remedy or finding.level is Level.OK, "somebody has to know what to do"
    return finding.level, finding.found


async def until_found(calls: Installation, check: str, level: Level, begins: str) -> None:
    """Wait until it is found; RabbitMQ collects what the management shows every few seconds."""
    last = None
    for _ in range(int(PATIENCE_SECONDS * 2)):
        last = await found(calls, check)
        if last[0] is level and last[1].startswith(begins):
            return
        await asyncio.sleep(0.5)
    raise AssertionError(f"not {level}: {begins}, but {last}")


async def subscribe(calls: Installation, name: str, **arguments: str | int) -> str:
    """Subscribe to all events with a queue of one's own; ``_`` stands for ``-``."""
    name = f"{calls.names.base}.subscriber.{name}"
    given: Any = {key.replace("_", "-"): value for key, value in arguments.items()}
    queue = await calls.producer.declare_queue(name, durable=True, arguments=given)
    await queue.bind(calls.names.events, "#")
    return name


async def test_bindings_are_compared(quiet: Installation) -> None:
    """One that is missing, and one that takes commands away."""
    verify = ("topology", "verify", "--management", management(quiet))
    code, output, errors = await callctl(quiet, *verify)
    assert (code, errors) == (0, "")
    assert output == "23 exchanges, queues and bindings: 23 as they should be\n"
    assert await found(quiet, "bindings") == (Level.OK, "10 are as they should be")
    gone = quiet.names.partition(5)
    channel = await open_channel(quiet.connection)
    await channel.queue_unbind(gone, quiet.names.commands, "1")
    stranger = await subscribe(quiet, "stranger")
    await channel.queue_bind(stranger, quiet.names.commands, "1")
    code, output, errors = await callctl(quiet, *verify, "--json")
    assert (code, errors) == (1, "")
    wrong = [each for each in json.loads(output)["compared"] if each["match"] != "same"]
    assert [(each["name"].partition(" → ")[2], each["match"]) for each in wrong] == [
        (gone, "missing"),
        (stranger, "different"),
    ]
    level, told = await found(quiet, "bindings")
    assert level is Level.BAD
    assert (gone in told, stranger in told) == (True, True)
    await channel.queue_delete(stranger)


async def test_subscribers_queues_that_refuse_or_grow_without_an_end_are_found(
    quiet: Installation,
) -> None:
    """As RabbitMQ sees them: a policy overrules a quorum queue's argument, and no classic one's."""
    rabbitmq, base = quiet.services.rabbitmq, quiet.names.base
    assert rabbitmq is not None, "policies are set by rabbitmqctl"
    check = "subscribers' queues"
    assert (await found(quiet, check))[0] is Level.OK
    policy = json.dumps({"max-length": 100, "overflow": "drop-head"})
    options = ("--apply-to", "queues", base, f"^{base}[.]subscriber[.]p", policy)
    await asyncio.to_thread(rabbitmq.ctl, "set_policy", *options)
    refuse: Any = {"x_max_length": 5, "x_overflow": "reject-publish"}
    own = {
        "p-quorum": await subscribe(quiet, "p-quorum", x_queue_type="quorum", **refuse),
        "p-classic": await subscribe(quiet, "p-classic", **refuse),
        "refusing": await subscribe(quiet, "refusing", **refuse),
        "dropping": await subscribe(quiet, "dropping", x_max_length=5),
        "growing": await subscribe(quiet, "growing"),
    }
    both = f"{own['p-classic']}, {own['refusing']}: when it is full, nobody gets events"
    try:
        await until_found(quiet, check, Level.BAD, both)
        for each in ("p-classic", "refusing"):
            await quiet.producer.queue_delete(own.pop(each))
        await until_found(quiet, check, Level.WARNING, f"{own['growing']}: grows")
        await quiet.producer.queue_delete(own.pop("growing"))
        await until_found(quiet, check, Level.OK, "2, of which none")
    finally:
        for name in own.values():
            await quiet.producer.queue_delete(name)
        await asyncio.to_thread(rabbitmq.ctl, "clear_policy", base)


async def test_a_user_with_the_tag_management_sees_enough(quiet: Installation) -> None:
    """And one without it is told what is missing."""
    rabbitmq, user = quiet.services.rabbitmq, quiet.names.base
    assert rabbitmq is not None, "users are made by rabbitmqctl"
    url = str(URL(management(quiet)).with_user(user).with_password("modest"))
    await asyncio.to_thread(rabbitmq.ctl, "add_user", user, "modest")
    try:
        await asyncio.to_thread(rabbitmq.ctl, "set_permissions", "-p", "/", user, "^$", "^$", "^$")
        verify = ("topology", "verify", "--management", url)
        code, _, errors = await callctl(quiet, *verify)
        assert (code, "the tag management" in errors) == (3, True)
        await asyncio.to_thread(rabbitmq.ctl, "set_user_tags", user, "management")
        code, output, errors = await callctl(quiet, *verify)
        assert (code, errors) == (0, "")
        assert "23 as they should be" in output
    finally:
        await asyncio.to_thread(rabbitmq.ctl, "delete_user", user)


async def test_a_management_that_does_not_answer_is_unknown_and_no_url_a_mistake(
    quiet: Installation,
) -> None:
    """A user that may not use it is as good as none; no password is shown."""
    refused = str(URL(management(quiet)).with_user("nobody").with_password("s3cret"))
    elsewhere = f"{management(quiet)}/elsewhere"
    for url in ("http://guest:s3cret@127.0.0.1:1", refused, elsewhere):
        code, output, errors = await callctl(quiet, "doctor", "--json", "--management", url)
        assert (code, errors) == (0, "")
        (finding,) = (
            each
            for each in json.loads(output)["findings"]
            if each["check"] == "bindings and policies"
        )
        assert (finding["level"], "s3cret" in output) == ("unknown", False)
        code, _, errors = await callctl(quiet, "topology", "verify", "--management", url)
        assert (code, errors.count("\n"), "s3cret" in errors) == (3, 1, False)
    for url in ("nowhere", "amqp://guest:s3cret@127.0.0.1", "http://guest:s3cret@[127.0.0.1"):
        code, _, errors = await callctl(quiet, "doctor", "--management", url)
        assert (code, errors.startswith("callctl: --management: ")) == (2, True)
        assert (errors.count("\n"), "s3cret" in errors) == (1, False)
