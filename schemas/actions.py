"""What workers ask of the telephone network; a gateway answers each with a report."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from schemas.contract import ActionName
from schemas.fields import (
    ActionId,
    Address,
    AddressOrNone,
    Again,
    Digits,
    GatewayName,
    RequestId,
    RingSeconds,
)


class _Action(BaseModel):
    """What all actions share.

    Attributes:
        action_id: What the report that answers it names.
        gateway: The gateway that has the call, as its reports named it; None of a call that no
            gateway has spoken of yet.
        again: Whether it may have been asked, and done, before: its command has come back.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    request_id: RequestId
    action_id: ActionId
    gateway: GatewayName = None
    again: Again = False


class Originate(_Action):
    """Call both parties and connect them."""

    action: Literal[ActionName.ORIGINATE] = ActionName.ORIGINATE
    origin: Address
    destination: Address
    timeout_seconds: RingSeconds


class Answer(_Action):
    """Connect an incoming call, which ``endpoint`` offers, with its destination.

    Attributes:
        destination: None where no gateway has reported the call; one that knows it can tell.
    """

    action: Literal[ActionName.ANSWER] = ActionName.ANSWER
    endpoint: Address
    destination: AddressOrNone = None
    timeout_seconds: RingSeconds


class Reject(_Action):
    """Reject an incoming call, which ``endpoint`` offers."""

    action: Literal[ActionName.REJECT] = ActionName.REJECT
    endpoint: Address


class Redirect(_Action):
    """Connect an incoming call with ``endpoint`` instead of its destination."""

    action: Literal[ActionName.REDIRECT] = ActionName.REDIRECT
    endpoint: Address
    timeout_seconds: RingSeconds


class Transfer(_Action):
    """Connect the origin with ``endpoint`` instead of its destination, which stays until then."""

    action: Literal[ActionName.TRANSFER] = ActionName.TRANSFER
    endpoint: Address
    timeout_seconds: RingSeconds


class Hold(_Action):
    """Let the destination hear music, and the origin nothing."""

    action: Literal[ActionName.HOLD] = ActionName.HOLD


class Retrieve(_Action):
    """Connect the parties again."""

    action: Literal[ActionName.RETRIEVE] = ActionName.RETRIEVE


class Mute(_Action):
    """Let the destination hear nothing of the origin."""

    action: Literal[ActionName.MUTE] = ActionName.MUTE


class UnMute(_Action):
    """Undo ``mute``."""

    action: Literal[ActionName.UN_MUTE] = ActionName.UN_MUTE


class SendDigits(_Action):
    """Send DTMF digits to the destination."""

    action: Literal[ActionName.SEND_DIGITS] = ActionName.SEND_DIGITS
    digits: Digits


class HangUp(_Action):
    """End the call, whatever is going on; of one that is not there, it is done."""

    action: Literal[ActionName.HANG_UP] = ActionName.HANG_UP


Action = (
    Originate
    | Answer
    | Reject
    | Redirect
    | Transfer
    | Hold
    | Retrieve
    | Mute
    | UnMute
    | SendDigits
    | HangUp
)

ACTION_MODELS: Final[dict[ActionName, type[Action]]] = {
    ActionName.ORIGINATE: Originate,
    ActionName.ANSWER: Answer,
    ActionName.REJECT: Reject,
    ActionName.REDIRECT: Redirect,
    ActionName.TRANSFER: Transfer,
    ActionName.HOLD: Hold,
    ActionName.RETRIEVE: Retrieve,
    ActionName.MUTE: Mute,
    ActionName.UN_MUTE: UnMute,
    ActionName.SEND_DIGITS: SendDigits,
    ActionName.HANG_UP: HangUp,
}
