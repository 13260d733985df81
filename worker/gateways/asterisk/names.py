"""The ids of everything that the gateway makes on Asterisk, and what can be read back from them.

An id is a function of the call and of the action that asks for it. So whoever asks a second time
asks for the same thing, and Asterisk says that it is there; and a gateway that comes anew can tell
which call a channel belongs to.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from schemas.events import stable_id

#: Of an id made from what is too long, or has characters that ids may not have.
_SHORT: Final = 16

#: The longest request_id (``schemas.fields``).
_LONGEST_REQUEST_ID: Final = 128


class Role(StrEnum):
    """What a leg is for."""

    ORIGIN = "a"
    TARGET = "b"


class Made(NamedTuple):
    """What the id of a bridge or of a leg says.

    Attributes:
        key: Stands for the call.
        action: Stands for the action.
        role: What a leg is for; None of a bridge.
    """

    key: str
    action: str
    role: Role | None = None


def call_key(request_id: str) -> str:
    """Return what stands for a call in ids."""
    return stable_id(request_id)


def action_key(action_id: str) -> str:
    """Return what stands for an action in ids."""
    return stable_id(action_id)[:_SHORT]


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids of one Stasis application; others on the same Asterisk have others.

    Args:
        application: The application's name.
    """

    application: str

    @property
    def _tag(self) -> str:
        return stable_id(self.application)[:8]

    def bridge(self, request_id: str, action_id: str) -> str:
        """Return the id of an action's bridge: who makes it has the right to place the call."""
        return f"cc-{self._tag}-{call_key(request_id)}-{action_key(action_id)}"

    def leg(self, request_id: str, action_id: str, role: Role) -> str:
        """Return the id of a leg. No bridge has it: Asterisk confuses the events of the two."""
        return f"{self._tag}.{call_key(request_id)}.{action_key(action_id)}.{role}"

    def read(self, made: str) -> Made | None:
        """Return what an id says; None for one that is not of this application's making."""
        found = re.fullmatch(
            rf"cc-{self._tag}-([0-9a-f]{{32}})-([0-9a-f]{{{_SHORT}}})", made
        ) or re.fullmatch(
            rf"{self._tag}\.([0-9a-f]{{32}})\.([0-9a-f]{{{_SHORT}}})\.([{''.join(Role)}])", made
        )
        if found is None:
            return None
        role = Role(found[3]) if found.re.groups > 2 else None  # noqa: PLR2004 - as in the pattern
        return Made(found[1], found[2], role)


def incoming_request_id(gateway: str, channel_id: str) -> str:
    """Return the request_id of a call that comes in.

    It depends on the channel alone, and keeps to the rules for one whatever Asterisk's ids are.
    """
    fit = re.sub(r"[^A-Za-z0-9_\-]", "-", channel_id)
    made = f"{gateway}-{fit}"
    # Two channels must not share one because they differ in a dot or behind the end.
    if not re.fullmatch(r"[0-9]+\.[0-9]+", channel_id) or len(made) > _LONGEST_REQUEST_ID:
        return f"{gateway}-{stable_id(channel_id)}"
    return made
