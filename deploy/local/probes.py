"""How to tell, from outside, that a server on this machine is ready."""

import socket

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
