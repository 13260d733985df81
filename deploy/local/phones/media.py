"""The ear and the mouth of a telephone: RTP over UDP, with a tone instead of a voice."""

import contextlib
import random
import select
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from deploy.local.tones import FRAME, heard, tone

#: Seconds between two packets.
_INTERVAL = 0.02

#: Packets that say what is heard at the moment: 200 ms.
_WINDOW = 10

#: Seconds after which a packet says nothing about the moment any more.
_FRESH = 0.25

#: Seconds for its thread to end.
_END_TIMEOUT = 5.0

_HEADER = struct.Struct("!BBHII")
_VERSION = 0x80
_MARKER = 0x80
_AUDIO = 0
_EVENT = 101

#: RFC 4733's events, by their numbers.
_DIGITS = "0123456789*#ABCD"

#: An address and a port, which RTP comes from or goes to.
Address = tuple[str, int]


@dataclass(slots=True)
class Stream:
    """What comes from one address: one call's other side.

    Attributes:
        packets: The number of packets with sound.
        digits: The digits, in order.
    """

    packets: int = 0
    digits: str = ""
    recent: deque[tuple[float, bytes]] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    last_event: tuple[int, int] = (0, 0)

    def sound(self) -> bytes:
        """Return what was heard in the last 200 ms."""
        oldest = time.monotonic() - _FRESH
        return b"".join(payload for arrived, payload in self.recent if arrived >= oldest)


@dataclass(slots=True)
class _Outgoing:
    """Where the tone goes, and how far it has come there."""

    source: int
    number: int
    clock: int
    begun: bool = False


class Media:
    """A UDP port that sends a tone to the addresses it is told, and listens to everybody.

    One port serves all calls of a telephone: Asterisk has a port of its own for each of them, by
    which they are told apart.

    Args:
        address: Where it is, one of 127.0.0.0/8.
        frequency: Of its tone, in Hz.

    Attributes:
        address: Where it is.
        port: Its port.
        sent: The number of packets that it has sent.
    """

    def __init__(self, address: str, frequency: int) -> None:
        self.address = address
        self._tone = tone(frequency)
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self._socket.settimeout(0)
        self.port: int = self._socket.getsockname()[1]
        self.sent = 0
        self._lock = threading.Lock()
        self._streams: dict[Address, Stream] = {}
        self._outgoing: dict[Address, _Outgoing] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"media-{self.port}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Be silent and deaf from now on; what was heard can still be asked for."""
        self._closed = True
        self._thread.join(_END_TIMEOUT)
        self._socket.close()

    def send_to(self, remote: Address) -> None:
        """Send the tone there, until ``stop_sending``."""
        with self._lock:
            if remote not in self._outgoing:
                source, clock = random.getrandbits(32), random.getrandbits(32)
                self._outgoing[remote] = _Outgoing(source, random.getrandbits(16), clock)

    def stop_sending(self, remote: Address) -> None:
        """Send nothing there any more."""
        with self._lock:
            self._outgoing.pop(remote, None)

    def forget(self, remote: Address) -> None:
        """Begin anew with what comes from there: the port has another call."""
        with self._lock:
            self._streams.pop(remote, None)

    def tones(self, remote: Address | None = None) -> frozenset[int]:
        """Return the tones heard at the moment, from one address or from all of them, in Hz."""
        with self._lock:
            sounds = [stream.sound() for stream in self._from(remote)]
        return frozenset[int]().union(*map(heard, sounds))

    def receiving(self, remote: Address | None = None) -> bool:
        """Return whether packets with sound arrive at the moment, and be it silence."""
        with self._lock:
            return any(stream.sound() for stream in self._from(remote))

    def received(self, remote: Address | None = None) -> int:
        """Return the number of packets with sound that have arrived."""
        with self._lock:
            return sum(stream.packets for stream in self._from(remote))

    def digits(self, remote: Address | None = None) -> str:
        """Return the digits that have arrived, in order."""
        with self._lock:
            return "".join(stream.digits for stream in self._from(remote))

    def _from(self, remote: Address | None) -> list[Stream]:
        if remote is None:
            return list(self._streams.values())
        return [self._streams[remote]] if remote in self._streams else []

    def _run(self) -> None:
        due = time.monotonic()
        while not self._closed:
            wait = due - time.monotonic()
            if wait > 0:
                if select.select([self._socket], [], [], wait)[0]:
                    self._receive()
                continue
            # A machine that stood still makes nobody speak faster.
            due = max(due + _INTERVAL, time.monotonic())
            self._send()

    def _receive(self) -> None:
        # OSError: also what came of a packet sent to nobody.
        with contextlib.suppress(OSError):
            packet, (host, port) = self._socket.recvfrom(2048)
            with self._lock:
                self._take(packet, (host, port))

    def _take(self, packet: bytes, remote: Address) -> None:
        if len(packet) <= _HEADER.size or packet[0] != _VERSION:
            return
        _, kind, _, clock, source = _HEADER.unpack_from(packet)
        payload = packet[_HEADER.size :]
        # RTCP of a neighbour has other types.
        if kind & ~_MARKER == _AUDIO:
            stream = self._streams.setdefault(remote, Stream())
            stream.packets += 1
            stream.recent.append((time.monotonic(), payload))
        elif kind & ~_MARKER == _EVENT:
            stream = self._streams.setdefault(remote, Stream())
            # All packets of one digit, the repeated last ones too, have the time of its beginning.
            if (source, clock) != stream.last_event and payload[0] < len(_DIGITS):
                stream.last_event = source, clock
                stream.digits += _DIGITS[payload[0]]

    def _send(self) -> None:
        with self._lock:
            for remote, going in self._outgoing.items():
                kind = _AUDIO if going.begun else _AUDIO | _MARKER
                header = _HEADER.pack(_VERSION, kind, going.number, going.clock, going.source)
                with contextlib.suppress(OSError):
                    self._socket.sendto(header + self._tone, remote)
                    self.sent += 1
                going.begun = True
                going.number = (going.number + 1) & 0xFFFF
                going.clock = (going.clock + FRAME) & 0xFFFFFFFF
