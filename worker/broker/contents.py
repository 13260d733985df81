"""Messages as frames: a method that says how, a header with the properties, and the body.

AMQP 0-9-1, section 2.3.5.2: a body comes in as many frames as it takes, or in none at all. Between
the frames of one message there are none of others on its channel.
"""

from collections.abc import Callable
from struct import Struct
from typing import Final

from worker.broker.frames import BODY, FRAME_END, HEAD, HEADER, METHOD

_PUBLISH_METHOD: Final = b"\x00\x3c\x00\x28"
#: What the payload of a method's frame begins with: its class and its own number.
RETURN: Final = b"\x00\x3c\x00\x32"
DELIVER: Final = b"\x00\x3c\x00\x3c"
ACK: Final = b"\x00\x3c\x00\x50"
NACK: Final = b"\x00\x3c\x00\x78"

# Head of a frame; class, method, and what is reserved; the length of the exchange's name.
_PUBLISH: Final = Struct(">BHI4sHB")
# Head of a frame; class, what is reserved, and the size of the body.
_HEADER: Final = Struct(">BHIHHQ")
_BASIC: Final = 60
# Head of a frame; class and method; the delivery tag, and whether all up to it are meant.
_ACK: Final = Struct(">BHI4sQ?c")
_ACK_BYTES: Final = 13
_MANDATORY: Final = (b"\x00" + FRAME_END, b"\x01" + FRAME_END)


class Contents:
    """Puts messages together from their frames.

    Args:
        method: What comes before the messages that it takes.
        kept_bytes: How much of a body is kept.
        arrived: Called with a method's arguments, the encoded properties, and the body.
    """

    def __init__(
        self, method: bytes, kept_bytes: int, arrived: Callable[[bytes, bytes, bytes], None]
    ) -> None:
        self._announced_by = method
        self._kept_bytes = kept_bytes
        self._arrived = arrived
        self._arguments: bytes | None = None
        self._properties = b""
        self._body = b""
        self._missing = 0

    def take(self, kind: int, payload: bytes) -> bool:
        """Take a frame of a message; False of any other."""
        if kind == METHOD:
            if not payload.startswith(self._announced_by):
                return False
            self._arguments = payload[4:]
            return True
        if self._arguments is None:
            return False
        if kind == HEADER:
            self._missing = int.from_bytes(payload[4:12], "big")
            self._properties = payload[12:]
            self._body = b""
        else:
            self._missing -= len(payload)
            self._body += payload[: self._kept_bytes - len(self._body)]
        if self._missing <= 0:
            arguments, self._arguments = self._arguments, None
            self._arrived(arguments, self._properties, self._body)
        return True


def published(
    channel: int,
    exchange: str,
    routing_key: str,
    properties: bytes,
    body: bytes,
    *,
    mandatory: bool,
    payload_bytes: int,
) -> bytes:
    """Return the frames that publish a message.

    Args:
        channel: The channel's number.
        exchange: Where to.
        routing_key: Its routing key.
        properties: Its encoded properties.
        body: Its body.
        mandatory: Whether it is returned if no queue takes it.
        payload_bytes: How much of a body goes into one frame.
    """
    to, key = exchange.encode(), routing_key.encode()
    frames = [
        _PUBLISH.pack(METHOD, channel, 9 + len(to) + len(key), _PUBLISH_METHOD, 0, len(to)),
        to,
        bytes((len(key),)),
        key,
        _MANDATORY[mandatory],
        _HEADER.pack(HEADER, channel, 12 + len(properties), _BASIC, 0, len(body)),
        properties,
        FRAME_END,
    ]
    for start in range(0, len(body), payload_bytes):
        part = body[start : start + payload_bytes]
        frames += (HEAD.pack(BODY, channel, len(part)), part, FRAME_END)
    return b"".join(frames)


def acknowledged(channel: int, tag: int) -> bytes:
    """Return the frame that acknowledges all deliveries on a channel up to one."""
    return _ACK.pack(METHOD, channel, _ACK_BYTES, ACK, tag, True, FRAME_END)  # noqa: FBT003 - a bit
