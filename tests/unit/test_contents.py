"""What pamqp writes is read, and what is written pamqp reads."""

from datetime import UTC, datetime
from typing import Final, NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from tests.unit.deliveries import PARTITION
from worker.broker.contents import DELIVER, Contents, acknowledged, published
from worker.broker.decoding import decode_properties
from worker.broker.frames import METHOD
from worker.broker.subscription import Delivery

SHORT: Final = st.text(max_size=60).filter(lambda text: len(text.encode()) < 256)
#: pamqp accepts no others.
EXCHANGES: Final = st.text("ab01-_.:", max_size=127)
PROPERTIES: Final = st.builds(
    Basic.Properties,
    content_type=st.none() | SHORT,
    headers=st.none() | st.dictionaries(SHORT, st.none() | st.text() | st.integers(0, 2**31)),
    delivery_mode=st.sampled_from([None, 1, 2]),
    priority=st.none() | st.integers(0, 9),
    correlation_id=st.none() | SHORT,
    reply_to=st.none() | SHORT,
    message_id=st.none() | SHORT,
    timestamp=st.none()
    | st.integers(0, 2**32 - 1).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    app_id=st.none() | SHORT,
)
TAGS: Final = st.integers(1, 2**63 - 1)
BODIES: Final = st.lists(st.binary(min_size=1, max_size=50), max_size=5)


def frames_of(how: Frame, properties: Basic.Properties, parts: list[bytes]) -> list[bytes]:
    """Return a message's frames as pamqp writes them."""
    header = ContentHeader(properties=properties, body_size=sum(map(len, parts)))
    said: list[frame.FrameTypes] = [how, header, *map(ContentBody, parts)]
    return [frame.marshal(each, 1) for each in said]


def unmarshalled(data: bytes) -> list[frame.FrameTypes]:
    """Return frames as pamqp reads them."""
    found = []
    while data:
        used, channel, each = frame.unmarshal(data)
        assert channel == 7
        found.append(each)
        data = data[used:]
    return found


@given(
    st.builds(Basic.Deliver, SHORT, TAGS, st.booleans(), EXCHANGES, SHORT),
    PROPERTIES,
    BODIES,
    st.integers(0, 200),
)
def test_what_pamqp_writes_is_delivered(
    how: Basic.Deliver, properties: Basic.Properties, parts: list[bytes], kept_bytes: int
) -> None:
    """Two of them behind each other; of a body that is too long no more than is asked for."""
    got: list[Delivery] = []
    contents = Contents(
        DELIVER, kept_bytes, lambda *message: got.append(Delivery.of(PARTITION, *message))
    )
    for data in frames_of(how, properties, parts) * 2:
        assert contents.take(data[0], data[7:-1])
    assert len(got) == 2
    for delivery in got:
        assert (delivery.tag, delivery.redelivered) == (how.delivery_tag, how.redelivered)
        assert (delivery.exchange, delivery.routing_key) == (how.exchange, how.routing_key)
        assert delivery.properties == decoded_by_pamqp(properties.marshal())
        assert delivery.undecodable == ()
        assert delivery.body == b"".join(parts)[:kept_bytes]


def decoded_by_pamqp(encoded: bytes) -> Basic.Properties:
    """Return what pamqp makes of encoded properties."""
    header = ContentHeader()
    header.unmarshal(bytes(12) + encoded)
    return header.properties


@given(PROPERTIES)
def test_properties_are_what_pamqp_makes_of_them(properties: Basic.Properties) -> None:
    """Only sooner."""
    encoded = properties.marshal()
    assert decode_properties(encoded) == (decoded_by_pamqp(encoded), ())


def test_only_what_is_announced_is_taken() -> None:
    """Whatever else comes on the channel is aiormq's, its content included."""
    contents = Contents(DELIVER, 10, lambda *_: None)
    got = Basic.GetOk(1, redelivered=False, exchange="x", routing_key="", message_count=0)
    for how in (got, Basic.Return(312, "NO_ROUTE", "x", ""), Basic.ConsumeOk("w")):
        for data in frames_of(how, Basic.Properties(), [b"body"]):
            assert not contents.take(data[0], data[7:-1])


class Said(NamedTuple):
    """What is published."""

    exchange: str
    routing_key: str
    properties: Basic.Properties
    body: bytes
    mandatory: bool


@given(
    st.builds(Said, EXCHANGES, SHORT, PROPERTIES, st.binary(max_size=100), st.booleans()),
    st.integers(1, 40),
)
def test_pamqp_reads_what_is_published(said: Said, payload_bytes: int) -> None:
    """In frames that are no larger than they may be."""
    how, header, *parts = unmarshalled(
        published(
            7,
            said.exchange,
            said.routing_key,
            said.properties.marshal(),
            said.body,
            mandatory=said.mandatory,
            payload_bytes=payload_bytes,
        )
    )
    assert isinstance(how, Basic.Publish)
    assert (how.exchange, how.routing_key) == (said.exchange, said.routing_key)
    assert (how.mandatory, how.immediate) == (said.mandatory, False)
    assert isinstance(header, ContentHeader)
    assert header.body_size == len(said.body)
    assert header.properties == decoded_by_pamqp(said.properties.marshal())
    values = [part.value for part in parts if isinstance(part, ContentBody)]
    assert len(values) == len(parts)
    assert b"".join(values) == said.body
    assert all(len(value) <= payload_bytes for value in values)


@given(TAGS)
def test_pamqp_reads_acknowledgements(tag: int) -> None:
    """Of all deliveries up to one."""
    data = acknowledged(7, tag)
    assert data[0] == METHOD
    assert data == frame.marshal(Basic.Ack(tag, multiple=True), 7)
