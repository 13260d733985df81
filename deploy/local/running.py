"""Starts servers in a session of their own, and discards them afterwards."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from deploy.local.errors import ServerFailedError
from deploy.local.session import session, uninterrupted

#: Another process may take a port between choosing it and listening on it.
_ATTEMPTS = 3
_PORT_TAKEN = ("eaddrinuse", "address already in use")


class Discardable(Protocol):
    """One server, or several that belong together."""

    def start(self) -> None:
        """Start and wait until it can be used.

        Raises:
            ServerFailedError: it cannot; carries the end of its log.
        """

    def discard(self) -> None:
        """End it at once: its data is removed next, so a clean shutdown would save nothing."""


_Servers = TypeVar("_Servers", bound=Discardable)


@contextlib.contextmanager
def running(make: Callable[[Path], _Servers]) -> Iterator[_Servers]:
    """Yield what ``make`` makes in a directory that is not there yet, started.

    It is made again, on other ports, when a port was taken meanwhile.

    Raises:
        ServerFailedError: it did not start.
    """
    with session() as directory, contextlib.ExitStack() as cleaning:
        for attempt in range(_ATTEMPTS):
            servers = make(directory / str(attempt))
            cleaning.callback(_discard, servers)
            try:
                servers.start()
            except ServerFailedError as error:
                taken = any(sign in str(error).lower() for sign in _PORT_TAKEN)
                if not taken or attempt == _ATTEMPTS - 1:
                    raise
                _discard(servers)
            else:
                break
        yield servers


def _discard(servers: Discardable) -> None:
    with uninterrupted():
        servers.discard()
