"""A column on the right: the telephone that has an address, whichever one that is at the moment."""

from deploy.demo_calls.ladder import ASTERISK, Arrow, Kind
from deploy.local.phones import Message, Phone


class Handset:
    """What is at an address: a telephone that is called, one that calls, one that is busy.

    Args:
        name: The column's name.
        phone: The first one.

    Attributes:
        name: The column's name.
        phones: All that have been there.
    """

    def __init__(self, name: str, phone: Phone) -> None:
        self.name = name
        self.phones = [phone]
        self._shown: dict[Phone, int] = {}
        self._known: set[tuple[object, ...]] = set()

    def new(self) -> list[Arrow]:
        """Return the messages that have come or gone since this was last asked."""
        arrows = []
        for phone in self.phones:
            messages = phone.messages
            arrows += [self._arrow(each) for each in messages[self._shown.get(phone, 0) :]]
            self._shown[phone] = len(messages)
        return arrows

    def count(self, what: str | int) -> int:
        """Return how many messages of a kind there have been, without retransmissions."""
        return sum(len(phone.found(what)) for phone in self.phones)

    def tones(self) -> frozenset[int]:
        """Return the tones it hears at the moment, in Hz."""
        return frozenset[int]().union(*(phone.tones() for phone in self.phones))

    def digits(self) -> str:
        """Return the digits that have arrived so far."""
        return "".join(phone.digits() for phone in self.phones)

    def _arrow(self, message: Message) -> Arrow:
        source, target = (self.name, ASTERISK) if message.sent else (ASTERISK, self.name)
        text = label(message)
        if message.identity in self._known:
            text += " again"
        self._known.add(message.identity)
        kind = Kind.REQUEST if message.status is None else Kind.ANSWER
        return Arrow(message.time.timestamp(), source, target, text, kind)


def label(message: Message) -> str:
    """Return what is written on a message's arrow."""
    if message.status is None:
        is_again = message.method == "INVITE" and message.again
        return f"re-{message.method}" if is_again else message.method
    first = message.text.splitlines()[0]
    answered = "" if message.method == "INVITE" else f" ({message.method})"
    return f"{first.removeprefix('SIP/2.0 ')}{answered}"
