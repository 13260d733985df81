"""Events and dead letters as AMQP messages."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pamqp.commands import Basic
from pamqp.common import FieldValue
from pydantic_core import from_json, to_json

from schemas.contract import CommandName, EventNames
from schemas.events import Event
from schemas.fields import SHORT_STRING_BYTES
from schemas.wire import COMMAND_KEYS, MAX_BODY_BYTES, event_headers, routing_key, write_body
from worker.broker.inbox import Delivery
from worker.broker.outbox import Outgoing
from worker.names import Names

APP_ID: Final = "call-control-worker"

_PERSISTENT: Final = 2

_MENTION: Final = re.compile(rb"digit", re.IGNORECASE)
_DECIMAL: Final = re.compile(rb"[0-9]")
_HARMLESS: Final = frozenset({"request_id", *COMMAND_KEYS})
_REDACTED: Final = "(redacted)"


def event_message(event: Event, at: int, names: Names, event_names: EventNames) -> Outgoing:
    """Return an event as it is published to the events exchange.

    Args:
        event: The event.
        at: When it was decided, in milliseconds since the epoch.
        names: The installation's names.
        event_names: Which name stands in its body.
    """
    return Outgoing(
        exchange=names.events,
        routing_key=routing_key(event),
        body=write_body(event, event_names),
        properties=Basic.Properties(
            app_id=APP_ID,
            content_type="application/json",
            correlation_id=event.answers.correlation_id if event.answers else None,
            delivery_mode=_PERSISTENT,
            headers=dict(event_headers(event)),
            message_id=event.message_id,
            message_type=event.name.value,
            timestamp=_timestamp(at),
        ),
        order=event.request_id,
    )


def reply_message(event: Event, published: Outgoing, names: Names) -> Outgoing | None:
    """Return the copy of an event for whoever asked for a reply, or None.

    A command cannot make the worker publish into a queue of the installation itself.
    """
    queue = event.answers.reply_to if event.answers else None
    if not queue or len(queue) > SHORT_STRING_BYTES or names.owns(queue):
        return None
    return Outgoing("", queue, published.body, published.properties, published.order)


def dead_letter(delivery: Delivery, status: int, reason: str, at: int, names: Names) -> Outgoing:
    """Return a message as a dead letter: what it was, where it was, and why it is here.

    Its body is the original one, but without digits and not longer than a body may be.
    """
    original = delivery.properties
    headers: dict[str, FieldValue] = {
        "status": status,
        "reason": reason,
        "original_exchange": delivery.exchange,
        "original_routing_key": delivery.routing_key,
        "original_queue": names.partition(delivery.subscription.partition),
        "failed_at": _timestamp(at),
    }
    return Outgoing(
        exchange=names.dead_letters,
        routing_key=delivery.routing_key,
        body=without_digits(delivery.body),
        properties=Basic.Properties(
            app_id=APP_ID,
            content_type=original.content_type,
            correlation_id=original.correlation_id,
            delivery_mode=_PERSISTENT,
            headers=headers,
            message_id=original.message_id,
            reply_to=original.reply_to,
            timestamp=_timestamp(at),
        ),
        order=names.dead_letters,
    )


def without_digits(body: bytes) -> bytes:
    """Return at most ``MAX_BODY_BYTES`` of a body, without any digits that were to be dialed.

    Of JSON, whatever could be the digits of a ``dial`` is replaced: all its fields but those that
    say what it is, and everything that mentions digits. Of anything else, what comes behind the
    first mention, and before it every decimal digit.
    """
    body = body[:MAX_BODY_BYTES]
    try:
        document = from_json(body)
    except ValueError:
        before, *after = _MENTION.split(body, maxsplit=1)
        return _DECIMAL.sub(b"?", before) + (_REDACTED.encode() if after else b"")
    redacted = _redacted(document)
    return body if redacted == document else to_json(redacted)


def _redacted(document: Any) -> Any:
    if isinstance(document, Mapping):
        is_dial = any(document.get(key) == CommandName.DIAL for key in COMMAND_KEYS)
        return {
            key: _REDACTED
            if _mentions_digits(key) or (is_dial and key not in _HARMLESS)
            else _redacted(value)
            for key, value in document.items()
        }
    if isinstance(document, list):
        return [_redacted(value) for value in document]
    return _REDACTED if isinstance(document, str) and _mentions_digits(document) else document


def _mentions_digits(text: str) -> bool:
    return "digit" in text.lower()


def _timestamp(at: int) -> datetime:
    return datetime.fromtimestamp(at // 1000, tz=UTC)
