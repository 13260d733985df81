"""AMQP properties and headers of each kind of message, as JSON Schemas."""

from typing import Any, Final

from schemas.contract import ActionName, CommandName, EventName
from schemas.wire import CLOUDEVENTS_TYPE, CLOUDEVENTS_VERSION, SCHEMA_VERSION
from worker.broker.encoding import PERSISTENT
from worker.broker.messages import APP_ID
from worker.broker.topology import GATEWAY
from worker.core.call import State

Schema = dict[str, Any]


def _text(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def _number(description: str, **more: Any) -> Schema:
    return {"type": "integer", "description": description, **more}


def _flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


def _table(properties: dict[str, Schema], optional: frozenset[str], **more: Any) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, **more}


_CONTENT_TYPE: Final = {"const": "application/json"}
_DELIVERY_MODE: Final = {"const": PERSISTENT}
_TRACEPARENT: Final = _text("W3C Trace Context; continued from the command.")

COMMAND_HEADERS: Final = _table(
    {"traceparent": _text("W3C Trace Context, which the answer continues.")},
    frozenset({"traceparent"}),
)

COMMAND_PROPERTIES: Final = _table(
    {
        "message_id": _text(
            "The idempotency key: unique for each command, the same for each new attempt at it."
        ),
        "content_type": _CONTENT_TYPE,
        "delivery_mode": _DELIVERY_MODE,
        "correlation_id": _text("The correlation_id of the answer, instead of the message_id."),
        "reply_to": _text("A queue that gets a copy of the answer."),
        "timestamp": _number("When it was sent, in seconds since the epoch."),
        "expiration": _text("For how long it may wait, in milliseconds, in digits."),
    },
    frozenset(
        {"message_id", "content_type", "delivery_mode", "correlation_id"}
        | {"reply_to", "timestamp", "expiration"}
    ),
)

ACTION_HEADERS: Final = _table(
    {GATEWAY: _text("The gateway that has the call; empty where none has spoken of it.")},
    frozenset(),
)

ACTION_PROPERTIES: Final = _table(
    {
        "message_id": _text("The same for each copy of the action."),
        "type": {"enum": [name.value for name in ActionName]},
        "content_type": _CONTENT_TYPE,
        "delivery_mode": _DELIVERY_MODE,
        "expiration": _text("For how long a gateway may leave it, in milliseconds, in digits."),
    },
    frozenset(),
    additionalProperties=False,
)

EVENT_HEADERS: Final = _table(
    {
        "request_id": _text("The call."),
        "sequence": _number(
            "Its number among the call's events, from 1, without gaps; 0 stands outside.", minimum=0
        ),
        "call_control": _text(
            "The command it answers; empty where that could not be read.",
            examples=[name.value for name in CommandName],
        ),
        "call_state": _text("The call's state after it.", enum=[state.value for state in State]),
        "terminal": _flag("Whether it ended the call."),
        "gateway": _text("The gateway that has the call, where there is one."),
        "schema_version": {"const": SCHEMA_VERSION},
        "traceparent": _TRACEPARENT,
        "cloudEvents_specversion": {"const": CLOUDEVENTS_VERSION},
        "cloudEvents_id": _text("The message_id."),
        "cloudEvents_source": _text("The installation.", format="uri-reference"),
        "cloudEvents_type": {"enum": [f"{CLOUDEVENTS_TYPE}.{name}" for name in EventName]},
        "cloudEvents_subject": _text("The call."),
        "cloudEvents_time": _text("When it was decided, to the millisecond.", format="date-time"),
        "record_id": _text("Of the record."),
        "record": _text(
            "What the worker stores of the command; it is no part of the contract and may change."
        ),
    },
    frozenset({"call_control", "traceparent", "gateway", "record_id", "record"}),
    additionalProperties=False,
)

EVENT_PROPERTIES: Final = _table(
    {
        "message_id": _text("The same in every copy of the event."),
        "correlation_id": _text("The command's correlation_id, or else its message_id."),
        "type": {"enum": [name.value for name in EventName]},
        "timestamp": _number("When it was decided, in seconds since the epoch."),
        "app_id": {"const": APP_ID},
        "content_type": _CONTENT_TYPE,
        "delivery_mode": _DELIVERY_MODE,
    },
    frozenset({"correlation_id"}),
    additionalProperties=False,
)

DEAD_LETTER_HEADERS: Final = _table(
    {
        "status": _number("Why it is here, as a status."),
        "reason": _text("The same in words."),
        "original_exchange": _text("Where it was published."),
        "original_routing_key": _text("With which routing key."),
        "original_queue": _text("In which partition it was."),
        "failed_at": _number("When it failed last, in seconds since the epoch; an AMQP timestamp."),
        "first_failed_at": _number("When it failed first, over all its replays."),
        "redacted": _flag("Whether digits were replaced, so that it cannot be replayed."),
        "traceparent": _text("The command's."),
    },
    frozenset({"traceparent"}),
)

DEAD_LETTER_PROPERTIES: Final = _table(
    {
        "message_id": _text("The command's, where it had one."),
        "correlation_id": _text("The command's."),
        "reply_to": _text("The command's, if it would be served."),
        "timestamp": _number("The command's."),
        "app_id": {"const": APP_ID},
        "content_type": _text("The command's."),
        "delivery_mode": _DELIVERY_MODE,
    },
    frozenset({"correlation_id", "reply_to", "timestamp", "content_type"}),
    additionalProperties=False,
)
