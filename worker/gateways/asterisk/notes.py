"""What the gateway leaves on Asterisk, so that another one can go on: notes on legs and bridges."""

import json
import time
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.contract import ActionName
from schemas.fields import ActionId, RequestId

#: The channel variable that holds a note.
VARIABLE: Final = "CALL_CONTROL"


class Note(BaseModel):
    """What a leg is for.

    Attributes:
        request_id: The call.
        action_id: The action that asked for the leg.
        action: What that is.
        target: The address that is called in the end.
        until: When it has rung for long enough, in seconds since the epoch.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    request_id: RequestId
    action_id: ActionId
    action: ActionName
    target: str = ""
    until: float = 0.0

    @classmethod
    def read(cls, written: str | None) -> Self | None:
        """Read a note; None where there is none, or something else."""
        try:
            return cls.model_validate_json(written or "")
        except ValidationError:
            return None

    def write(self) -> str:
        """Write it in ASCII, whatever the ids are."""
        return json.dumps(self.model_dump(mode="json"), separators=(",", ":"))

    @property
    def deadline(self) -> float:
        """When it has rung for long enough, by ``time.monotonic`` of this process."""
        return time.monotonic() + self.until - time.time()


def bridge_name(request_id: str, action_id: str) -> str:
    """Return the name of an action's bridge."""
    return json.dumps([request_id, action_id], separators=(",", ":"))


def read_bridge_name(name: str) -> tuple[str, str] | None:
    """Return the request_id and the action_id of a bridge; None for another name."""
    try:
        read = json.loads(name)
    except ValueError:
        return None
    match read:
        case [str(request_id), str(action_id)]:
            return request_id, action_id
    return None
