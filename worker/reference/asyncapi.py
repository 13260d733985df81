"""The AsyncAPI 3.0 document, made from the code's own table, models, names and topology."""

from typing import Any, Final

from schemas.contract import OUTCOMES, ActionName, CommandName, EventName, ReportName
from schemas.wire import SCHEMA_VERSION
from worker.broker.topology import Queue, gateway_topology, network_topology, topology
from worker.names import Names
from worker.reference.asyncapi_messages import messages, payload, payloads, traits
from worker.reference.json_schemas import schemas
from worker.settings import Settings

_BINDING: Final = {"bindingVersion": "0.3.0"}
_NAMES: Final = Names()
_GATEWAY: Final = "pbx-1"
_TOPOLOGY: Final = (
    topology(_NAMES, Settings.model_fields["partitions"].default)
    + network_topology(_NAMES)
    + gateway_topology(_NAMES, _GATEWAY)
)

_DESCRIPTION: Final = """\
Commands go in, events come out: one command, one outcome, in order, whatever crashes.

The view is that of those who use the workers: what is sent here, a producer publishes to RabbitMQ;
what is received, a subscriber gets from it. A telephony gateway gets actions and publishes reports.

The names are those of an installation without a namespace; one that has a namespace has it, and a
dot, before the name of every exchange and queue.
"""

_TAGS: Final = {
    "producer": "Upstream services, which control calls.",
    "subscriber": "Services that want to know what becomes of calls.",
    "gateway": "What connects the workers with a telephone network.",
    "operator": "Who keeps an installation running.",
}


