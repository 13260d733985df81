"""Properties that pamqp cannot decode: what it makes of them, and what the worker does."""

import struct
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, decode, exceptions, frame
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from tests.frames import SHORT_STRINGS, header_frame, properties, short_string, table
from worker.broker.decoding import (
    Undecodable,
    clear_undecodable,
    decode_properties,
    tolerate_undecodable_properties,
)

NOT_UTF8 = short_string(b"a\xff")
AFTER_9999 = struct.pack(">Q", 1_760_000_000_000_000)

NESTED = b"V"
for _ in range(4000):
    NESTED = b"A" + table(NESTED)

#: What RabbitMQ takes and pamqp does not, by the property's name in AMQP.
HOSTILE: dict[str, tuple[str, bytes]] = {
    **{f"{name} not UTF-8": (name, properties({name: NOT_UTF8})) for name in SHORT_STRINGS},
    "microseconds": ("timestamp", properties({"timestamp": AFTER_9999})),
    "the last timestamp": ("timestamp", properties({"timestamp": b"\xff" * 8})),
    "a header's name not UTF-8": ("headers", properties({"headers": table(b"\x02a\xffV")})),
    "a timestamp in a header": ("headers", properties({"headers": table(b"\x01aT" + b"\xff" * 8)})),
    "headers nested deeply": ("headers", properties({"headers": table(b"\x01a" + NESTED)})),
}


@pytest.fixture(autouse=True)
def decoders() -> Iterator[None]:
    """Leave pamqp as it was found."""
    before = dict(decode.METHODS)
    tolerate_undecodable_properties()
    yield
    decode.METHODS.update(before)


def decoded(encoded: bytes) -> Basic.Properties:
    """Return properties as aiormq's reader would get them."""
    _, _, got = frame.unmarshal(header_frame(encoded, 0))
    assert isinstance(got, ContentHeader)
    return got.properties


@pytest.mark.parametrize("kind", HOSTILE)
def test_pamqp_by_itself_still_raises(kind: str) -> None:
    """Where it does not any more, this adapter can go."""
    decode.METHODS.update(
        shortstr=decode.short_str, timestamp=decode.timestamp, table=decode.field_table
    )
    with pytest.raises((exceptions.UnmarshalingException, RecursionError)):
        decoded(HOSTILE[kind][1])


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_undecodable_property_is_named_and_taken_out(kind: str) -> None:
    """The frame itself is read, so the connection stays."""
    name, encoded = HOSTILE[kind]
    got = decoded(encoded)
    for left, names in ((got, clear_undecodable(got)), decode_properties(encoded)):
        assert names == ({"message_type": "type"}.get(name, name),)
        assert left.marshal() == Basic.Properties().marshal()


def test_what_stands_beside_an_undecodable_property_is_read() -> None:
    """The lengths say where it ends."""
    got = decoded(
        properties(
            {
                "headers": table(b"\x02a\xffV"),
                "correlation_id": NOT_UTF8,
                "message_id": short_string(b"m-1"),
                "timestamp": AFTER_9999,
                "app_id": short_string(b"somebody"),
            }
        )
    )
    assert clear_undecodable(got) == ("headers", "correlation_id", "timestamp")
    assert got == Basic.Properties(message_id="m-1", app_id="somebody")


def test_decodable_properties_are_decoded_as_ever() -> None:
    """Nothing else changes."""
    said = Basic.Properties(
        message_id="caf\u00e9",
        headers={"a": [1, {"b": None}], "c": "\u00e9"},
        timestamp=datetime(2025, 10, 9, tzinfo=UTC),
    )
    got = decoded(said.marshal())
    assert clear_undecodable(got) == ()
    assert got == said


def test_a_routing_key_that_is_not_utf8_can_be_shown_and_published() -> None:
    """It comes with the delivery, not with the properties, through the same decoder."""
    said = Basic.Deliver(consumer_tag="w", delivery_tag=7, exchange="x", routing_key="@@")
    raw = frame.marshal(said, 1).replace(b"\x02@@", b"\x02@\xff")
    _, _, got = frame.unmarshal(raw)
    assert isinstance(got, Basic.Deliver)
    assert isinstance(got.routing_key, Undecodable)
    assert got.routing_key == "@\\xff"
    assert (got.delivery_tag, got.exchange) == (7, "x")
    frame.marshal(commands.Basic.Publish(routing_key=got.routing_key), 1)


@given(
    st.dictionaries(st.sampled_from(SHORT_STRINGS), st.binary(max_size=255).map(short_string)),
    st.none() | st.binary(max_size=300).map(table),
    st.none() | st.binary(min_size=8, max_size=8),
)
def test_no_property_of_a_valid_length_ends_the_connection(
    strings: dict[str, bytes], headers: bytes | None, timestamp: bytes | None
) -> None:
    """Whatever is in it; and what is left can be published again."""
    others = {"headers": headers, "timestamp": timestamp}
    encoded = strings | {name: value for name, value in others.items() if value is not None}
    got = decoded(properties(encoded))
    names = clear_undecodable(got)
    assert decode_properties(properties(encoded)) == (got, names)
    assert len(names) <= len(encoded)
    for name in ("message_id", "correlation_id", "reply_to", "content_type"):
        Basic.Properties(**{name: getattr(got, name)}).marshal()
