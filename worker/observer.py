"""What becomes of commands, as people are told of it: metrics, log lines, traces."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog
from pamqp.commands import Basic
from prometheus_client import Histogram

from schemas.contract import CommandName
from schemas.wire import TIMESTAMP_HEADER
from worker.batch import Outcome
from worker.broker.subscription import Delivery
from worker.metrics import Metrics
from worker.reading import Item
from worker.tracing import Spans

_log: Final = structlog.get_logger(__name__)

#: Clocks that differ by more, in seconds, measure nothing: a wrong unit, or a time made up.
_MOST_LATENCY_SECONDS: Final = 7 * 86_400.0

#: Seconds between two looks at how late the event loop is.
_LAG_PAUSE_SECONDS: Final = 0.5

_COMMANDS: Final = frozenset(CommandName)

#: The fields of a command that debug lines show. Digits are not among them.
_ADDRESSES: Final = ("origin", "destination", "endpoint")


@dataclass(frozen=True, slots=True)
class Observer:
    """Follows commands through the pipeline; decides nothing, and waits for nothing.

    Args:
        metrics: What is counted.
        spans: The traces; None where there are none.
    """

    metrics: Metrics
    spans: Spans | None = None

    def taken(self, deliveries: Collection[Delivery]) -> None:
        """Count a batch."""
        self.metrics.batch.observe(len(deliveries))
        self.metrics.redelivered.inc(sum(delivery.redelivered for delivery in deliveries))

    def begun(self, items: list[Item]) -> list[Item]:
        """Begin a span for each message; what answers one continues its span."""
        return items if self.spans is None else [self.spans.begin(item) for item in items]

    def confirmed(self, outcomes: Sequence[Outcome]) -> None:
        """Count what has been published of a batch, log it, and end its spans."""
        now = time.time()
        self._count(outcomes, now)
        for outcome in outcomes:
            if outcome.dead_reason is not None:
                self.metrics.dead_letters.labels(outcome.status).inc()
                _log.warning("dead-lettered", **_described(outcome))
        if _log.is_enabled_for(logging.DEBUG):
            for outcome in outcomes:
                _log.debug("answered", **_described(outcome), **_details(outcome, now))
        if self.spans is not None:
            for outcome in outcomes:
                self.spans.end(outcome)

    def _count(self, outcomes: Iterable[Outcome], now: float) -> None:
        metrics, monotonic = self.metrics, time.monotonic()
        answers: Counter[tuple[str, int]] = Counter()
        events: Counter[str] = Counter()
        for outcome in outcomes:
            delivery = outcome.item.delivery
            metrics.processing.observe(monotonic - delivery.received_at)
            for event in outcome.events:
                events[event.name] += 1
                if event.answers is not None:
                    answers[_kind(event.answers.call_control), event.status] += 1
            if outcome.duplicate:
                metrics.duplicates.inc()
            elif outcome.events:
                latency = latency_seconds(delivery.properties, now)
                if latency is not None:
                    metrics.latency.observe(latency)
        for (kind, status), count in answers.items():
            metrics.commands.labels(kind, status).inc(count)
        for name, count in events.items():
            metrics.events.labels(name).inc(count)


def _kind(command: str | None) -> str:
    # What was written and is no command is its producer's: no label may have it.
    return command if command in _COMMANDS and command else "unknown"


def latency_seconds(properties: Basic.Properties, now: float) -> float | None:
    """Return how long ago a message was published, in seconds.

    Args:
        properties: Its properties.
        now: The time, in seconds since the epoch.

    Returns:
        By the header ``timestamp_in_ms`` if it is an integer, else by the property ``timestamp``,
        which has whole seconds. 0 where the producer's clock is ahead; None where neither is there,
        or makes no sense.
    """
    sent = (properties.headers or {}).get(TIMESTAMP_HEADER)
    if isinstance(sent, int) and not isinstance(sent, bool):
        latency = now - sent / 1000
    elif isinstance(properties.timestamp, datetime):
        latency = now - properties.timestamp.timestamp()
    else:
        return None
    return max(0.0, latency) if abs(latency) < _MOST_LATENCY_SECONDS else None


async def watch_lag(lag: Histogram) -> None:
    """Observe how late the event loop is, until cancelled."""
    while True:
        due = time.monotonic() + _LAG_PAUSE_SECONDS
        await asyncio.sleep(_LAG_PAUSE_SECONDS)
        lag.observe(max(0.0, time.monotonic() - due))


def _described(outcome: Outcome) -> dict[str, Any]:
    event = outcome.events[0] if outcome.events else None
    return {
        **outcome.item.identity,
        "command": outcome.item.message.kind,
        "status": event.status if event else outcome.status,
        "reason": event.reason if event else outcome.dead_reason,
    }


def _details(outcome: Outcome, now: float) -> dict[str, Any]:
    """Return what is shown at debug level only: phone numbers are among it."""
    event = outcome.events[0] if outcome.events else None
    body = outcome.item.message.body
    return {
        "sequence": event and event.sequence,
        "call_state": event and event.call_state,
        "duplicate": outcome.duplicate,
        "latency_seconds": latency_seconds(outcome.item.delivery.properties, now),
        **{name: getattr(body, name) for name in _ADDRESSES if hasattr(body, name)},
    }
