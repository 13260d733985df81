"""What a gateway counts, in the form that Prometheus reads."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.metrics_core import Metric


class GatewayMetrics:
    """The metrics of one gateway process, in a registry of their own.

    Attributes:
        actions: Actions taken, by name.
        reports: Reports made, by kind and status.
        calls: Calls that the gateway has.
        active: 1 while this process has the gateway's queue, 0 while it stands by.
        connected: 1 while it is connected to Asterisk.
        resyncs: Times that it has compared its calls with Asterisk's.
        strays: Legs found on Asterisk that no call has, and hung up.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.actions = Counter(
            "call_control_gateway_actions", "Actions taken.", ["action"], registry=registry
        )
        self.reports = Counter(
            "call_control_gateway_reports",
            "Reports made, by kind and status.",
            ["report", "status"],
            registry=registry,
        )
        self.calls = Gauge(
            "call_control_gateway_calls", "Calls that the gateway has.", registry=registry
        )
        self.active = Gauge(
            "call_control_gateway_active",
            "1 while this process has the gateway's queue, 0 while it stands by.",
            registry=registry,
        )
        self.connected = Gauge(
            "call_control_gateway_connected",
            "1 while it is connected to Asterisk.",
            registry=registry,
        )
        self.resyncs = Counter(
            "call_control_gateway_resyncs",
            "Times that it has compared its calls with Asterisk's.",
            registry=registry,
        )
        self.strays = Counter(
            "call_control_gateway_strays",
            "Legs found on Asterisk that no call has, and hung up.",
            registry=registry,
        )

    def families(self) -> Iterable[Metric]:
        """Return all of them with their types and what they mean."""
        return self._registry.collect()

    def page(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self._registry)
