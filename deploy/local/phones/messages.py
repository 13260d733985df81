"""SIP messages as sipp writes them down, each as soon as it is there."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from deploy.local.phones.media import Address

#: Before each message: a line of dashes with the time, and a line with direction and size.
_PREFIX = re.compile(
    rb"-{10,} (?P<time>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\.\d+)Z?\n"
    rb"UDP message (?P<direction>sent|received) [\[(](?P<size>\d+)\]? bytes[) ]?:\n\n"
)


@dataclass(frozen=True)
class Message:
    """One SIP message.

    Attributes:
        time: When it came or went.
        sent: Whether the telephone sent it.
        text: All of it.
    """

    time: datetime
    sent: bool
    text: str

    @cached_property
    def status(self) -> int | None:
        """The number of an answer, None for a request."""
        found = re.match(r"SIP/2\.0 (\d{3}) ", self.text)
        return int(found[1]) if found else None

    @cached_property
    def method(self) -> str:
        """The method of a request, or of what is answered."""
        return self.header("CSeq").partition(" ")[2].strip()

    @cached_property
    def cseq(self) -> int:
        """The number of a request within its call, or of what is answered."""
        return int(self.header("CSeq").partition(" ")[0])

    @cached_property
    def call_id(self) -> str:
        """Which call it belongs to."""
        return self.header("Call-ID")

    @cached_property
    def again(self) -> bool:
        """Whether a request is within a call that has been answered, such as a re-INVITE."""
        return ";tag=" in self.header("To")

    @cached_property
    def media(self) -> Address | None:
        """Where its sender wants to receive RTP, None where it says nothing about that."""
        host = re.search(r"^c=IN IP4 (\S+)", self.text, re.MULTILINE)
        port = re.search(r"^m=audio (\d+) ", self.text, re.MULTILINE)
        return (host[1], int(port[1])) if host and port else None

    @property
    def listening(self) -> bool:
        """Whether its sender wants to receive RTP at all."""
        return not re.search(r"^a=(sendonly|inactive)\b", self.text, re.MULTILINE)

    def header(self, name: str) -> str:
        """Return the first header of a name, "" where there is none."""
        head = self.text.partition("\r\n\r\n")[0]
        pattern = rf"^{re.escape(name)}\s*:\s*(.*?)\s*$"
        found = re.search(pattern, head, re.MULTILINE | re.IGNORECASE)
        return found[1] if found else ""

    @cached_property
    def identity(self) -> tuple[object, ...]:
        """What a message has in common with its retransmissions, and with nothing else."""
        # An answer with another status, or to another attempt, is another message.
        branch = re.search(r"branch=([^;,\s]+)", self.header("Via"))
        request = (self.sent, self.call_id, self.method, self.cseq, self.status)
        return (*request, branch[1] if branch else "")

    def __str__(self) -> str:
        what = self.method if self.status is None else f"{self.status} to {self.method}"
        return f"{self.time:%H:%M:%S.%f} {'sent' if self.sent else 'received'} {what}"


class Trace:
    """The file that sipp writes messages to, read as it grows."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._position = 0
        self._rest = b""

    def new(self) -> Iterator[Message]:
        """Yield the messages that are complete since the last look."""
        try:
            with self._file.open("rb") as file:
                file.seek(self._position)
                grown = file.read()
        except FileNotFoundError:
            return
        self._position += len(grown)
        self._rest += grown
        while found := _PREFIX.search(self._rest):
            end = found.end() + int(found["size"])
            if len(self._rest) < end:
                return
            text = self._rest[found.end() : end].decode(errors="replace")
            self._rest = self._rest[end:]
            time = datetime.fromisoformat(f"{found['time'].decode()}+00:00")
            yield Message(time, found["direction"] == b"sent", text)
