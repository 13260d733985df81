"""Frames are handed over as they come, however the network cuts them; the rest is aiormq's."""

import inspect
from itertools import pairwise
from typing import Final, cast

import aiormq
import pytest
from aiormq.connection import TransportFactory
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from worker.broker import frames
from worker.broker.connection import Channel
from worker.broker.frames import METHOD, FrameReader, Take

CHANNEL: Final = cast("Channel", object())
HEARTBEAT: Final = frame.marshal(Heartbeat(), 0)

ANY_FRAME: Final = st.one_of(
    st.builds(ContentBody, st.binary(min_size=1, max_size=300)),
    st.builds(ContentHeader, body_size=st.integers(0, 2**64 - 1)),
    st.builds(commands.Basic.Ack, st.integers(0, 2**63 - 1), st.booleans()),
    st.builds(commands.Basic.QosOk),
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Return data in pieces."""
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


async def left(reader: FrameReader) -> bytes:
    """Return what aiormq can read."""
    reader.feed_eof()
    return await reader.read()


def taking(taken: list[bytes]) -> Take:
    """Return a function that takes every frame but those that close a channel."""

    def take(kind: int, payload: bytes) -> bool:
        if kind == METHOD and payload.startswith(b"\x00\x14"):
            return False
        taken.append(payload)
        return True

    return take


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 2]), ANY_FRAME), max_size=20),
    st.lists(st.integers(0), max_size=20),
)
async def test_it_does_not_matter_where_the_network_cuts_frames(
    said: list[tuple[int, frame.FrameTypes]], places: list[int]
) -> None:
    """One channel's are handed over in their order; aiormq reads all others in theirs."""
    marshalled = [(number, frame.marshal(each, number)) for number, each in said]
    taken: list[bytes] = []
    reader = FrameReader({1: (CHANNEL, taking(taken))})
    for piece in cut(b"".join(data for _, data in marshalled), places):
        reader.feed_data(piece)
    assert taken == [data[7:-1] for number, data in marshalled if number == 1]
    assert await left(reader) == b"".join(data for number, data in marshalled if number != 1)


@pytest.mark.parametrize(
    "closed", [commands.Channel.Close(404, "gone", 60, 60), commands.Channel.CloseOk()]
)
async def test_what_comes_behind_the_closing_of_a_channel_is_not_handed_over(
    closed: frame.FrameTypes,
) -> None:
    """The number may be another channel's by then."""
    taken: list[bytes] = []
    reader = FrameReader({1: (CHANNEL, taking(taken))})
    before, closing, after = (
        frame.marshal(each, 1) for each in (ContentBody(b"before"), closed, ContentBody(b"after"))
    )
    reader.feed_data(before + closing + after)
    assert taken == [b"before"]
    assert await left(reader) == closing + after


@pytest.mark.parametrize(
    "said",
    [
        b"AMQP\x00\x00\x09\x01",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x15\x03\x03\x00\x02\x02\x46",
        b"\x01\x00\x01\x00\x00\x00\x01ab",
    ],
)
async def test_aiormq_sees_what_a_server_says_that_does_not_speak_amqp(said: bytes) -> None:
    """Whole, and at once: it may wait for an answer."""
    taken: list[bytes] = []
    reader = FrameReader({1: (CHANNEL, taking(taken))})
    for byte in said:
        reader.feed_data(bytes([byte]))
    assert await reader.readexactly(len(said)) == said
    assert taken == []
    reader.feed_data(HEARTBEAT)
    assert await left(reader) == HEARTBEAT


async def test_aiormq_sees_the_half_of_a_frame_with_which_a_connection_ends() -> None:
    """It is an error then, and no end like others."""
    reader = FrameReader({1: (CHANNEL, taking([]))})
    reader.feed_data(HEARTBEAT + HEARTBEAT[:5])
    # TLS streams end twice.
    reader.feed_eof()
    assert await left(reader) == HEARTBEAT + HEARTBEAT[:5]


async def test_aiormq_gets_a_heartbeat_where_all_frames_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RabbitMQ sends none then, and aiormq would take the connection for dead."""
    monkeypatch.setattr(frames, "_HEARTBEAT_SECONDS", -1.0)
    taken: list[bytes] = []
    reader = FrameReader({1: (CHANNEL, taking(taken))})
    reader.feed_data(frame.marshal(ContentBody(b"one"), 1))
    assert taken == [b"one"]
    assert await left(reader) == HEARTBEAT


def test_aiormq_still_takes_its_streams_from_a_transport_factory() -> None:
    """Everything here hangs on that."""
    assert "transport_factory" in inspect.signature(aiormq.Connection).parameters
    assert list(inspect.signature(TransportFactory.create).parameters) == ["self", "url", "kwargs"]
    assert inspect.iscoroutinefunction(TransportFactory.create)
