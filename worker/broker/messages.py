"""Events and dead letters as AMQP messages."""

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pamqp.commands import Basic
from pamqp.common import FieldValue
from pydantic_core import from_json, to_json

from schemas.contract import EventNames
from schemas.events import Event
from schemas.fields import SHORT_STRING_BYTES
from schemas.wire import COMMAND_KEYS, MAX_BODY_BYTES, event_headers, routing_key, write_body
from worker.broker.encoding import PERSISTENT, event_properties
from worker.broker.outbox import Outgoing
from worker.broker.subscription import Delivery
from worker.names import Names, is_ours

APP_ID: Final = "call-control-worker"

_DIRECT_REPLY_TO: Final = "amq.rabbitmq.reply-to"
#: The header that tells when a command failed first, over all its replays.
FIRST_FAILED_AT: Final = "first_failed_at"

_MENTION: Final = re.compile(rb"digit", re.IGNORECASE)
_DIALS: Final = re.compile(rb'"dial"|\\u', re.IGNORECASE)
_SUSPICIOUS: Final = re.compile(rb'digit|"dial"|\\u', re.IGNORECASE)
_DECIMAL: Final = re.compile(rb"[0-9]")
_HARMLESS: Final = frozenset({"request_id", *COMMAND_KEYS})
_REDACTED: Final = "(redacted)"


def event_message(
    event: Event,
    at: int,
    names: Names,
    event_names: EventNames,
    record: tuple[str, bytes] | None = None,
) -> Outgoing:
    """Return an event as it is published to the events exchange.

    Args:
        event: The event.
        at: When it was decided, in milliseconds since the epoch.
        names: The installation's names.
        event_names: Which name stands in its body.
        record: Its message's record as it is stored, behind the id under which it is; None where
            there is none.
    """
    headers = event_headers(event, at, names.base, record)
    return Outgoing(
        exchange=names.events,
        routing_key=routing_key(event),
        body=write_body(event, event_names),
        encoded=event_properties(
            app_id=APP_ID,
            content_type="application/json",
            correlation_id=event.answers.correlation_id if event.answers else None,
            headers=headers,
            # The same: it takes a digest to make it.
            message_id=str(headers["cloudEvents_id"]),
            message_type=event.name.value,
            timestamp=at // 1000,
        ),
        order=event.request_id,
    )


def reply_message(event: Event, published: Outgoing) -> Outgoing | None:
    """Return the copy of an event for whoever asked for a reply, or None."""
    queue = event.answers.reply_to if event.answers else None
    if queue is None or not is_reply_queue(queue):
        return None
    return published._replace(exchange="", routing_key=queue)


def is_reply_queue(name: str) -> bool:
    """Tell whether a command may ask for its answer in a queue of this name.

    Any queue will do that no installation may have: a command cannot make a worker feed commands,
    dead letters or events to the installation that it works for, or to another one. Direct
    reply-to (RabbitMQ documentation, "Direct Reply-to") is asked for by a name that RabbitMQ makes
    unique on the way; nobody listens at the plain one, and to publish a message that carries it is
    an error that closes the channel.
    """
    return (
        0 < len(name.encode()) <= SHORT_STRING_BYTES
        and name != _DIRECT_REPLY_TO
        and not is_ours(name)
    )


def dead_letter(delivery: Delivery, status: int, reason: str, at: int, names: Names) -> Outgoing:
    """Return a message as a dead letter: what it was, where it was, and why it is here.

    Its body is the original one, but without digits and not longer than a body may be. Of its
    headers it has only those that ``kept_headers`` returns: RabbitMQ would route by ``CC`` and
    ``BCC`` among them.
    """
    original = delivery.properties
    reply_to = original.reply_to
    body = without_digits(delivery.body)
    headers: dict[str, FieldValue] = {
        FIRST_FAILED_AT: _timestamp(at),
        **kept_headers(original.headers or {}),
        "status": status,
        "reason": reason,
        "original_exchange": delivery.exchange,
        "original_routing_key": delivery.routing_key,
        "original_queue": names.partition(delivery.subscription.partition),
        "failed_at": _timestamp(at),
        "redacted": body != delivery.body,
    }
    return Outgoing(
        exchange=names.dead_letters,
        routing_key=delivery.routing_key[:SHORT_STRING_BYTES],
        body=body,
        encoded=Basic.Properties(
            app_id=APP_ID,
            content_type=original.content_type,
            correlation_id=original.correlation_id,
            delivery_mode=PERSISTENT,
            headers=headers,
            message_id=original.message_id or secrets.token_hex(16),
            reply_to=reply_to if reply_to and is_reply_queue(reply_to) else None,
            timestamp=original.timestamp,
        ).marshal(),
        order=names.dead_letters,
    )


def kept_headers(headers: Mapping[str, FieldValue]) -> dict[str, FieldValue]:
    """Return those of a command's headers that it keeps as a dead letter, and when replayed."""
    kinds = {"traceparent": str, FIRST_FAILED_AT: datetime}
    kept = {name: headers.get(name) for name in kinds}
    return {name: value for name, value in kept.items() if isinstance(value, kinds[name])}


def without_digits(body: bytes) -> bytes:
    """Return at most ``MAX_BODY_BYTES`` of a body, without any digits that were to be dialed.

    Of JSON in which there is a ``dial``, or may be one in disguise, everything is replaced but the
    fields that say what it is; of other JSON, everything that mentions digits. Of anything else,
    what comes behind the first mention, and before it every decimal digit.
    """
    body = body[:MAX_BODY_BYTES]
    try:
        document = from_json(body)
    except ValueError:
        before, *after = _MENTION.split(body, maxsplit=1)
        return _DECIMAL.sub(b"?", before) + (_REDACTED.encode() if after else b"")
    # What has been parsed is not all that was written: of two equal keys it has only the second.
    if not _SUSPICIOUS.search(body):
        return body
    return to_json(_redacted(document, dials=_DIALS.search(body) is not None))[:MAX_BODY_BYTES]


def _redacted(document: Any, *, dials: bool) -> Any:
    if isinstance(document, Mapping):
        return {
            key: _REDACTED
            if _mentions_digits(key)
            else _redacted(value, dials=dials and not (key in _HARMLESS and _is_plain(value)))
            for key, value in document.items()
        }
    if isinstance(document, list):
        return [_redacted(value, dials=dials) for value in document]
    is_digits = dials or (isinstance(document, str) and _mentions_digits(document))
    return _REDACTED if is_digits else document


def _is_plain(value: Any) -> bool:
    return not isinstance(value, Mapping | list)


def _mentions_digits(text: str) -> bool:
    return "digit" in text.lower()


def _timestamp(at: int) -> datetime:
    return datetime.fromtimestamp(at // 1000, tz=UTC)
