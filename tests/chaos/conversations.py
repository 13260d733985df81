"""What callers say: random conversations, legal and illegal, from a seed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.chaos.history import OFFERED, Published
from tests.unit.builders import ALICE, BOB, CAROL

#: How calls begin, and how often: placed, announced by the network and then accepted or rejected or
#: redirected, accepted or rejected out of nothing, or never.
_OPENINGS: Final[dict[tuple[str, ...], int]] = {
    ("call",): 60,
    (OFFERED, "accept"): 12,
    (OFFERED, "redirect"): 4,
    (OFFERED, "reject"): 2,
    (OFFERED,): 2,
    ("accept",): 10,
    ("reject",): 4,
    (): 6,
}

#: What is said in between, and how often.
_MIDDLE: Final = {
    "hold": 20,
    "retrieve": 20,
    "mute": 12,
    "un_mute": 12,
    "dial": 12,
    "transfer": 12,
    "redirect": 3,
    "accept": 4,
    "reject": 2,
    "call": 3,
}

#: What is said after the end.
_AFTERWARDS: Final = ("disconnect", "hold", "dial", "call", "accept", "mute")


@dataclass
class Conversation:
    """The messages of one call, in order.

    Attributes:
        request_id: The call.
        messages: What is still to be said.
    """

    request_id: str
    random: Random
    messages: Iterator[Published] = field(init=False)

    def __post_init__(self) -> None:
        self.messages = self._messages()

    def _messages(self) -> Iterator[Published]:
        random = self.random
        (opening,) = random.choices(list(_OPENINGS), list(_OPENINGS.values()))
        middle = random.choices(list(_MIDDLE), list(_MIDDLE.values()), k=random.randint(2, 12))
        afterwards = random.choices(_AFTERWARDS, k=random.randint(0, 2))
        names = (*opening, *middle, "disconnect", *afterwards)
        for number, name in enumerate(names):
            yield Published(
                self.request_id,
                f"{self.request_id}-{number}",
                name,
                endpoint=self._endpoint(name),
                origin=ALICE if name in {"call", OFFERED} else "",
                destination=BOB if name in {"call", OFFERED} else "",
            )

    def _endpoint(self, name: str) -> str:
        if name in {"accept", "reject"}:
            # Now and then not the one that offers the call.
            return self.random.choices((ALICE, CAROL), (9, 1))[0]
        return CAROL if name in {"transfer", "redirect"} else ""


def body(message: Published, random: Random) -> dict[str, str]:
    """Return a message as it is published; digits are made up here and kept nowhere."""
    kind = "network_report" if message.name == OFFERED else "call_control"
    fields = {
        "endpoint": message.endpoint,
        "origin": message.origin,
        "destination": message.destination,
        "digits": "".join(random.choices("0123456789*#", k=4)) if message.name == "dial" else "",
    }
    stated = {name: value for name, value in fields.items() if value}
    return {kind: message.name, "request_id": message.request_id, **stated}