def document() -> dict[str, Any]:
    """Return the document."""
    all_messages = messages()
    commands = [name for name in all_messages if name.startswith(("command.", "report."))]
    events = [name for name in all_messages if name.startswith("event.")]
    actions = [f"action.{name}" for name in ActionName]
    answers = [f"event.{name}" for name in _answers()]
    return {
        "asyncapi": "3.0.0",
        "id": f"urn:call-control:{SCHEMA_VERSION}",
        "info": {
            "title": "Call control",
            "version": f"{SCHEMA_VERSION}.0.0",
            "description": _DESCRIPTION,
            "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        },
        "defaultContentType": "application/json",
        "servers": {
            "amqp": _server("amqp", "5672", "RabbitMQ."),
            "amqps": _server("amqps", "5671", "RabbitMQ, encrypted."),
        },
        "channels": {
            "commands": {
                "address": "{request_id}",
                "title": "Commands and network reports",
                "description": "The routing key is the request_id, as it stands in the body:"
                " messages of one call keep their order.",
                "parameters": {
                    "request_id": {
                        "description": "The call.",
                        "location": "$message.payload#/request_id",
                    },
                },
                "messages": _refs("components", commands),
                "bindings": {"amqp": _exchange(_NAMES.commands)},
            },
            "partitions": {
                "address": _NAMES.partition(0).removesuffix("00") + "{partition}",
                "title": "Partitions of the commands",
                "description": "Where commands wait for the worker that has the partition. Only"
                " workers consume them.",
                "parameters": {"partition": {"description": "Its number, from 00."}},
                "messages": _refs("components", commands),
                "bindings": {"amqp": _queue(_NAMES.partition(0))},
            },
            "events": {
                "address": "{event}.{call}",
                "title": "Events",
                "description": "call_held.* is one kind, *.123XYZ one call, # is everything. What"
                " is published at once is in the journal too.",
                "parameters": {
                    "event": {
                        "description": "The canonical event, whatever stands in the body.",
                        "enum": [name.value for name in EventName],
                    },
                    "call": {
                        "description": "The request_id, with . * # % and space percent-encoded.",
                    },
                },
                "messages": _refs("components", events),
                "bindings": {"amqp": _exchange(_NAMES.events)},
            },
            "actions": {
                "address": _NAMES.gateway("") + "{gateway}",
                "title": "Actions",
                "description": "What a gateway is asked, of calls that it has spoken of, or that"
                " nobody has spoken of yet. It is to declare the queue and bind it to the exchange"
                f" {_NAMES.actions} with the arguments x-match=all and gateway=its name, and to the"
                f" exchange {_NAMES.new_calls} with the routing key 1; what it does not take in"
                " time goes back, and is answered with 503.",
                "parameters": {"gateway": {"description": "Its name, as in its reports."}},
                "messages": _refs("components", actions),
                "bindings": {"amqp": _queue(_NAMES.gateway(_GATEWAY))},
            },
            "replies": {
                "address": None,
                "title": "Replies",
                "description": "A copy of the event goes to the queue that the command's reply_to"
                " names; RabbitMQ's direct reply-to works.",
                "messages": _refs("components", answers),
                "bindings": {"amqp": _default_exchange()},
            },
            "journal": {
                "address": _NAMES.journal,
                "title": "The journal",
                "description": "A stream of every event, for those who come late: consume it with"
                " the argument x-stream-offset (first, next, a time or an offset), a prefetch and"
                " acknowledgements. An entry with the header mark is no event: pass it over. A"
                " worker leaves one where the journal says nothing, to see whether it is empty.",
                "messages": _refs("components", events),
                "bindings": {"amqp": _queue(_NAMES.journal)},
            },
            "dead_letters": {
                "address": _NAMES.dead_letters,
                "title": "Dead letters",
                "description": "What could not be processed. The fanout exchange of the same name"
                " has copies for whoever binds a queue of its own to it.",
                "messages": _refs("components", ["dead_letter"]),
                "bindings": {"amqp": _queue(_NAMES.dead_letters)},
            },
        },
        "operations": {
            **{f"send_{name}": _command_operation(name) for name in CommandName},
            **{f"report_{name}": _report_operation(name) for name in ReportName},
            "receive_actions": _receive(
                "actions", actions, "gateway", "Do what the workers ask, and report it."
            ),
            "receive_events": _receive(
                "events", events, "subscriber", "Subscribe, with a queue of one's own."
            ),
            "replay_events": _receive(
                "journal", events, "subscriber", "Read what has been published before."
            ),
            "receive_dead_letters": _receive(
                "dead_letters", ["dead_letter"], "operator", "Look at what was not processed."
            ),
        },
        "components": {
            "messages": all_messages,
            "messageTraits": traits(),
            "schemas": {name: payload(schema) for name, schema in payloads().items()},
            "securitySchemes": {
                "user": {"type": "userPassword", "description": "A user of RabbitMQ."}
            },
        },
    }


def _server(protocol: str, port: str, description: str) -> dict[str, Any]:
    return {
        "host": "{host}:{port}",
        "pathname": "/{vhost}",
        "protocol": protocol,
        "protocolVersion": "0.9.1",
        "description": description,
        "variables": {
            "host": {"description": "Where RabbitMQ is.", "default": "localhost"},
            "port": {"description": "Its port.", "default": port},
            "vhost": {"description": "Its virtual host, percent-encoded.", "default": "%2F"},
        },
        "security": [{"$ref": "#/components/securitySchemes/user"}],
    }


def _exchange(name: str) -> dict[str, Any]:
    (found,) = (each for each in _TOPOLOGY.exchanges if each.name == name)
    # The binding knows the types of the standard alone.
    kind = "x-type" if found.type.startswith("x-") else "type"
    exchange = {"name": name, kind: found.type, "durable": True, "autoDelete": False}
    return {"is": "routingKey", "exchange": exchange, **_BINDING}


def _default_exchange() -> dict[str, Any]:
    return {"is": "routingKey", "exchange": {"name": "", "type": "default"}, **_BINDING}


def _queue(name: str) -> dict[str, Any]:
    found: Queue
    (found,) = (each for each in _TOPOLOGY.queues if each.name == name)
    queue = {
        "name": name,
        "durable": True,
        "exclusive": False,
        "autoDelete": False,
        "x-arguments": dict(found.arguments),
    }
    return {"is": "queue", "queue": queue, **_BINDING}


def _refs(where: str, names: list[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/{where}/messages/{name}"} for name in names}


def _among(channel: str, names: list[str]) -> list[dict[str, str]]:
    return list(_refs(f"channels/{channel}", names).values())


def _answers() -> list[EventName]:
    return [*dict.fromkeys(row.event for row in OUTCOMES), EventName.CALL_CONTROL_FAILED]


def _command_operation(name: CommandName) -> dict[str, Any]:
    events = [row.event for row in OUTCOMES if row.command is name]
    answers = [f"event.{event}" for event in (*events, EventName.CALL_CONTROL_FAILED)]
    return {
        **_send(f"command.{name}", "producer"),
        "reply": {
            "address": {
                "description": "The AMQP property reply_to; without it there is only the event.",
                "location": "$message.header#/reply_to",
            },
            "channel": {"$ref": "#/channels/replies"},
            "messages": _among("replies", answers),
        },
    }


def _report_operation(name: ReportName) -> dict[str, Any]:
    return _send(f"report.{name}", "gateway")


def _send(message: str, tag: str) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": "#/channels/commands"},
        "summary": schemas()[message]["description"],
        "tags": [{"name": tag}],
        "messages": _among("commands", [message]),
        "bindings": {"amqp": {"deliveryMode": 2, "mandatory": True, "timestamp": True, **_BINDING}},
    }


def _receive(channel: str, messages: list[str], tag: str, summary: str) -> dict[str, Any]:
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "tags": [{"name": tag}],
        "messages": _among(channel, messages),
        "bindings": {"amqp": {"ack": True, **_BINDING}},
    }
