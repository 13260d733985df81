"""The scenes: the documented conversation, and what telephones have to do and hear with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from worker.cli.demonstration import CONVERSATION, Step

#: What is heard on hold.
MUSIC: Final = "music"


@dataclass(frozen=True, slots=True)
class Act:
    """A step of the conversation, and what has to come of it.

    Attributes:
        step: What is published, and the event that has to come back. A network report is not
            published: a telephone at its origin calls its destination instead.
        hears: What each telephone hears afterwards: another one, ``MUSIC``, or ``""`` for nothing,
            which those that are not named hear too.
        sip: A message that has to come or go at each of these telephones.
        before: Events that have to come before that of the step.
        digits_at: Where the step's digits have to arrive.
    """

    step: Step
    hears: Mapping[str, str] = field(default_factory=dict)
    sip: tuple[tuple[str, str | int], ...] = ()
    before: tuple[Step, ...] = ()
    digits_at: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """A call from its beginning to its end.

    Attributes:
        title: What it is about.
        acts: Its steps.
        busy: Whose telephone is busy from here on.
    """

    title: str
    acts: tuple[Act, ...]
    busy: str = ""


def _documented(call: str) -> list[Step]:
    return [step for step in CONVERSATION if step.call == call]


# Taken apart, so that a step more or less in the document is noticed here.
(
    _call,
    _hold,
    _dial_while_held,
    _retrieve,
    _dial,
    _mute,
    _un_mute,
    _transfer,
    _disconnect,
    _hold_after_the_end,
    _transfer_to_nobody,
) = _documented("123XYZ")
_accept, _disconnect_accepted = _documented("IN-1")
(_reject,) = _documented("IN-2")
_offered, _transfer_offered, _redirect_transferred = _documented("IN-3")
(_mute_nothing,) = _documented("NOBODY")

#: Who has which address.
ADDRESSES: Final[Mapping[str, str]] = {
    "A": _call.body["origin"],
    "B": _call.body["destination"],
    "C": _transfer.body["endpoint"],
}

#: The calls that no document names.
_BUSY: Final = "BUSY-1"

# Both of a call that B rings in; the document's network rings nobody.
_RINGING: Final = Step({}, "call_ringing", _call.call, 180, "Ringing", content=False)

#: A destination's refusal becomes the command's.
_CALL_BUSY: Final = Step(
    _call.body | {"destination": ADDRESSES["C"]},
    "call_control_failed",
    _BUSY,
    486,
    "Busy Here",
    content=False,
    more={"call_control": "call"},
)


def _calls(caller: str, called: str, call: str) -> Act:
    """Have a telephone call another one's number; it hears nothing, but learns that it rings."""
    parties = {"origin": ADDRESSES[caller], "destination": ADDRESSES[called]}
    offered = replace(_offered, call=call, body=_offered.body | parties, more=parties)
    return Act(offered, {caller: ""}, sip=((caller, "INVITE"), (caller, 180)))


_TALKING: Final = {"A": "B", "B": "A"}
_HELD: Final = {"A": "", "B": MUSIC}

SCENES: Final = (
    Scene(
        "call 123XYZ: A calls B, by commands",
        (
            Act(
                _call,
                _TALKING,
                sip=(("A", "INVITE"), ("B", "INVITE"), ("B", 180)),
                before=(_RINGING,),
            ),
            Act(_hold, _HELD),
            Act(_dial_while_held, _HELD),
            Act(_retrieve, _TALKING),
            Act(_dial, _TALKING, digits_at="B"),
            Act(_mute, {"A": "B", "B": ""}),
            Act(_un_mute, _TALKING),
            Act(
                _transfer,
                {"A": "C", "B": "", "C": "A"},
                sip=(("C", "INVITE"), ("C", 180), ("B", "BYE")),
            ),
            Act(_disconnect, {"A": "", "C": ""}, sip=(("A", "BYE"), ("C", "BYE"))),
            Act(_hold_after_the_end),
            Act(_transfer_to_nobody),
        ),
    ),
    Scene(
        "call IN-1: C calls B's number, and is accepted",
        (
            _calls("C", "B", "IN-1"),
            Act(_accept, {"B": "C", "C": "B"}, sip=(("B", "INVITE"), ("B", 180), ("C", 200))),
            Act(_disconnect_accepted, {"B": "", "C": ""}, sip=(("B", "BYE"), ("C", "BYE"))),
        ),
    ),
    Scene(
        "call IN-2: C calls B's number, and is rejected",
        (_calls("C", "B", "IN-2"), Act(_reject, {"C": ""}, sip=(("C", 603),))),
    ),
    Scene(
        "call IN-3: A calls B's number, and is transferred to C before anybody has accepted",
        (
            _calls("A", "B", "IN-3"),
            Act(_transfer_offered, {"A": "C", "C": "A"}, sip=(("C", "INVITE"), ("A", 200))),
            Act(_redirect_transferred, {"A": "C", "C": "A"}),
            Act(
                replace(_disconnect, call="IN-3"),
                {"A": "", "C": ""},
                sip=(("A", "BYE"), ("C", "BYE")),
            ),
        ),
    ),
    Scene(
        "call BUSY-1: A calls C, who is busy",
        (Act(_CALL_BUSY, {"A": ""}, sip=(("A", "INVITE"), ("C", 486), ("A", "BYE"))),),
        busy="C",
    ),
    Scene("call NOBODY: there is none", (Act(_mute_nothing),)),
)
