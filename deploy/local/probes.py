"""How to tell, from outside, that a server on this machine is ready."""

import base64
import socket
import sys
from pathlib import Path

#: Seconds for a connection and its first answer.
_TIMEOUT = 1.0


def listens(port: int) -> bool:
    """Return whether somebody takes connections, such as who speaks TLS from the first byte."""
    try:
        socket.create_connection(("127.0.0.1", port), _TIMEOUT).close()
    except OSError:
        return False
    return True


def rabbitmq_answers(port: int) -> bool:
    """Return whether RabbitMQ greets AMQP clients, which it does once its plugins run."""
    # A frame of type method on channel zero: connection.start.
    return _answers(port, b"AMQP\0\0\x09\x01", b"\1\0\0")


def redis_answers(port: int) -> bool:
    """Return whether Redis serves commands, its data loaded, if only to those it knows."""
    return _answers(port, b"PING\r\n", b"+PONG") or _answers(port, b"PING\r\n", b"-NOAUTH")


def epmd_answers(port: int) -> bool:
    """Return whether Erlang's port mapper lists its nodes."""
    # NAMES_REQ; the answer begins with epmd's own port.
    return _answers(port, b"\0\1n", port.to_bytes(4, "big"))


def ari_answers(port: int, user: str, password: str) -> bool:
    """Return whether Asterisk has started and serves requests of a user."""
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    request = f"GET /ari/asterisk/info HTTP/1.1\r\nAuthorization: Basic {credentials}\r\n\r\n"
    return _answers(port, request.encode(), b"HTTP/1.1 200")


def sip_answers(address: str, port: int) -> bool:
    """Return whether somebody there speaks SIP over UDP, whatever the answer."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.settimeout(_TIMEOUT)
        try:
            probe.connect((address, port))
            own, own_port = probe.getsockname()
            lines = (
                f"OPTIONS sip:{address}:{port} SIP/2.0",
                # The number is another one each time: a known one is answered without thinking.
                f"Via: SIP/2.0/UDP {own}:{own_port};branch=z9hG4bK{own_port}",
                f"From: <sip:probe@{own}:{own_port}>;tag={own_port}",
                f"To: <sip:{address}:{port}>",
                f"Call-ID: probe-{own_port}",
                "CSeq: 1 OPTIONS",
                f"Contact: <sip:probe@{own}:{own_port}>",
                "Max-Forwards: 1",
                "Content-Length: 0",
            )
            probe.send("".join(f"{line}\r\n" for line in (*lines, "")).encode())
            return probe.recv(8) == b"SIP/2.0 "
        except OSError:
            return False


def udp_bound(address: str, port: int) -> bool:
    """Return whether a process has taken a UDP port of an IPv4 address."""
    # As the kernel writes it: the address as a number of this machine's byte order.
    number = int.from_bytes(socket.inet_aton(address), sys.byteorder)
    wanted = f"{number:08X}:{port:04X}"
    lines = Path("/proc/net/udp").read_text().splitlines()
    return any(line.split()[1] == wanted for line in lines[1:])


def docker_answers(place: str | int) -> bool:
    """Return whether a Docker engine answers at a Unix socket's path or a port."""
    # The SDK can be asked too, but leaves its socket open when nobody is there.
    return _answers(place, b"GET /_ping HTTP/1.0\r\n\r\n", b"HTTP/1.0 200")


def _answers(place: str | int, request: bytes, reply: bytes) -> bool:
    address: str | tuple[str, int]
    if isinstance(place, int):
        family, address = socket.AF_INET, ("127.0.0.1", place)
    else:
        family, address = socket.AF_UNIX, place
    with socket.socket(family) as connection:
        connection.settimeout(_TIMEOUT)
        try:
            connection.connect(address)
            connection.sendall(request)
            return connection.recv(len(reply)) == reply
        except OSError:
            return False
