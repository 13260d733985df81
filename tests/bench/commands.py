"""What the contenders are given: conversations of many calls at once, mixed with each other.

Everything here is pure and depends on the seed alone, so that every contender gets the same.
"""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

#: Calls that are in conversation at a time.
LIVE_CALLS: Final = 1000

_CALL: Final = {
    "call_control": "call",
    "origin": "tel:+18164388687",
    "destination": "tel:+18165057120",
}
_TRANSFER: Final = {"call_control": "transfer", "endpoint": "tel:+18166623395"}
_DIAL: Final = {"call_control": "dial", "digits": "1"}


def _plain(*names: str) -> list[dict[str, str]]:
    return [{"call_control": name} for name in names]


#: Whole calls, of eight commands on average.
CONVERSATIONS: Final[Sequence[Sequence[dict[str, str]]]] = (
    [
        _CALL,
        *_plain("hold", "retrieve", "mute", "un_mute"),
        _TRANSFER,
        _DIAL,
        *_plain("disconnect"),
    ],
    [_CALL, *[_DIAL] * 8, *_plain("hold", "disconnect")],
    [
        _CALL,
        *_plain("mute", "hold", "retrieve", "un_mute", "hold"),
        _TRANSFER,
        *_plain("disconnect"),
    ],
    [_CALL, *_plain("hold"), _TRANSFER, _DIAL, *_plain("disconnect")],
)


@dataclass(frozen=True)
class Sent:
    """A command as it is given to a contender.

    Attributes:
        id: Its ``message_id``, by which its event is known.
        request_id: Its call.
        fields: Its fields, ``request_id`` among them.
    """

    id: str
    request_id: str
    fields: dict[str, str]

    @cached_property
    def body(self) -> bytes:
        """The fields as JSON."""
        return json.dumps(self.fields).encode()


def mixed(seed: int, live: int = LIVE_CALLS) -> Iterator[Sent]:
    """Return commands without end, of so many calls at a time.

    Which call is next is random; the commands of each call come in their order, and where a call
    ends another begins.
    """
    chance = random.Random(seed)  # noqa: S311 - nothing here is secret
    calls = [_conversation(chance, f"{number}") for number in range(live)]
    begun = live
    while True:
        place = chance.randrange(live)
        command = next(calls[place], None)
        if command is None:
            calls[place] = _conversation(chance, f"{begun}")
            begun += 1
            command = next(calls[place])
        yield command


def _conversation(chance: random.Random, request_id: str) -> Iterator[Sent]:
    for place, fields in enumerate(chance.choice(CONVERSATIONS)):
        yield Sent(f"{request_id}-{place}", request_id, {"request_id": request_id, **fields})


def of_live_calls(seed: int, calls: Sequence[str]) -> Iterator[Sent]:
    """Return commands without end that leave each of these calls in conversation.

    The calls come round in an order of chance, so that as many different calls as can be lie
    between two commands of one call.
    """
    order = list(calls)
    random.Random(seed).shuffle(order)  # noqa: S311 - nothing here is secret
    turn = 0
    while True:
        name = ("hold", "retrieve", "mute", "un_mute")[turn % 4]
        for request_id in order:
            fields = {"request_id": request_id, "call_control": name}
            yield Sent(f"{request_id}-{seed}-{turn}", request_id, fields)
        turn += 1


def shares(commands: Iterable[Sent], count: int) -> list[list[Sent]]:
    """Deal commands out for several publishers, all of one call to the same."""
    dealt: list[list[Sent]] = [[] for _ in range(count)]
    places: dict[str, int] = {}
    for command in commands:
        place = places.setdefault(command.request_id, len(places) % count)
        dealt[place].append(command)
    return dealt
