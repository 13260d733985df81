"""What a telephone does, and the scenario that has sipp do it."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from deploy.local.phones.media import Address

_SCENARIOS = Path(__file__).parent / "scenarios"

#: Milliseconds that stand for never: no telephone is used for longer.
NEVER: Final = 3_600_000

#: Where the words differ from HTTP's.
_REASONS: Mapping[int, str] = {
    480: "Temporarily Unavailable",
    486: "Busy Here",
    600: "Busy Everywhere",
    603: "Decline",
}

#: Answers that end the attempt to call somebody.
_FINAL = range(300, 700)


@dataclass(frozen=True, slots=True)
class Answers:
    """Takes every call, several at once too.

    Attributes:
        ring_ms: How long it rings before; 0 for not at all, ``NEVER`` for without an end.
        hang_up_ms: When it hangs up by itself, counted from the answer or the last thing it
            was told since.
    """

    ring_ms: int = 0
    hang_up_ms: int = NEVER

    def scenario(self, media_port: int) -> str:
        """Return sipp's scenario, with a port for RTP."""
        return _called(media_port, self.ring_ms, final="answer", hang_up_ms=self.hang_up_ms)

    def arguments(self) -> list[str]:
        """Return what sipp has to be told besides."""
        return []


@dataclass(frozen=True, slots=True)
class Refuses:
    """Takes no call.

    Attributes:
        code: SIP's number for why: 486 busy, 603 declined, 404 unknown, …
        ring_ms: How long it rings before.
    """

    code: int = 486
    ring_ms: int = 0

    def scenario(self, media_port: int) -> str:
        """Return sipp's scenario; the port stays unused."""
        return _called(media_port, self.ring_ms, final="refuse", code=self.code)

    def arguments(self) -> list[str]:
        """Return what sipp has to be told besides."""
        return []


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls a number, once, as soon as it is there.

    Attributes:
        number: Whom.
        through: Where it speaks SIP to.
        caller: Its own number.
        hang_up_ms: When it hangs up, counted like that of ``Answers``.
        give_up_ms: How long it waits for an answer, counted from the last sign of progress.
    """

    number: str
    through: Address
    caller: str = "+15559999"
    hang_up_ms: int = NEVER
    give_up_ms: int = NEVER

    def scenario(self, media_port: int) -> str:
        """Return sipp's scenario, with a port for RTP."""
        refusal = '<recv response="{}" optional="true" next="refused"/>'
        return _filled(
            "calling.xml",
            media_port,
            NUMBER=self.caller,
            REFUSALS="\n".join(map(refusal.format, _FINAL)),
            GIVE_UP=self.give_up_ms,
            HANG_UP=self.hang_up_ms,
        )

    def arguments(self) -> list[str]:
        """Return what sipp has to be told besides."""
        host, port = self.through
        return [f"{host}:{port}", "-s", self.number, "-m", "1"]


Behaviour = Answers | Refuses | Calls


def _called(
    media_port: int, ring_ms: int, *, final: str, code: int = 486, hang_up_ms: int = NEVER
) -> str:
    return _filled(
        "called.xml",
        media_port,
        FIRST="ring" if ring_ms else final,
        RING=ring_ms or NEVER,
        FINAL=final,
        CODE=code,
        REASON=_reason(code),
        HANG_UP=hang_up_ms,
    )


def _reason(code: int) -> str:
    if code in _REASONS:
        return _REASONS[code]
    return HTTPStatus(code).phrase if code in list(HTTPStatus) else "Refused"


def _filled(name: str, media_port: int, **values: object) -> str:
    text = (_SCENARIOS / name).read_text()
    # The parts first: there are values in them too.
    parts = {
        "TALKING": (_SCENARIOS / "talking.xml").read_text().rstrip(),
        "SDP": (_SCENARIOS / "phone.sdp").read_text().rstrip(),
    }
    for key, value in (parts | {"MEDIA": media_port} | values).items():
        text = text.replace(f"%{key}%", str(value))
    return text
