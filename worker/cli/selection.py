"""Which dead letters a command is for."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from worker.broker.deadletters import DeadLetter
from worker.cli.times import moment
from worker.errors import ConfigurationError

#: Characters of an id that have to be given, as of a commit's.
_SHORTEST_ID: Final = 4


@dataclass(frozen=True, slots=True)
class Selection:
    """Those that fit everything that is given; all of them when nothing is.

    Attributes:
        ids: Their ids, the beginnings of them, or the ``message_id`` of their commands.
        reason: A part of their status and reason.
        call: Their call.
        since: When they failed last, at the earliest.
    """

    ids: tuple[str, ...] = ()
    reason: str | None = None
    call: str | None = None
    since: datetime | None = None

    @classmethod
    def of(
        cls, ids: Sequence[str] | None, reason: str | None, call: str | None, since: str | None
    ) -> "Selection":
        """Return the selection that is given on a command line.

        Raises:
            ConfigurationError: ``since`` is no time.
        """
        return cls(tuple(ids or ()), reason, call, moment(since) if since else None)

    def takes(self, letter: DeadLetter) -> bool:
        """Tell whether a dead letter is meant."""
        return (
            (not self.ids or any(is_called(letter, text) for text in self.ids))
            and (self.reason is None or self.reason.lower() in letter.cause.lower())
            and (self.call is None or self.call == letter.call)
            and (self.since is None or (letter.failed_at or self.since) >= self.since)
        )


def is_called(letter: DeadLetter, text: str) -> bool:
    """Tell whether a text names a dead letter: by its id, or by its command's ``message_id``."""
    return text == letter.message_id or (
        len(text) >= _SHORTEST_ID and letter.id.startswith(text.lower())
    )


def narrowed(
    ids: Sequence[str] | None,
    reason: str | None,
    call: str | None,
    since: str | None,
    *,
    everything: bool,
) -> Selection:
    """Return the selection of a command that changes something, and means what it says.

    Raises:
        ConfigurationError: It names nothing, or all and something; or ``since`` is no time.
    """
    selection = Selection.of(ids, reason, call, since)
    if everything == (selection != Selection()):
        raise ConfigurationError("which dead letters? Give ids or filters, or --all")
    return selection


@dataclass(slots=True)
class Chosen:
    """The dead letters found for a selection, by their ids alone: there may be very many.

    Attributes:
        selection: The selection.
        copies: How many there are of each id.
        statuses: How many there are of each status.
        obstacles: How many of them cannot be replayed.
        missing: The texts of the selection that name none.
    """

    selection: Selection
    copies: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int | None] = field(default_factory=Counter)
    obstacles: int = 0
    missing: list[str] = field(init=False)
    _begun: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.missing = list(self.selection.ids)

    @property
    def total(self) -> int:
        """How many there are, copies included."""
        return self.copies.total()

    def add(self, letter: DeadLetter) -> bool:
        """Add a dead letter if it is meant; tell whether it is.

        Raises:
            ConfigurationError: The beginning of an id is that of another one too.
        """
        if not self.selection.takes(letter):
            return False
        for text in self.selection.ids:
            if is_called(letter, text):
                self._name(letter, text)
        self.copies[letter.id] += 1
        self.statuses[letter.status] += 1
        self.obstacles += letter.obstacle is not None
        return True

    def _name(self, letter: DeadLetter, text: str) -> None:
        if text in self.missing:
            self.missing.remove(text)
        if text != letter.message_id and self._begun.setdefault(text, letter.id) != letter.id:
            raise ConfigurationError(f"{text} is ambiguous: {self._begun[text]}, {letter.id}")
