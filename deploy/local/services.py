"""What a provider hands out: addresses, and handles to disturb the servers behind them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

#: ``tests`` and ``run`` read different variables, so that a test never meets a real broker.
Purpose = Literal["tests", "run"]

#: Called with one short line whenever something takes long.
Progress = Callable[[str], None]


def silent(line: str) -> None:
    """Show nobody how it goes."""
    del line


class Server(Protocol):
    """A server that was started here. Its port, its data and its log outlive a restart."""

    def start(self) -> None:
        """Start it and return once it answers; does nothing while it runs.

        Raises:
            ServerFailedError: it ended or did not answer in time; carries the end of its log.
        """

    def stop(self) -> None:
        """Shut it down cleanly and return once it is gone; resumes it first when paused."""

    def kill(self) -> None:
        """End it as a crash would, with SIGKILL, and return once it is gone."""

    def restart(self) -> None:
        """``stop`` and ``start``."""

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing answers."""

    def resume(self) -> None:
        """Undo ``pause``."""

    @property
    def running(self) -> bool:
        """Whether its process exists; a paused server runs."""

    def log(self) -> str:
        """Return the end of its log."""


class Broker(Server, Protocol):
    """RabbitMQ."""

    def ctl(self, *args: str) -> str:
        """Run ``rabbitmqctl`` on it and return what it prints.

        Raises:
            CommandFailedError: it refused, or took longer than a minute.
        """


class Asterisk(Server, Protocol):
    """A telephone exchange on the loopback, with ports and a password of its own.

    Attributes:
        ari_url: The address of ARI, without a path.
        ari_user: Who may use it.
        ari_password: By which password, another one for each.
        address: Where SIP and RTP are.
        sip_port: Where SIP is.
        rtp_ports: Where the media are.
    """

    ari_url: str
    ari_user: str
    ari_password: str
    address: str
    sip_port: int
    rtp_ports: range

    @property
    def sip(self) -> tuple[str, int]:
        """Where it speaks SIP: address and port."""

    def ctl(self, command: str) -> str:
        """Run a command of its own command line and return what it prints.

        Raises:
            CommandFailedError: it did not answer, or took longer than 20 seconds.
        """


@dataclass(frozen=True, slots=True)
class Services:
    """RabbitMQ and Redis, ready for use. The handles are None when URLs named the servers."""

    provider: str
    amqp_url: str
    redis_url: str
    management_url: str | None = None
    rabbitmq: Broker | None = None
    redis: Server | None = None
