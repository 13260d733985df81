"""Two ends of RTP hear each other, as far as they are told to speak."""

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from deploy.local.phones import Media
from deploy.local.process import wait_until
from deploy.local.tones import SILENCE

LOW, HIGH = 400, 500
SECONDS = 5.0


@pytest.fixture
def low() -> Iterator[Media]:
    """An end."""
    media = Media("127.0.0.1", LOW)
    yield media
    media.close()


@pytest.fixture
def high() -> Iterator[Media]:
    """Another one, at another address."""
    media = Media("127.0.0.2", HIGH)
    yield media
    media.close()


@pytest.fixture
def wire() -> Iterator[socket.socket]:
    """Somebody who sends what a test makes."""
    with socket.socket(type=socket.SOCK_DGRAM) as bare:
        bare.bind(("127.0.0.1", 0))
        bare.settimeout(SECONDS)
        yield bare


def place(media: Media) -> tuple[str, int]:
    """Return where it is."""
    return media.address, media.port


def packet(kind: int, clock: int, payload: bytes, *, source: int = 7) -> bytes:
    """Return a packet of RTP."""
    return struct.pack("!BBHII", 0x80, kind, 1, clock, source) + payload


def event(digit: int, clock: int, *, last: bool = False) -> bytes:
    """Return a packet of a digit."""
    return packet(101, clock, struct.pack("!BBH", digit, 0x80 if last else 0, 160))


def test_who_is_sent_to_hears_the_tone_until_it_ends(low: Media, high: Media) -> None:
    """And the other direction is another matter."""
    low.send_to(place(high))
    assert wait_until(lambda: high.tones() == {LOW}, SECONDS)
    assert high.receiving()
    assert not low.receiving()
    assert high.received(place(low)) == high.received() > 0
    low.stop_sending(place(high))
    assert wait_until(lambda: not high.receiving(), SECONDS)
    assert high.tones() == frozenset()


def test_packets_come_every_20_ms_and_count_up(low: Media, wire: socket.socket) -> None:
    """As other ends of RTP expect them: one source, 160 samples in each."""
    low.send_to(wire.getsockname())
    packets = [wire.recv(2048) for _ in range(25)]
    began = time.monotonic()
    packets += [wire.recv(2048) for _ in range(25)]
    assert 0.3 < time.monotonic() - began < 3
    heads = [struct.unpack_from("!BBHII", each) for each in packets]
    first = heads[0]
    for number, head in enumerate(heads):
        assert head[0] == 0x80
        assert head[1] == (0x80 if number == 0 else 0)
        assert head[2] == (first[2] + number) % 2**16
        assert head[3] == (first[3] + 160 * number) % 2**32
        assert head[4] == first[4]
    assert {len(each) for each in packets} == {172}


def test_silence_is_received_and_no_tone(low: Media, wire: socket.socket) -> None:
    """Packets without sound are something else than no packets."""
    wire.sendto(packet(0, 0, SILENCE), place(low))
    assert wait_until(low.receiving, SECONDS)
    assert low.tones() == frozenset()


def test_digits_count_once_each_in_order(low: Media, wire: socket.socket) -> None:
    """A digit is a dozen packets of one time; an equal digit later is another one."""
    for clock, digit in enumerate((5, 5, 11, 0, 15)):
        for last in (False, False, True, True, True):
            wire.sendto(event(digit, clock * 1000 + 1, last=last), place(low))
    assert wait_until(lambda: low.digits() == "55#0D", SECONDS)
    assert low.digits(wire.getsockname()) == "55#0D"
    assert low.received() == 0


def test_what_is_no_sound_is_left_alone(low: Media, wire: socket.socket) -> None:
    """RTCP of a neighbour, noise, events that are no digits."""
    for garbage in (
        b"",
        b"\x80",
        b"no RTP at all",
        struct.pack("!BBHII", 0x80, 200, 6, 7, 0) + bytes(20),
        packet(8, 0, SILENCE),
        event(16, 1),
    ):
        wire.sendto(garbage, place(low))
    wire.sendto(packet(0, 0, SILENCE), place(low))
    assert wait_until(lambda: low.received() == 1, SECONDS)
    assert low.digits() == ""


def test_two_who_send_are_heard_apart(low: Media, high: Media, wire: socket.socket) -> None:
    """By the addresses that they send from."""
    high.send_to(place(low))
    wire.sendto(event(1, 1), place(low))
    wire.sendto(packet(0, 0, SILENCE), place(low))
    assert wait_until(lambda: low.tones(place(high)) == {HIGH}, SECONDS)
    assert low.tones(wire.getsockname()) == frozenset()
    assert low.digits(wire.getsockname()) == "1"
    assert low.digits(place(high)) == ""
    assert low.tones(("127.0.0.3", 1)) == frozenset()


def test_nobody_at_the_other_end_is_no_error(low: Media, wire: socket.socket) -> None:
    """The kernel says so with the next packet; the tone goes on for others."""
    nobody = socket.socket(type=socket.SOCK_DGRAM)
    nobody.bind(("127.0.0.1", 0))
    address = nobody.getsockname()
    nobody.close()
    low.send_to(address)
    low.send_to(wire.getsockname())
    for _ in range(10):
        assert wire.recv(2048)


def test_closed_it_neither_hears_nor_sounds(low: Media, high: Media) -> None:
    """What it has heard can still be asked for."""
    low.send_to(place(high))
    assert wait_until(lambda: high.received() > 2, SECONDS)
    high.close()
    heard = high.received()
    assert heard > 2
    sent = low.sent
    assert wait_until(lambda: low.sent > sent + 3, SECONDS)
    assert high.received() == heard
