"""A telephone: sipp speaks SIP for it, ``Media`` hears and sounds."""

import secrets
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local.errors import ServerFailedError
from deploy.local.phones.behaviour import Behaviour
from deploy.local.phones.media import Address, Media
from deploy.local.phones.messages import Message, Trace
from deploy.local.probes import udp_bound
from deploy.local.process import POLL, Process, free_port, wait_until
from deploy.local.runtime import Runtime

#: Seconds until it can be called.
_START_TIMEOUT = 20.0

#: Seconds after which a telephone that was forgotten ends by itself.
_LIFE: Final = 3600

#: Seconds for its thread to end.
_END_TIMEOUT = 5.0

_OK = 200


@dataclass(slots=True)
class _Call:
    """Where a call's other side is, and whether it is to hear something."""

    remote: Address | None = None
    listening: bool = True
    answered: bool = False


class Phone:
    """A telephone on the loopback, which sounds a tone of its own while it is connected.

    Args:
        runtime: Where sipp comes from.
        directory: Where its scenario and its log are; made here.
        behaviour: What it does.
        address: Where it is, one of 127.0.0.0/8.
        port: Where it speaks SIP; 0 for a free one.
        tone: What it sounds, in Hz.
        sounds: Whether it does, and hears. One that does neither costs no more than sipp does.

    Attributes:
        address: Where it is.
        port: Where it speaks SIP.
        media: Its RTP.
    """

    def __init__(
        self,
        runtime: Runtime,
        directory: Path,
        behaviour: Behaviour,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        tone: int = 400,
        sounds: bool = True,
    ) -> None:
        directory.mkdir(parents=True)
        self.address = address
        self.port = port or free_port(address, socket.SOCK_DGRAM)
        self.media = Media(address, tone)
        (directory / "scenario.xml").write_text(behaviour.scenario(self.media.port))
        home = runtime.path(directory)
        command = [
            "sipp",
            *("-sf", f"{home}/scenario.xml"),
            *("-i", address, "-p", str(self.port)),
            # It takes ports for RTP that it does not use, each the same ones: not where others are.
            *("-mi", f"127.{secrets.randbelow(200) + 50}.{secrets.randbelow(256)}.1"),
            # It listens for commands too, elsewhere on all addresses.
            *("-ci", "127.0.0.1", "-cp", str(free_port(kind=socket.SOCK_DGRAM))),
            *("-trace_msg", "-message_file", f"{home}/messages.log", "-message_overwrite", "false"),
            *("-trace_err", "-error_file", f"{home}/errors.log"),
            # No picture of how it goes, and nobody who looks at it.
            *("-nostdin", "-f", str(_LIFE), "-timeout", str(_LIFE)),
            *behaviour.arguments(),
        ]
        env = runtime.environment() | {"TERM": "dumb", "TZ": "UTC"}
        self._process = Process("sipp", runtime.command(command, directory), env, directory)
        self._errors = directory / "errors.log"
        self._trace = Trace(directory / "messages.log")
        self._lock = threading.Lock()
        self._messages: list[Message] = []
        self._calls: dict[str, _Call] = {}
        self._closed = False
        self._sounds = sounds
        self._follower = threading.Thread(target=self._follow, name="phone", daemon=True)
        if sounds:
            self._follower.start()

    @property
    def uri(self) -> str:
        """Its address in SIP."""
        return f"sip:{self.address}:{self.port}"

    def endpoint(self, number: str) -> str:
        """Return how Asterisk reaches it under a number, for ARI's ``endpoint``."""
        return f"PJSIP/trunk/sip:{number}@{self.address}:{self.port}"

    def start(self) -> None:
        """Start it and return once it can be called, or calls.

        Raises:
            ServerFailedError: it ended or did not take its port; carries the end of its log.
        """
        if not self._process.running:
            self._process.spawn()
            self._process.wait_ready(lambda: udp_bound(self.address, self.port), _START_TIMEOUT)

    @property
    def running(self) -> bool:
        """Whether it is there; one that calls goes when its call is over."""
        return self._process.running

    def kill(self) -> None:
        """Pull its plug: it says nothing, and nobody is there any more."""
        self._process.kill()
        with self._lock:
            for call in self._calls.values():
                self._silence(call)

    def discard(self) -> None:
        """End it for good; what it has heard can still be asked for."""
        self._process.kill()
        self._closed = True
        if self._sounds:
            self._follower.join(_END_TIMEOUT)
        self.media.close()

    def log(self) -> str:
        """Return what it complained about."""
        try:
            return self._errors.read_text(errors="replace") + self._process.log()
        except FileNotFoundError:
            return self._process.log()

    @property
    def messages(self) -> list[Message]:
        """All messages so far, in order, retransmissions too."""
        with self._lock:
            self._catch_up()
            return list(self._messages)

    @property
    def calls(self) -> list[str]:
        """The Call-IDs of its calls so far, in order."""
        return list(dict.fromkeys(each.call_id for each in self.found("INVITE")))

    def found(
        self,
        what: str | int,
        *,
        sent: bool | None = None,
        call_id: str | None = None,
        again: bool | None = None,
    ) -> list[Message]:
        """Return messages of a kind, in order, each without its retransmissions.

        Args:
            what: A request's method, or an answer's status to whatever request.
            sent: Only those that it sent, or only those that it received.
            call_id: Only those of one call.
            again: Only those within a call that has been answered, or only others: a re-INVITE
                is an INVITE again.
        """
        first: dict[tuple[object, ...], Message] = {}
        for each in self.messages:
            wanted = each.status == what or (each.status is None and each.method == what)
            if (
                wanted
                and sent in (None, each.sent)
                and call_id in (None, each.call_id)
                and again in (None, each.again)
            ):
                first.setdefault(each.identity, each)
        return list(first.values())

    def count(self, what: str | int, *, sent: bool | None = None) -> int:
        """Return in how many calls there was a message of a kind; see ``found``."""
        return len({each.call_id for each in self.found(what, sent=sent)})

    def retransmitted(self) -> int:
        """Return how many messages were copies of an earlier one."""
        messages = self.messages
        return len(messages) - len({each.identity for each in messages})

    def wait_for(
        self, what: str | int, seconds: float = 10.0, *, sent: bool | None = None, number: int = 1
    ) -> Message:
        """Wait for a message and return it; see ``found``.

        Args:
            what: A request's method, or an answer's status.
            seconds: How long.
            sent: Which direction.
            number: The first one, the second one, …

        Raises:
            ServerFailedError: it did not come or go in time; says what did.
        """
        found: list[Message] = []

        def there() -> bool:
            found[:] = self.found(what, sent=sent)
            return len(found) >= number

        if not wait_until(there, seconds):
            raise ServerFailedError(
                f"no {what} (number {number}) at {self.uri} within {seconds:g} s, but\n"
                + "\n".join(map(str, self.messages))
                + f"\n{self.log()}"
            )
        return found[number - 1]

    def tones(self, call_id: str | None = None) -> frozenset[int]:
        """Return the tones it hears at the moment, in one call or in all, in Hz."""
        return self.media.tones(self._remote(call_id)) if self._known(call_id) else frozenset()

    def hears(self, frequency: int, call_id: str | None = None) -> bool:
        """Return whether it hears a tone at the moment, others or not."""
        return frequency in self.tones(call_id)

    def receiving(self, call_id: str | None = None) -> bool:
        """Return whether packets arrive at the moment, and be it with silence in them."""
        return self._known(call_id) and self.media.receiving(self._remote(call_id))

    def received(self, call_id: str | None = None) -> int:
        """Return how many packets with sound have arrived."""
        return self.media.received(self._remote(call_id)) if self._known(call_id) else 0

    def digits(self, call_id: str | None = None) -> str:
        """Return the digits that have arrived as telephone events, in order."""
        return self.media.digits(self._remote(call_id)) if self._known(call_id) else ""

    def wait_tones(
        self,
        *frequencies: int,
        seconds: float = 10.0,
        steady: float = 0.2,
        call_id: str | None = None,
    ) -> None:
        """Wait until it hears these tones, no others, for a while; none of them is silence.

        Raises:
            ServerFailedError: it did not in time; says what it hears.
        """
        wanted = frozenset(frequencies)
        deadline = time.monotonic() + seconds
        since: float | None = None
        while True:
            heard = self.tones(call_id)
            now = time.monotonic()
            since = (since or now) if heard == wanted else None
            if since is not None and now - since >= steady:
                return
            if now > deadline:
                raise ServerFailedError(
                    f"{self.uri} hears {sorted(heard)} instead of {sorted(wanted)} Hz"
                )
            time.sleep(POLL)

    def wait_digits(
        self, digits: str, seconds: float = 20.0, *, call_id: str | None = None
    ) -> None:
        """Wait until exactly these digits have arrived.

        Raises:
            ServerFailedError: others have, or not all of them in time; says which.
        """
        if not wait_until(lambda: len(self.digits(call_id)) >= len(digits), seconds):
            raise ServerFailedError(f"{self.uri} got no more digits than {self.digits(call_id)!r}")
        if self.digits(call_id) != digits:
            raise ServerFailedError(f"{self.uri} got {self.digits(call_id)!r}, not {digits!r}")

    def wait_gone(self, seconds: float = 10.0) -> None:
        """Wait until it is not there any more, as one that called goes when its call is over.

        Raises:
            ServerFailedError: it is still there; carries its messages.
        """
        if not wait_until(lambda: not self.running, seconds):
            raise ServerFailedError(
                f"{self.uri} is still there after\n" + "\n".join(map(str, self.messages))
            )

    def _known(self, call_id: str | None) -> bool:
        return call_id is None or self._remote(call_id) is not None

    def _remote(self, call_id: str | None) -> Address | None:
        with self._lock:
            self._catch_up()
            call = self._calls.get(call_id or "")
            return call.remote if call else None

    def _follow(self) -> None:
        while not self._closed:
            with self._lock:
                self._catch_up()
            time.sleep(POLL)

    def _catch_up(self) -> None:
        for message in self._trace.new():
            self._take(message)

    def _take(self, message: Message) -> None:
        self._messages.append(message)
        call = self._calls.setdefault(message.call_id, _Call())
        if not message.sent and message.media:
            if call.remote != message.media:
                self._silence(call)
                call.remote = message.media
                if not call.answered and message.status is None:
                    # Nothing of this call can have arrived before.
                    self.media.forget(message.media)
            call.listening = message.listening
        if message.method == "INVITE" and message.status == _OK:
            call.answered = True
        if message.method == "BYE":
            call.answered = False
        if self._sounds and call.answered and call.listening and call.remote:
            self.media.send_to(call.remote)
        else:
            self._silence(call)

    def _silence(self, call: _Call) -> None:
        if call.remote:
            self.media.stop_sending(call.remote)
