"""Telephones that are used together, and end together."""

from pathlib import Path

from deploy.local.phones.behaviour import NEVER, Answers, Behaviour, Calls, Refuses
from deploy.local.phones.media import Address
from deploy.local.phones.phone import Phone
from deploy.local.runtime import Runtime
from deploy.local.session import uninterrupted


class Phones:
    """Where telephones come from; each is started when it is asked for.

    ``address`` and ``port`` of a telephone are where it speaks SIP, ``tone`` is what it sounds
    while it is connected, in Hz.

    Args:
        runtime: Where sipp comes from.
        directory: Where their files are.
    """

    def __init__(self, runtime: Runtime, directory: Path) -> None:
        self._runtime = runtime
        self._directory = directory
        self._phones: list[Phone] = []

    def start(
        self,
        behaviour: Behaviour,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        tone: int = 400,
        sounds: bool = True,
    ) -> Phone:
        """Return a telephone of any behaviour, started.

        Raises:
            ServerFailedError: it did not start; carries the end of its log.
        """
        directory = self._directory / f"phone-{len(self._phones)}"
        phone = Phone(
            self._runtime,
            directory,
            behaviour,
            address=address,
            port=port,
            tone=tone,
            sounds=sounds,
        )
        self._phones.append(phone)
        phone.start()
        return phone

    def answering(
        self,
        ring_ms: int = 0,
        *,
        hang_up_ms: int = NEVER,
        address: str = "127.0.0.1",
        port: int = 0,
        tone: int = 400,
    ) -> Phone:
        """Return one that takes every call; see ``Answers``."""
        return self.start(Answers(ring_ms, hang_up_ms), address=address, port=port, tone=tone)

    def refusing(
        self, code: int = 486, *, ring_ms: int = 0, address: str = "127.0.0.1", port: int = 0
    ) -> Phone:
        """Return one that takes no call; see ``Refuses``."""
        return self.start(Refuses(code, ring_ms), address=address, port=port)

    def ringing(self, *, address: str = "127.0.0.1", port: int = 0) -> Phone:
        """Return one that rings, and is never answered."""
        return self.start(Answers(ring_ms=NEVER), address=address, port=port)

    def calling(
        self,
        number: str,
        through: Address,
        *,
        caller: str = "+15559999",
        hang_up_ms: int = NEVER,
        give_up_ms: int = NEVER,
        address: str = "127.0.0.1",
        tone: int = 400,
    ) -> Phone:
        """Return one that calls at once; see ``Calls``."""
        behaviour = Calls(number, through, caller, hang_up_ms, give_up_ms)
        return self.start(behaviour, address=address, tone=tone)

    def discard(self) -> None:
        """End all of them at once."""
        with uninterrupted():
            for phone in self._phones:
                phone.discard()
