"""The fields that commands and reports share; a 400 quotes the description of a broken one."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from schemas.addresses import ADDRESS_PATTERN
from schemas.contract import EventName

#: Bytes that an AMQP short string, and so a routing key, may hold (AMQP 0-9-1, section 4.2.5.3).
SHORT_STRING_BYTES: Final = 255

#: What is left of an event's routing key for the request_id.
_ROUTING_WORD_BYTES: Final = SHORT_STRING_BYTES - max(map(len, EventName)) - len(".")

_ENCODED: Final = str.maketrans({char: f"%{ord(char):02X}" for char in ".*#% "})


def routing_word(request_id: str) -> str:
    """Encode a request_id as one word of a routing key.

    ``.`` separates words and ``*`` and ``#`` are patterns in a topic exchange, so these, ``%`` and
    the space are percent-encoded.
    """
    return request_id.translate(_ENCODED)


def _fits_routing_key(request_id: str) -> str:
    # No character takes more than three.
    may_be_long = 3 * len(request_id) > _ROUTING_WORD_BYTES
    if may_be_long and len(routing_word(request_id)) > _ROUTING_WORD_BYTES:
        raise ValueError("too long for a routing key")
    return request_id


RequestId = Annotated[
    str,
    StringConstraints(pattern=r"^[\x20-\x7e]{1,128}$"),
    AfterValidator(_fits_routing_key),
    Field(
        description="1 to 128 printable ASCII characters,"
        f" at most {_ROUTING_WORD_BYTES} with . * # % and space percent-encoded"
    ),
]

#: The longest address, in characters. A call's addresses are stored and published with it, and
#: the properties of a message have to fit one frame, whatever addresses are among them.
_LONGEST_ADDRESS: Final = 1024

_ADDRESS: Final = StringConstraints(pattern=ADDRESS_PATTERN, max_length=_LONGEST_ADDRESS)
_ADDRESS_IN_WORDS: Final = (
    "a tel: URI with a global number (RFC 3966), or a sip: or sips: URI (RFC 3261) without a"
    f" password, at most {_LONGEST_ADDRESS} characters"
)

Address = Annotated[str, _ADDRESS, Field(description=_ADDRESS_IN_WORDS)]

AddressOrNone = Annotated[Annotated[str, _ADDRESS] | None, Field(description=_ADDRESS_IN_WORDS)]

_DIGITS: Final = r"^[0-9A-D*#wW]{1,64}$"


def _are_digits(value: SecretStr) -> SecretStr:
    if not re.fullmatch(_DIGITS, value.get_secret_value()):
        raise ValueError("not DTMF digits")
    return value


#: DTMF digits may be a PIN or a card number, so their text is only had by asking for it: it does
#: not show in a repr, an error or a dump. ``w`` pauses 0.5 s, ``W`` 1 s.
Digits = Annotated[
    SecretStr,
    AfterValidator(_are_digits),
    Field(description="1 to 64 of 0-9 A-D * # w W", json_schema_extra={"pattern": _DIGITS}),
]

Status = Annotated[int, Field(strict=True, ge=100, le=699, description="an integer, 100 to 699")]

FailureStatus = Annotated[
    int, Field(strict=True, ge=300, le=699, description="an integer, 300 to 699")
]

Reason = Annotated[
    Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\x00-\x1f]*$")] | None,
    Field(description="at most 256 characters, none of them a control character"),
]

ActionId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=SHORT_STRING_BYTES),
    Field(description="what its report names as action_id, 1 to 255 characters"),
]

AnsweredId = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=SHORT_STRING_BYTES)] | None,
    Field(description="the id of the action it answers, 1 to 255 characters"),
]

#: A gateway's queue is named after it.
GATEWAY_PATTERN: Final = r"^[A-Za-z0-9_\-]{1,64}$"

GatewayName = Annotated[
    Annotated[str, StringConstraints(pattern=GATEWAY_PATTERN)] | None,
    Field(description="the gateway that has the call: 1 to 64 of A-Z a-z 0-9 _ -"),
]

Again = Annotated[
    bool, Field(description="whether it may have been asked, and done, before; absent if not")
]

RingSeconds = Annotated[
    float,
    Field(gt=0, description="how long it may ring, in seconds"),
]
