"""The messages of the AsyncAPI document: their bodies, headers, properties and examples."""

from typing import Any, Final

from schemas.contract import EventName
from worker.broker.topology import GATEWAY
from worker.reference import examples
from worker.reference.amqp import (
    ACTION_HEADERS,
    ACTION_PROPERTIES,
    COMMAND_HEADERS,
    COMMAND_PROPERTIES,
    DEAD_LETTER_HEADERS,
    DEAD_LETTER_PROPERTIES,
    EVENT_HEADERS,
    EVENT_PROPERTIES,
)
from worker.reference.json_schemas import Schema, schemas

_BINDING: Final = {"bindingVersion": "0.3.0"}

#: What is said of commands and reports alike.
_TRAIT_OF: Final = {"command": "incoming", "report": "incoming"}


def payloads() -> dict[str, Schema]:
    """Return the schemas of all messages' bodies, by the messages' names."""
    return {
        **{name: schema for name, schema in schemas().items() if name != "incoming"},
        "dead_letter": {
            "title": "dead_letter",
            "description": "The body as it was, whatever it was; digits are replaced, and of a"
            " longer one there are the first 64 KiB.",
        },
    }


def payload(schema: Schema) -> Schema:
    """Leave out what makes a schema a document of its own, and the examples: a message has them."""
    alone = {"$schema", "$id", "examples"}
    return {key: value for key, value in schema.items() if key not in alone}


def messages() -> dict[str, Any]:
    """Return all messages, by their names."""
    found: dict[str, Any] = {}
    for name, schema in payloads().items():
        kind, _, rest = name.partition(".")
        found[name] = {
            "name": rest or name,
            "title": name,
            "summary": schema["description"],
            "payload": {"$ref": f"#/components/schemas/{name}"},
            "traits": [{"$ref": f"#/components/messageTraits/{_TRAIT_OF.get(kind, kind)}"}],
            **(_event(EventName(rest)) if kind == "event" else {}),
        }
        if kind in _TRAIT_OF:
            found[name]["examples"] = [{"payload": body} for body in schema["examples"]]
        elif kind == "action":
            found[name]["examples"] = [
                {"headers": {GATEWAY: body.get("gateway", "")}, "payload": body}
                for body in schema["examples"]
            ]
    return found


def _event(name: EventName) -> dict[str, Any]:
    return {
        "bindings": {"amqp": {"messageType": name.value, **_BINDING}},
        "examples": [
            {"headers": dict(each.properties.headers or {}), "payload": examples.body_of(each)}
            for each in examples.of_event(name)
        ],
    }


def traits() -> dict[str, Any]:
    """Return what messages of a kind have in common: headers and AMQP properties."""
    correlation = {
        "description": "The AMQP property correlation_id: that of the command, or else its"
        " message_id.",
        "location": "$message.header#/correlation_id",
    }
    return {
        "incoming": {"headers": COMMAND_HEADERS, "x-amqp-properties": COMMAND_PROPERTIES},
        "action": {"headers": ACTION_HEADERS, "x-amqp-properties": ACTION_PROPERTIES},
        "event": {
            "headers": EVENT_HEADERS,
            "x-amqp-properties": EVENT_PROPERTIES,
            "correlationId": correlation,
        },
        "dead_letter": {
            "headers": DEAD_LETTER_HEADERS,
            "x-amqp-properties": DEAD_LETTER_PROPERTIES,
        },
    }
