"""What a worker counts, in the form that Prometheus reads."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.metrics_core import Metric


class Metrics:
    """The metrics of one worker, in a registry of their own.

    Attributes:
        stalled: Partitions that stand still now.
        stalls: Times that a partition was found standing still.
        poisoned: Commands answered with 500 because workers crashed on them.
        blocked: 1 while RabbitMQ blocks publishing.
        unconfirmed: 1 while RabbitMQ does not confirm events.
        regressed: 1 while Redis has lost calls.
        conflicts: Calls not committed because they had moved on since they were loaded.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.stalled = Gauge(
            "call_control_stalled_partitions",
            "Partitions with commands and a subscriber, but no deliveries.",
            registry=self._registry,
        )
        self.stalls = Counter(
            "call_control_partition_stalls",
            "Times that a partition was found standing still and subscribed again.",
            registry=self._registry,
        )
        self.poisoned = Counter(
            "call_control_poisoned_commands",
            "Commands answered with 500 because workers crashed on them.",
            registry=self._registry,
        )
        self.blocked = Gauge(
            "call_control_publishing_blocked",
            "1 while RabbitMQ blocks publishing: it is short of memory or disk.",
            registry=self._registry,
        )
        self.unconfirmed = Gauge(
            "call_control_events_unconfirmed",
            "1 while a queue bound to the events exchange keeps RabbitMQ from confirming them.",
            registry=self._registry,
        )
        self.regressed = Gauge(
            "call_control_redis_regressed",
            "1 while commands wait because Redis has lost calls: callctl rebuild.",
            registry=self._registry,
        )
        self.conflicts = Counter(
            "call_control_commit_conflicts",
            "Calls loaded and decided again, because they had been committed meanwhile.",
            registry=self._registry,
        )

    def families(self) -> Iterable[Metric]:
        """Return all of them with their types and what they mean."""
        return self._registry.collect()

    def page(self) -> bytes:
        """Return all of them in the text exposition format."""
        return generate_latest(self._registry)
