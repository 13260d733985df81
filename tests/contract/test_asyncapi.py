"""The AsyncAPI document: somebody else's parser accepts it, and a real worker keeps to it."""

import json
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from aio_pika.abc import AbstractIncomingMessage
from jsonschema import Draft7Validator

from deploy.local import Services
from schemas.contract import ActionName, CommandName, EventName, ReportName
from schemas.wire import Malformed, read_action
from tests.harness import Installation
from tests.network import granting, waiting_for
from tests.tools import NODE_PACKAGES, node
from worker.cli.demonstration import CONVERSATION
from worker.reference.files import ASYNCAPI

DOCUMENT: Final[dict[str, Any]] = yaml.safe_load(ASYNCAPI.read_text())

#: The contract keeps to 3.0, which more tools can read than the version that came after it.
KNOWN: Final = {"asyncapi-latest-version"}


def parsed(path: Path) -> dict[str, Any]:
    """Have the AsyncAPI parser read a document; return what it says of it."""
    tool = node()
    done = subprocess.run(  # noqa: S603 - our own script
        [tool.path, NODE_PACKAGES / "parse.js", path],
        env=tool.environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    said: dict[str, Any] = json.loads(done.stdout)
    said["diagnostics"] = [each for each in said["diagnostics"] if each["code"] not in KNOWN]
    return said


def test_the_asyncapi_parser_accepts_the_document() -> None:
    """Without an error or a warning, examples included; and it finds everything in it."""
    said = parsed(ASYNCAPI)
    assert said["diagnostics"] == []
    assert set(said["operations"]) >= {f"send_{name}" for name in CommandName}
    assert set(said["operations"]) >= {f"report_{name}" for name in ReportName}
    assert set(said["messages"]) >= {f"event.{name}" for name in EventName}


def _misname_a_channel(document: dict[str, Any]) -> None:
    document["operations"]["send_hold"]["channel"]["$ref"] = "#/channels/nowhere"


def _misspell_a_binding(document: dict[str, Any]) -> None:
    document["channels"]["events"]["bindings"]["amqp"]["exchange"]["type"] = "x-topic"


def _spoil_a_schema(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["command.hold"]["required"] = "request_id"


@pytest.mark.parametrize("spoil", [_misname_a_channel, _misspell_a_binding, _spoil_a_schema])
def test_the_parser_would_not_accept_anything(
    spoil: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    """Neither a reference to nothing, nor a binding or a schema that is none."""
    document = yaml.safe_load(ASYNCAPI.read_text())
    spoil(document)
    spoilt = tmp_path / "asyncapi.yaml"
    spoilt.write_text(yaml.safe_dump(document))
    assert parsed(spoilt)["diagnostics"] != []


@pytest.mark.parametrize("name", DOCUMENT["components"]["messages"])
def test_the_examples_of_a_message_are_as_its_schemas_say(name: str) -> None:
    """The parser does not look at them."""
    message = DOCUMENT["components"]["messages"][name]
    ((_, trait),) = message["traits"][0].items()
    headers = DOCUMENT["components"]["messageTraits"][trait.rpartition("/")[2]]["headers"]
    assert message.get("examples") or name == "dead_letter"
    for example in message.get("examples", []):
        check(DOCUMENT["components"]["schemas"][name], example["payload"])
        check(headers, example.get("headers", {}))


def check(schema: dict[str, Any], value: dict[str, Any]) -> None:
    """Check what a message has against what the document says."""
    present = {
        name: int(each.timestamp()) if isinstance(each, datetime) else each
        for name, each in value.items()
        if each is not None
    }
    Draft7Validator(schema, format_checker=Draft7Validator.FORMAT_CHECKER).validate(present)


def properties(message: AbstractIncomingMessage) -> dict[str, Any]:
    """Return a message's AMQP properties but its headers."""
    names = ("message_id", "correlation_id", "type", "timestamp", "app_id", "reply_to")
    more = {"content_type": message.content_type, "delivery_mode": message.delivery_mode}
    return {name: getattr(message, name) for name in names} | more


async def test_what_a_worker_publishes_is_as_the_document_says(calls: Installation) -> None:
    """Payload, headers and properties of each event of the documented conversation."""
    for step in CONVERSATION:
        body = {**step.body, "request_id": step.call}
        await calls.publish(
            step.call,
            {"content": body} if step.content else body,
            headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"},
        )
    await calls.until_seen(len(CONVERSATION))
    await calls.until_dead(1)
    components = DOCUMENT["components"]
    trait = components["messageTraits"]["event"]
    for event in calls.events:
        message = components["messages"][f"event.{event.kind}"]
        assert message["bindings"]["amqp"]["messageType"] == event.kind
        check(components["schemas"][f"event.{event.kind}"], event.body)
        check(trait["headers"], event.headers)
        check(trait["x-amqp-properties"], properties(event.raw))
        examples = [each["payload"] for each in message["examples"]]
        assert event.body in examples
    # What the schema offers is what there is; the loopback is no gateway.
    told = {name for event in calls.events for name in event.headers} | {"gateway"}
    assert told == trait["headers"]["properties"].keys()
    (letter,) = calls.dead
    trait = components["messageTraits"]["dead_letter"]
    check(trait["headers"], dict(letter.headers))
    check(trait["x-amqp-properties"], properties(letter))
    assert trait["headers"]["properties"].keys() == letter.headers.keys()


async def test_what_a_worker_asks_of_a_gateway_is_as_the_document_says(services: Services) -> None:
    """Payload, headers and properties of each action, and the events that come of them."""
    taken: list[AbstractIncomingMessage] = []

    async def grant(message: AbstractIncomingMessage) -> None:
        taken.append(message)
        action = read_action(message.body)
        assert not isinstance(action, Malformed)
        for report in granting(action):
            told = report.model_copy(update={"gateway": "pbx-1"})
            await calls.publish(action.request_id, told.model_dump(mode="json", exclude_none=True))
        await message.ack()

    async with waiting_for(services, "pbx-1") as calls:
        channel = await calls.connection.channel()
        queue = await channel.get_queue(calls.names.gateway("pbx-1"), ensure=False)
        await queue.consume(grant)
        for step in CONVERSATION:
            body = {**step.body, "request_id": step.call}
            published = await calls.publish(step.call, {"content": body} if step.content else body)
            if "network_report" not in step.body:
                await calls.answer(published)
    components = DOCUMENT["components"]
    trait = components["messageTraits"]["action"]
    assert {message.type for message in taken} == set(ActionName)
    for message in taken:
        check(components["schemas"][f"action.{message.type}"], json.loads(message.body))
        check(trait["headers"], dict(message.headers))
        assert message.expiration == calls.settings.take_seconds
        sent = {**properties(message), "expiration": f"{calls.settings.take_seconds * 1000:.0f}"}
        check(trait["x-amqp-properties"], sent)
    for event in calls.events:
        check(components["messageTraits"]["event"]["headers"], event.headers)
    assert "pbx-1" in {event.headers.get("gateway") for event in calls.events}
