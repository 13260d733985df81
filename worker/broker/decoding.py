"""Decode properties that pamqp cannot decode, instead of losing the connection over them.

RabbitMQ passes on what a producer writes: short strings in another encoding than UTF-8, times
after the year 9999 (microseconds since the epoch, say), headers nested to any depth. pamqp raises
on these, inside aiormq's reader; that ends the connection, and the message is delivered to the
next worker, and the next.

What is relied on: ``pamqp.decode.METHODS`` holds the decoder of each type of property, which is
given all the bytes that are left and says how many of them it has used. How many a value of these
three types takes stands before it, or is fixed (AMQP 0-9-1, section 4.2.5), so what comes after an
undecodable value can be read. RabbitMQ itself refuses a message whose lengths do not fit.
"""

from functools import lru_cache
from typing import Any, Final

from pamqp import decode
from pamqp.commands import Basic
from pamqp.common import FieldValue
from pamqp.header import ContentHeader

#: Class, weight and body size, which stand before the properties in a content header.
_BEFORE_PROPERTIES: Final = 12
_FLAGS_BYTES: Final = 2
_TIMESTAMP_BYTES: Final = 8
_TABLE_LENGTH_BYTES: Final = 4

#: pamqp's attributes that have another name in AMQP 0-9-1.
_AMQP_NAMES: Final = {"message_type": "type"}


class Undecodable(str):
    """What stands for a value that cannot be decoded.

    Its text is fit to be shown and published: a string's bytes, those that are not ASCII escaped.
    """

    __slots__ = ()


def tolerate_undecodable_properties() -> None:
    """Let pamqp decode whatever RabbitMQ passes on, in the whole process."""
    decode.METHODS.update(shortstr=_short_string, timestamp=_timestamp, table=_table)


def decode_properties(encoded: bytes) -> tuple[Basic.Properties, tuple[str, ...]]:
    """Return properties, and the names of those that cannot be decoded.

    Args:
        encoded: Flags and values, as in a content header (AMQP 0-9-1, section 4.2.6.1).
    """
    try:
        return _decode_quickly(encoded), ()
    except Exception:  # noqa: BLE001 - pamqp's, whatever makes it raise
        header = ContentHeader()
        header.unmarshal(bytes(_BEFORE_PROPERTIES) + encoded)
        return header.properties, clear_undecodable(header.properties)


def _decode_quickly(encoded: bytes) -> Basic.Properties:
    values: dict[str, Any] = {}
    at = _FLAGS_BYTES
    for name, kind in _set_by(int.from_bytes(encoded[:at], "big")):
        if kind == "shortstr":
            start = at + 1
            at = start + encoded[at]
            values[name] = encoded[start:at].decode()
        elif kind == "octet":
            values[name] = encoded[at]
            at += 1
        else:
            used, value = decode.METHODS[kind](encoded[at:])
            if isinstance(value, Undecodable):
                raise ValueError(name)
            values[name] = value
            at += used
    return Basic.Properties(**values)


@lru_cache
def _set_by(flags: int) -> tuple[tuple[str, str], ...]:
    """Return the names and types of the properties that flags announce."""
    if flags & 1:
        raise ValueError("more flags follow")
    kinds = Basic.Properties
    return tuple(
        (name, kinds.amqp_type(name)) for name, flag in kinds.flags.items() if flags & flag
    )


def short_string(encoded: bytes, at: int) -> tuple[str, int]:
    """Return the short string that begins at a place, and the place behind it."""
    start = at + 1
    end = start + encoded[at]
    try:
        return encoded[start:end].decode(), end
    except UnicodeDecodeError:
        return _short_string(encoded[at:])[1], end


def clear_undecodable(properties: Basic.Properties) -> tuple[str, ...]:
    """Take out the values that cannot be decoded, and return the names of their properties."""
    names = [name for name, value in properties if isinstance(value, Undecodable)]
    for name in names:
        setattr(properties, name, None)
    return tuple(_AMQP_NAMES.get(name, name) for name in names)


def _short_string(value: bytes) -> tuple[int, str]:
    try:
        return decode.short_str(value)
    except UnicodeDecodeError:
        size = 1 + value[0]
        return size, Undecodable(value[1:size].decode("ascii", "backslashreplace"))


def _timestamp(value: bytes) -> tuple[int, FieldValue]:
    try:
        return decode.timestamp(value)
    except (ValueError, OverflowError, OSError):
        return _TIMESTAMP_BYTES, Undecodable()


def _table(value: bytes) -> tuple[int, FieldValue]:
    try:
        return decode.field_table(value)
    except Exception:  # noqa: BLE001 - a RecursionError, a ValueError, or whatever its values raise
        length = int.from_bytes(value[:_TABLE_LENGTH_BYTES], "big")
        return _TABLE_LENGTH_BYTES + length, Undecodable()
