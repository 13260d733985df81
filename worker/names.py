"""The names of everything an installation has at RabbitMQ and in Redis."""

from dataclasses import dataclass
from typing import Final

_BASE: Final = "call_control"


@dataclass(frozen=True, slots=True)
class Names:
    """The names under one namespace.

    Args:
        namespace: Stands before every name, with a dot; empty for none.
    """

    namespace: str = ""

    @property
    def base(self) -> str:
        """The head of every name."""
        return f"{self.namespace}.{_BASE}" if self.namespace else _BASE

    @property
    def commands(self) -> str:
        """The exchange that producers publish to; its partitions' names start with it."""
        return f"{self.base}.commands"

    def partition(self, number: int) -> str:
        """The queue of a partition, counted from 0."""
        return f"{self.commands}.{number:02d}"

    @property
    def events(self) -> str:
        """The exchange that workers publish events to."""
        return f"{self.base}.events"

    @property
    def journal(self) -> str:
        """The stream that keeps every event for a while."""
        return f"{self.events}.journal"

    @property
    def dead_letters(self) -> str:
        """The exchange, and the queue behind it, of messages that could not be processed."""
        return f"{self.base}.dead_letters"

    @property
    def actions(self) -> str:
        """The exchange through which workers ask the telephone network."""
        return f"{self.base}.actions"

    @property
    def new_calls(self) -> str:
        """The exchange behind that which shares calls that no gateway has spoken of among them."""
        return f"{self.actions}.new"

    def gateway(self, name: str) -> str:
        """The queue of what a gateway is asked."""
        return f"{self.base}.gateways.{name}"

    def deadline(self, kind: str) -> str:
        """The queue of what counts as reported when so much time has passed."""
        return f"{self.base}.deadlines.{kind}"

    @property
    def call_prefix(self) -> str:
        """The head of a call's key; the ``request_id`` is the rest."""
        return f"{self.base}:"

    @property
    def workers(self) -> str:
        """The sorted set of the workers' heartbeats."""
        return f"{self.base}.workers"

    def worker(self, name: str) -> str:
        """The key under which a worker says how it is."""
        return f"{self.workers}.{name}"

    @property
    def partition_count(self) -> str:
        """The key that holds the number of partitions in force."""
        return f"{self.base}.partitions"

    @property
    def epoch(self) -> str:
        """The key by which workers know that Redis still is the one they know."""
        return f"{self.base}.epoch"

    @property
    def probe(self) -> str:
        """The key that a starting worker writes to see whether Redis takes writes."""
        return f"{self.base}.probe"

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that every installation has, whatever its calls."""
        return self.workers, self.partition_count, self.epoch, self.probe

    @property
    def suspect_prefix(self) -> str:
        """The head of the keys under which suspects are noted; the partition is the rest."""
        return f"{self.base}.suspects."


def is_ours(name: str) -> bool:
    """Tell whether a queue or an exchange of this name may be an installation's, of any namespace.

    That is, whether ``call_control`` is among its words.
    """
    return _BASE in name.split(".")
