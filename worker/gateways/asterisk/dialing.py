"""Addresses to dial strings, and callers' numbers to addresses.

A dial string says which of Asterisk's drivers calls what over which trunk, so nothing of an
address gets into one that could change that: what is not plainly harmless is refused.
"""

import re
import string
from dataclasses import dataclass
from typing import Final

#: What a template may name.
TEL_FIELDS: Final = frozenset({"number", "digits"})
SIP_FIELDS: Final = frozenset({"uri", "user", "host"})

# Digits after the separators are gone (RFC 3966 section 3); no numbering plan has as many.
_NUMBER: Final = re.compile(r"\+[0-9]{1,32}")

# Of a SIP address what no dial string, no SIP parser and no shell of a dialplan gives a meaning.
_SIP: Final = re.compile(
    r"(?P<scheme>sips?):((?P<user>[A-Za-z0-9_.!~*'+\-]{1,64})@)?"
    r"(?P<host>[A-Za-z0-9]([A-Za-z0-9.\-]{0,250}[A-Za-z0-9])?(:[0-9]{1,5})?)"
    r"(?P<transport>;transport=(udp|tcp|tls))?",
    re.IGNORECASE,
)

_SEPARATORS: Final = re.compile(r"[().\-]")

#: Parameters of a tel: address without which somebody else would be called.
_DECISIVE: Final = frozenset({"ext", "isub", "phone-context"})

# The user of a sip: address that is made here.
_USER: Final = re.compile(r"[A-Za-z0-9_.!~*'+\-]{1,64}")

#: A caller that does not say who it is (RFC 3323 section 4.1).
ANONYMOUS: Final = "sip:anonymous@anonymous.invalid"


class NotDialable(ValueError):
    """Raised for an address that cannot be called; never quotes it."""


def checked_template(template: str, fields: frozenset[str]) -> str:
    """Return a template of a dial string, if it is one.

    Raises:
        ValueError: It names something else, or has no driver before a slash.
    """
    if not template:
        return template
    known = ", ".join(f"{{{name}}}" for name in sorted(fields))
    try:
        named = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
        template.format(**dict.fromkeys(fields, ""))
    except (ValueError, KeyError, IndexError, AttributeError):
        raise ValueError(f"expected nothing in braces but {known}") from None
    if not named or named - fields:
        raise ValueError(f"expected one of {known}, and nothing else in braces")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*/.+", template):
        raise ValueError("expected a dial string such as PJSIP/{number}@trunk")
    return template


@dataclass(frozen=True, slots=True)
class Plan:
    """How addresses are called.

    Attributes:
        tel_endpoint: The template for tel: addresses; empty refuses them.
        sip_endpoint: The template for sip: and sips: addresses; empty refuses them.
        sip_domain: The domain of callers without a telephone number.
        international_prefix: What stands before a number without a plus; empty for none.
    """

    tel_endpoint: str
    sip_endpoint: str = ""
    sip_domain: str = "asterisk.invalid"
    international_prefix: str = ""

    def dial_string(self, address: str) -> str:
        """Return the dial string of an address.

        Raises:
            NotDialable: There is no template for it, or something in it could change what a dial
                string means.
        """
        if address[:4].lower() == "tel:":
            return self._tel(address)
        return self._sip(address)

    def _tel(self, address: str) -> str:
        if not self.tel_endpoint:
            raise NotDialable("tel: addresses are not called")
        parameters = {parameter.partition("=")[0].lower() for parameter in address.split(";")[1:]}
        if parameters & _DECISIVE:
            raise NotDialable("a number with a subaddress or an extension is not called")
        number = number_of(address)
        if number is None:
            raise NotDialable("not a global telephone number")
        return self.tel_endpoint.format(number=number, digits=number[1:])

    def _sip(self, address: str) -> str:
        if not self.sip_endpoint:
            raise NotDialable("sip: addresses are not called")
        found = _SIP.fullmatch(address)
        if found is None:
            raise NotDialable("more than a user, a host and a transport in a sip: address")
        user, host = found["user"] or "", found["host"]
        uri = f"{found['scheme'].lower()}:{user}{'@' if user else ''}{host}"
        return self.sip_endpoint.format(
            uri=f"{uri}{(found['transport'] or '').lower()}", user=user, host=host
        )

    def address(self, number: str) -> str:
        """Return the address of a caller, or of a called extension, as Asterisk gives it."""
        bare = _SEPARATORS.sub("", number) if re.match(r"[+0-9(]", number) else number
        if self.international_prefix and re.fullmatch(r"[0-9]{1,32}", bare):
            bare = f"{self.international_prefix}{bare}"
        if _NUMBER.fullmatch(bare):
            return f"tel:{bare}"
        if _USER.fullmatch(number):
            return f"sip:{number}@{self.sip_domain}"
        return ANONYMOUS


def number_of(address: str) -> str | None:
    """Return the number of a tel: address, with its plus; None for another address."""
    scheme, _, rest = address.partition(":")
    if scheme.lower() != "tel":
        return None
    number = _SEPARATORS.sub("", rest.partition(";")[0])
    return number if _NUMBER.fullmatch(number) else None


def shown(address: str) -> str:
    """Return what an endpoint is shown of a caller: a number, or the user of a sip: address."""
    number = number_of(address)
    if number is not None:
        return number
    found = _SIP.fullmatch(address)
    return (found["user"] or "") if found is not None else ""
