"""An event's properties as bytes."""

import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from worker.broker.decoding import decode_properties
from worker.broker.encoding import event_properties

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SHORT = TEXTS.filter(lambda text: len(text.encode()) <= 255)
HEADERS = st.dictionaries(
    SHORT, TEXTS | st.booleans() | st.integers(-(2**63), 2**63 - 1), max_size=12
)


def encoded(
    headers: dict[str, str | int] | None = None,
    *,
    correlation_id: str | None = "c-1",
    message_id: str = "m1",
    timestamp: int = 1_760_000_000,
) -> bytes:
    """Encode an event's properties, of which a test cares about some."""
    return event_properties(
        app_id="call-control-worker",
        content_type="application/json",
        correlation_id=correlation_id,
        headers=headers or {},
        message_id=message_id,
        message_type="call_held",
        timestamp=timestamp,
    )


@given(HEADERS, SHORT | st.none(), SHORT.filter(bool), st.integers(0, 2**32 - 1))
def test_whoever_gets_an_event_decodes_what_was_encoded(
    headers: dict[str, str | int], correlation_id: str | None, message_id: str, timestamp: int
) -> None:
    """By the library that others use, each property and the type of each header."""
    properties, undecodable = decode_properties(
        encoded(headers, correlation_id=correlation_id, message_id=message_id, timestamp=timestamp)
    )
    assert not undecodable
    assert properties == Basic.Properties(
        app_id="call-control-worker",
        content_type="application/json",
        correlation_id=correlation_id or None,
        delivery_mode=2,
        headers=dict(headers),
        message_id=message_id,
        message_type="call_held",
        timestamp=datetime.fromtimestamp(timestamp, tz=UTC),
    )
    kinds = [(name, type(value)) for name, value in (properties.headers or {}).items()]
    assert kinds == [(name, type(value)) for name, value in headers.items()]


@pytest.mark.parametrize("unfit", ["x" * 256, "\u00e9" * 128, "\ud800"])
def test_what_no_short_string_can_hold_is_an_error(unfit: str) -> None:
    """Here, and not on the connection."""
    with pytest.raises(ValueError):  # noqa: PT011 - Python's own for what is no Unicode
        encoded(message_id=unfit)
    with pytest.raises(ValueError):  # noqa: PT011 - as above
        encoded(correlation_id=unfit)


def test_what_no_header_can_hold_is_an_error() -> None:
    """Neither a text that is no Unicode nor an integer of more than 64 bits."""
    with pytest.raises(UnicodeEncodeError):
        encoded({"reason": "\ud800"})
    with pytest.raises(struct.error):
        encoded({"sequence": 2**63})
