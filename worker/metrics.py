"""What a worker counts, in the form that Prometheus reads."""

from collections.abc import Iterable
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric

#: The distribution whose version is told.
_DISTRIBUTION: Final = "call-control-worker"

#: Upper bounds of the buckets, in seconds: from producer to confirm, within the worker, and of one
#: round trip.
_END_TO_END: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_WITHIN: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ROUND_TRIP: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

_BATCH: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)


class Metrics:
    """The metrics of one worker, in a registry of their own.

    No label has values that a producer chooses.

    Attributes:
        commands: Commands answered, by kind and status.
        events: Events confirmed, by kind.
        latency: Seconds from a command's time of publication to its event's confirm.
        processing: Seconds from a message's delivery to its events' confirms.
        batch: Messages in a batch.
        redelivered: Deliveries that RabbitMQ had made before.
        duplicates: Messages answered from a record.
        dead_letters: Dead letters published, by status.
        conflicts: Calls not committed because they had moved on since they were loaded.
        owned: Partitions that the worker consumes from.
        unsettled_age: Seconds since the oldest delivery that is not acknowledged.
        redis: Seconds that a round trip to Redis took, by step.
        confirm: Seconds that RabbitMQ took to confirm a batch of events.
        loop_lag: Seconds that the event loop was late.
        sessions: Times that the worker joined.
        stalled: Partitions that stand still now.
        stalls: Times that a partition was found standing still.
        poisoned: Commands answered with 500 because workers crashed on them.
        blocked: 1 while RabbitMQ blocks publishing.
        unconfirmed: 1 while RabbitMQ does not confirm events.
        regressed: 1 while Redis has lost calls.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.commands = Counter(
            "call_control_commands",
            "Commands answered, by kind and status; again where their event is published again.",
            ["command", "status"],
            registry=registry,
        )
        self.events = Counter(
            "call_control_events", "Events confirmed, by kind.", ["event"], registry=registry
        )
        self.latency = Histogram(
            "call_control_command_latency_seconds",
            "From a command's publication to its event's confirm: by the header `timestamp_in_ms`,"
            " else by the property `timestamp`, which has whole seconds, so that up to one is too"
            " much. Not of commands without either, nor of duplicates.",
            buckets=_END_TO_END,
            registry=registry,
        )
        self.processing = Histogram(
            "call_control_processing_seconds",
            "From a message's delivery to its events' confirms.",
            buckets=_WITHIN,
            registry=registry,
        )
        self.batch = Histogram(
            "call_control_batch_size", "Messages in a batch.", buckets=_BATCH, registry=registry
        )
        self.redelivered = Counter(
            "call_control_redelivered",
            "Deliveries that RabbitMQ had made before, to this worker or another.",
            registry=registry,
        )
        self.duplicates = Counter(
            "call_control_duplicates",
            "Messages answered from a record: redelivered, or published again.",
            registry=registry,
        )
        self.dead_letters = Counter(
            "call_control_dead_letters",
            "Dead letters published, by status; not those that RabbitMQ itself makes.",
            ["status"],
            registry=registry,
        )
        for status in (400, 500):
            # Prometheus sees no increase in a series that begins with 1.
            self.dead_letters.labels(status)
        self.conflicts = Counter(
            "call_control_commit_conflicts",
            "Calls loaded and decided again, because they had been committed meanwhile.",
            registry=registry,
        )
        self.owned = Gauge(
            "call_control_owned_partitions",
            "Partitions that the worker consumes from: it ranks first for them, or stands in.",
            registry=registry,
        )
        self.unsettled_age = Gauge(
            "call_control_unsettled_age_seconds",
            "How long ago the oldest delivery came that is not acknowledged.",
            registry=registry,
        )
        self.redis = Histogram(
            "call_control_redis_seconds",
            "A round trip to Redis, well or badly ended: load, commit, look (has it lost calls?)"
            " or suspects.",
            ["step"],
            buckets=_ROUND_TRIP,
            registry=registry,
        )
        self.confirm = Histogram(
            "call_control_confirm_seconds",
            "From publishing a batch of events to the last of its confirms.",
            buckets=_ROUND_TRIP,
            registry=registry,
        )
        self.loop_lag = Histogram(
            "call_control_event_loop_lag_seconds",
            "How late the event loop wakes a task that sleeps.",
            buckets=_ROUND_TRIP,
            registry=registry,
        )
        self.sessions = Counter(
            "call_control_sessions",
            "Times that the worker joined; again after it lost RabbitMQ or Redis.",
            registry=registry,
        )
        self.stalled = Gauge(
            "call_control_stalled_partitions",
            "Partitions with commands and a subscriber, but no deliveries.",
            registry=registry,
        )
        self.stalls = Counter(
            "call_control_partition_stalls",
            "Times that a partition was found standing still and subscribed again.",
            registry=registry,
        )
        self.poisoned = Counter(
            "call_control_poisoned_commands",
            "Commands answered with 500 because workers crashed on them.",
            registry=registry,
        )
        self.blocked = Gauge(
            "call_control_publishing_blocked",
            "1 while RabbitMQ blocks publishing: it is short of memory or disk.",
            registry=registry,
        )
        self.unconfirmed = Gauge(
            "call_control_events_unconfirmed",
            "1 while a queue bound to the events exchange keeps RabbitMQ from confirming them.",
            registry=registry,
        )
        self.regressed = Gauge(
            "call_control_redis_regressed",
            "1 while commands wait because Redis has lost calls: callctl rebuild.",
            registry=registry,
        )
        Gauge(
            "call_control_build_info", "1, of this version.", ["version"], registry=registry
        ).labels(build_version()).set(1)

    def families(self) -> Iterable[Metric]:
        """Return all of them with their types and what they mean."""
        return self._registry.collect()

    def page(self) -> bytes:
        """Return all of them in the text exposition format."""
        return generate_latest(self._registry)


def build_version() -> str:
    """Return the version of what runs."""
    return version(_DISTRIBUTION)


def total(counter: Counter) -> int:
    """Return what a counter has come to, over all its labels."""
    return int(
        sum(
            sample.value
            for family in counter.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        )
    )
