"""``tel:`` and ``sip:`` addresses: which are well formed, and when two name the same endpoint."""

import re
from typing import Final

# RFC 3966 section 3: global numbers, visual separators and parameters; local numbers are refused
# because they mean nothing without a phone-context.
_TEL: Final = (
    r"[Tt][Ee][Ll]:\+[0-9().\-]*[0-9][0-9().\-]*"
    r"(;[A-Za-z0-9\-]+(=[A-Za-z0-9\-_.!~*'()\[\]/:&+$%]+)?)*"
)

# RFC 3261 section 25.1. The grammar allows user:password@; a password in an address would be
# stored and published with it, so the user part has no colon here.
_SIP: Final = (
    r"[Ss][Ii][Pp][Ss]?:"
    r"([A-Za-z0-9\-_.!~*'()%&=+$,;?/]+@)?"
    r"([A-Za-z0-9]([A-Za-z0-9.\-]*[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\])"
    r"(:[0-9]{1,5})?"
    r"(;[A-Za-z0-9\-_.!~*'()\[\]/:&+$%]+(=[A-Za-z0-9\-_.!~*'()\[\]/:&+$%]+)?)*"
    r"(\?[A-Za-z0-9\-_.!~*'()\[\]/:&+$%?=]+)?"
)

ADDRESS_PATTERN: Final = f"^({_TEL}|{_SIP})$"

_VISUAL_SEPARATORS: Final = re.compile(r"[().\-]")


def same_endpoint(one: str, other: str) -> bool:
    """Tell whether two well-formed addresses name the same endpoint.

    Telephone numbers compare without visual separators (RFC 3966 section 5); of a SIP address the
    user part compares exactly, the rest without regard to case (RFC 3261 section 19.1.4).
    """
    return one == other or _canonical(one) == _canonical(other)


def _canonical(address: str) -> str:
    scheme, _, rest = address.partition(":")
    if scheme.lower() == "tel":
        number, semicolon, parameters = rest.partition(";")
        return f"tel:{_VISUAL_SEPARATORS.sub('', number)}{semicolon}{parameters.lower()}"
    user, at, host = rest.rpartition("@")
    return f"{scheme.lower()}:{user}{at}{host.lower()}"
