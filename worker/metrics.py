"""What a worker counts, in the form that Prometheus reads."""

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest


class Metrics:
    """The metrics of one worker, in a registry of their own.

    Attributes:
        stalled: Partitions that stand still now.
        stalls: Times that a partition was found standing still.
        poisoned: Commands answered with 500 because workers crashed on them.
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

    def page(self) -> bytes:
        """Return all of them in the text exposition format."""
        return generate_latest(self._registry)
