"""Encode what is published: the properties of events fast, those of anything else by pamqp.

pamqp looks up how to encode each value, by its name and by its type. An event's properties are
always the same ones, and its headers are strings, integers and booleans.
"""

import struct
from collections.abc import Mapping
from functools import cache
from typing import Final

from schemas.fields import SHORT_STRING_BYTES

#: The delivery mode of what survives a restart of RabbitMQ.
PERSISTENT: Final = 2

#: The bits that say which properties follow (AMQP 0-9-1, section 4.2.6.1), in their order.
_CONTENT_TYPE: Final = 1 << 15
_HEADERS: Final = 1 << 13
_DELIVERY_MODE: Final = 1 << 12
_CORRELATION_ID: Final = 1 << 10
_MESSAGE_ID: Final = 1 << 7
_TIMESTAMP: Final = 1 << 6
_TYPE: Final = 1 << 5
_APP_ID: Final = 1 << 3

_EVENT: Final = (
    _CONTENT_TYPE | _HEADERS | _DELIVERY_MODE | _MESSAGE_ID | _TIMESTAMP | _TYPE | _APP_ID
)

_flags: Final = struct.Struct(">H")
_length: Final = struct.Struct(">I").pack
_timestamp: Final = struct.Struct(">Q").pack
_integer: Final = struct.Struct(">cq").pack


def event_properties(
    *,
    app_id: str,
    content_type: str,
    correlation_id: str | None,
    headers: Mapping[str, str | int],
    message_id: str,
    message_type: str,
    timestamp: int,
) -> bytes:
    """Encode the properties of a persistent message.

    Args:
        app_id: What published it.
        content_type: What its body is.
        correlation_id: What it answers; empty or None where it answers nothing.
        headers: Its headers.
        message_id: Its id.
        message_type: What it says.
        timestamp: When it was made, in seconds since the epoch.

    Raises:
        ValueError: A string is too long, or no Unicode.
        struct.error: A number is too large.
    """
    parts = (
        _flags.pack(_EVENT | _CORRELATION_ID if correlation_id else _EVENT),
        _constant(content_type),
        _table(headers),
        bytes((PERSISTENT,)),
        _short_string(correlation_id) if correlation_id else b"",
        _short_string(message_id),
        _timestamp(timestamp),
        _constant(message_type),
        _constant(app_id),
    )
    return b"".join(parts)


def _short_string(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) > SHORT_STRING_BYTES:
        raise ValueError(f"longer than {SHORT_STRING_BYTES} bytes")
    return bytes((len(encoded),)) + encoded


#: For strings of which there are few: names of headers and of events.
_constant: Final = cache(_short_string)


def _table(fields: Mapping[str, str | int]) -> bytes:
    parts: list[bytes] = []
    for name, value in fields.items():
        if isinstance(value, str):
            encoded = value.encode()
            parts += (_constant(name), b"S", _length(len(encoded)), encoded)
        elif isinstance(value, bool):
            parts += (_constant(name), b"t\1" if value else b"t\0")
        else:
            parts += (_constant(name), _integer(b"l", value))
    encoded = b"".join(parts)
    return _length(len(encoded)) + encoded
