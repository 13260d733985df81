"""The URLs of RabbitMQ and Redis: what TLS needs in them, and mistakes told without a password."""

import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

#: What ends the part of a URL that holds the user's name and password (RFC 3986, 3.2).
_DELIMITERS: Final = frozenset("/?#")

#: How aiormq and redis-py name the files of TLS in the query of a URL.
_PARAMETERS: Final = {
    "amqps": ("cafile", "certfile", "keyfile"),
    "rediss": ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"),
}


def check_credentials(url: str) -> str:
    """Return a URL whose user's name and password end where they seem to.

    A delimiter in a password cuts a URL short: the rest of the password would be taken for a
    host, a port or a virtual host, and be shown in the next error as such.

    Raises:
        ValueError: They hold a delimiter; the error does not show it.
    """
    before, at, _ = url.partition("://")[2].rpartition("@")
    if at and not _DELIMITERS.isdisjoint(before):
        raise ValueError("special characters in a user's name or password are percent-encoded")
    return url


def uses_tls(url: str) -> bool:
    """Tell whether connections to a URL are encrypted."""
    return _scheme(url) in _PARAMETERS


def with_tls_files(url: str, ca: Path | None, certificate: Path | None, key: Path | None) -> str:
    """Return a URL that names the files of TLS too, if its connections are encrypted.

    What it names already stays in force.
    """
    names = _PARAMETERS.get(_scheme(url), ())
    files = zip(names, (ca, certificate, key), strict=False)
    query = urlencode({name: file for name, file in files if file is not None})
    if not query:
        return url
    return f"{url}{'&' if '?' in url else '?'}{query}"


def check_ca(ca: Path) -> None:
    """Make sure that a file holds certificates.

    Raises:
        ValueError: It does not, or cannot be read.
    """
    try:
        ssl.create_default_context(cafile=ca)
    except OSError:
        raise ValueError("expected a readable file of certificates in PEM form") from None


def check_certificate(certificate: Path, key: Path | None) -> None:
    """Make sure that a certificate and its key can be used; without a key, both are in one file.

    Raises:
        ValueError: They do not belong together, or one of them cannot be read.
    """
    try:
        # A key that is encrypted would be asked for at the terminal.
        ssl.create_default_context().load_cert_chain(certificate, key, password="")
    except OSError:
        raise ValueError(
            "CALL_CONTROL_CERTIFICATE_FILE: expected a readable certificate in PEM form, with its"
            " own unencrypted key there or in CALL_CONTROL_KEY_FILE"
        ) from None


def _scheme(url: str) -> str:
    return url.partition("://")[0].partition("+")[0].lower()
