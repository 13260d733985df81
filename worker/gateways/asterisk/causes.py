"""Why a leg is gone: Q.850 causes and SIP statuses, both ways."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from schemas.contract import OK, reason_phrase

#: SIP statuses for Q.850 causes (RFC 3398 section 7.2.4.1), for a leg that gives none itself.
_STATUSES: Final[Mapping[int, int]] = MappingProxyType(
    {
        1: 404,  # unallocated number
        2: 404,  # no route to network
        3: 404,  # no route to destination
        17: 486,  # user busy
        18: 408,  # no user responding
        19: 480,  # no answer
        20: 480,  # subscriber absent
        21: 603,  # rejected
        22: 410,  # number changed
        23: 410,  # redirected
        26: 404,  # non-selected user clearing
        27: 502,  # destination out of order
        28: 484,  # address incomplete
        29: 501,  # facility rejected
        31: 480,  # normal, unspecified
        34: 503,  # no circuit
        38: 503,  # network out of order
        41: 503,  # temporary failure
        42: 503,  # congestion
        47: 503,  # resource unavailable
        55: 403,  # incoming calls barred
        57: 403,  # bearer capability not authorised
        58: 503,  # bearer capability not available
        65: 488,  # bearer capability not implemented
        70: 488,  # only restricted digital
        79: 501,  # service not implemented
        87: 403,  # not a member of the group
        88: 503,  # incompatible destination
        102: 504,  # timer expired
        111: 500,  # protocol error
        127: 500,  # interworking
    }
)

_NO_ANSWER: Final = 19

#: The causes of a call that ended as calls do.
_NORMAL: Final = frozenset({0, 16, 31})

#: The statuses that SIP phones give and nobody should take for a refusal of the call: the caller
#: has cancelled.
_CANCELLED: Final = 487

#: What Asterisk is to give as the reason, so that the caller gets this SIP status.
REJECTIONS: Final[Mapping[int, str]] = MappingProxyType(
    {
        603: "normal",
        486: "busy",
        480: "no_answer",
        403: "rejected",
        404: "unallocated",
        503: "congestion",
    }
)

_FIRST_FAILURE: Final = 300
_LAST_FAILURE: Final = 699


def failure_status(cause: int | None, tech_cause: int | None, *, unheard_of: bool) -> int:
    """Return the SIP status of a leg that is gone before it answered.

    Args:
        cause: The Q.850 cause.
        tech_cause: What its SIP peer answered; None without an answer.
        unheard_of: Whether it was given up here and had not rung by then. Asterisk gives the same
            cause for that and for a phone that rang for too long.
    """
    if unheard_of and cause == _NO_ANSWER:
        return 408
    if tech_cause is not None and _FIRST_FAILURE <= tech_cause <= _LAST_FAILURE:
        return tech_cause
    return _STATUSES.get(cause or 0, 480)


def end_status(cause: int | None, tech_cause: int | None, *, answered: bool = True) -> int:
    """Return the SIP status of a call that has ended by itself.

    Args:
        cause: The Q.850 cause of the leg that went first.
        tech_cause: What its SIP peer answered; None without an answer.
        answered: Whether it had been answered; a caller who gives up before has cancelled.
    """
    if not answered:
        return _CANCELLED
    if cause is None or cause in _NORMAL:
        return OK
    if tech_cause is not None and _FIRST_FAILURE <= tech_cause <= _LAST_FAILURE:
        return tech_cause
    return _STATUSES.get(cause, OK)


#: Phrases of RFC 3261 section 21 that the contract has no use for of its own.
_PHRASES: Final[Mapping[int, str]] = MappingProxyType(
    {
        183: "Session Progress",
        401: "Unauthorized",
        410: "Gone",
        415: "Unsupported Media Type",
        420: "Bad Extension",
        484: "Address Incomplete",
        488: "Not Acceptable Here",
        491: "Request Pending",
        501: "Not Implemented",
        502: "Bad Gateway",
        600: "Busy Everywhere",
        604: "Does Not Exist Anywhere",
        606: "Not Acceptable",
    }
)


def phrase(status: int, detail: str = "") -> str:
    """Return the reason phrase of a status, with a detail behind it."""
    usual = _PHRASES.get(status) or reason_phrase(status)
    return f"{usual}: {detail}" if detail else usual
