"""The commands that producers publish to ``call_control.commands``."""

from typing import ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, SecretStr

from schemas.contract import CommandName
from schemas.fields import Address, Digits, RequestId


class _Command(BaseModel):
    """What all commands share; the attributes a command does not have read as absent."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    request_id: RequestId


class _WithoutEndpoint(_Command):
    endpoint: ClassVar[None] = None


class Call(_WithoutEndpoint):
    """Place a call from ``origin`` to ``destination``."""

    call_control: Literal[CommandName.CALL] = CommandName.CALL
    origin: Address
    destination: Address


class Disconnect(_WithoutEndpoint):
    """End a call, in whatever state it is."""

    call_control: Literal[CommandName.DISCONNECT] = CommandName.DISCONNECT


class Transfer(_Command):
    """Give a call a new destination; on an offered call the same as ``redirect``."""

    call_control: Literal[CommandName.TRANSFER] = CommandName.TRANSFER
    endpoint: Address


class Redirect(_Command):
    """Change the destination of an incoming call that has not been accepted."""

    call_control: Literal[CommandName.REDIRECT] = CommandName.REDIRECT
    endpoint: Address


class Hold(_WithoutEndpoint):
    """Place a connected call on hold."""

    call_control: Literal[CommandName.HOLD] = CommandName.HOLD


class Retrieve(_WithoutEndpoint):
    """Take a call back from hold."""

    call_control: Literal[CommandName.RETRIEVE] = CommandName.RETRIEVE


class Dial(_WithoutEndpoint):
    """Send DTMF digits into a connected call."""

    call_control: Literal[CommandName.DIAL] = CommandName.DIAL
    digits: Digits


class Mute(_WithoutEndpoint):
    """Mute a connected call."""

    call_control: Literal[CommandName.MUTE] = CommandName.MUTE


class UnMute(_WithoutEndpoint):
    """Undo ``mute``."""

    call_control: Literal[CommandName.UN_MUTE] = CommandName.UN_MUTE


class Accept(_Command):
    """Accept an incoming call from the endpoint that offers it."""

    call_control: Literal[CommandName.ACCEPT] = CommandName.ACCEPT
    endpoint: Address


class Reject(_Command):
    """Reject an incoming call from the endpoint that offers it."""

    call_control: Literal[CommandName.REJECT] = CommandName.REJECT
    endpoint: Address


Command = (
    Call
    | Disconnect
    | Transfer
    | Redirect
    | Hold
    | Retrieve
    | Dial
    | Mute
    | UnMute
    | Accept
    | Reject
)

COMMAND_MODELS: Final[dict[CommandName, type[Command]]] = {
    CommandName.CALL: Call,
    CommandName.DISCONNECT: Disconnect,
    CommandName.TRANSFER: Transfer,
    CommandName.REDIRECT: Redirect,
    CommandName.HOLD: Hold,
    CommandName.RETRIEVE: Retrieve,
    CommandName.DIAL: Dial,
    CommandName.MUTE: Mute,
    CommandName.UN_MUTE: UnMute,
    CommandName.ACCEPT: Accept,
    CommandName.REJECT: Reject,
}


def command_fields(command: Command) -> dict[str, str]:
    """Return a command's documented body, digits included: for publishing only, never for a log."""
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in (("call_control", command.call_control), *command)
    }
