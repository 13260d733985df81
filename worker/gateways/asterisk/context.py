"""What all calls of a gateway share: Asterisk, whom to report to, what has been reported."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from schemas.actions import Action
from schemas.reports import Answered, Done, Failed, Report
from worker.errors import BrokerUnavailable
from worker.gateways.asterisk.ari import Ari
from worker.gateways.asterisk.causes import phrase
from worker.gateways.asterisk.dialing import Plan
from worker.gateways.asterisk.metrics import GatewayMetrics
from worker.gateways.asterisk.names import Ids
from worker.gateways.asterisk.settings import AsteriskSettings

_log: Final = structlog.get_logger(__name__)

#: Seconds before a report is said again over a port that did not take it.
_AGAIN_SECONDS: Final = 0.5

#: How many actions' outcomes are remembered, so that a copy of one has the same.
_REMEMBERED: Final = 10_000

_OUTCOMES: Final = (Answered, Done, Failed)


class Saying(Protocol):
    """What reports go through: ``worker.gateways.port.Port``."""

    async def say(self, report: Report) -> None:
        """Publish a report, and return when it is confirmed."""


class Acknowledge(Protocol):
    """What lets go of an action for good: ``worker.gateways.port.Port.settle`` of it."""

    async def __call__(self, *, heard: bool = False) -> None:
        """Acknowledge it.

        Args:
            heard: Whether to return only when RabbitMQ has heard it.

        Raises:
            BrokerUnavailable: The connection is gone, and it may come back.
        """


@dataclass(slots=True)
class Asked:
    """An action in hand.

    Attributes:
        action: What to do.
        redelivered: Whether RabbitMQ has given it to somebody before.
        acknowledge: What lets go of it for good.
        is_settled: Whether it has been acknowledged.
    """

    action: Action
    redelivered: bool
    acknowledge: Acknowledge
    is_settled: bool = False

    @property
    def begun(self) -> bool:
        """Whether it may have been begun before."""
        return self.redelivered or self.action.again

    async def settle(self) -> None:
        """Acknowledge it; over a connection that is gone there is no need to."""
        if not self.is_settled:
            with suppress(BrokerUnavailable):
                await self.acknowledge()

    async def settle_first(self) -> None:
        """Acknowledge what must not come back, and return when RabbitMQ has heard of it.

        Raises:
            BrokerUnavailable: The connection is gone, and it may come back.
        """
        await self.acknowledge(heard=True)
        self.is_settled = True


class Refusal(Exception):
    """Raised when an action cannot be done.

    Args:
        status: The SIP status.
        detail: What stands behind its phrase.
    """

    def __init__(self, status: int, detail: str = "") -> None:
        self.status = status
        self.detail = detail
        self.reason = phrase(status, detail)
        super().__init__(self.reason)


class Outcomes:
    """The outcomes of the last actions, by their ids."""

    def __init__(self) -> None:
        self._reports: OrderedDict[tuple[str, str], Report] = OrderedDict()

    def remember(self, report: Report) -> None:
        """Remember a report, if it is an outcome. The first one of an action counts."""
        if report.action_id is None or not isinstance(report, _OUTCOMES):
            return
        # A producer may give commands of different calls the same id.
        self._reports.setdefault((report.request_id, report.action_id), report)
        while len(self._reports) > _REMEMBERED:
            self._reports.popitem(last=False)

    def of(self, request_id: str, action_id: str) -> Report | None:
        """Return the outcome of a call's action; None if there is none yet, or no longer."""
        return self._reports.get((request_id, action_id))


class Reporter:
    """Reports, over whichever connection to RabbitMQ there is."""

    def __init__(self) -> None:
        self._port: Saying | None = None
        self._connected = asyncio.Event()

    def connect(self, port: Saying) -> None:
        """Report over a port from now on."""
        self._port = port
        self._connected.set()

    def disconnect(self) -> None:
        """Keep reports until there is another port."""
        self._port = None
        self._connected.clear()

    async def say(self, report: Report) -> None:
        """Report; return when RabbitMQ has confirmed it, however long it is away."""
        while True:
            await self._connected.wait()
            port = self._port
            if port is None:
                continue
            try:
                await port.say(report)
            except BrokerUnavailable as error:
                # RabbitMQ may only be slow. As long as the connection is there nobody opens another
                # one, and who has it tells when it is gone.
                _log.warning("report waits", why=str(error))
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                return


@dataclass(slots=True)
class Context:
    """What calls need.

    Attributes:
        settings: The gateway's settings.
        ari: Asterisk.
        reporter: Whom to report to.
        metrics: What is counted.
        expect: Called with the id of a leg before it is made, and the call's name: its events may
            come before Asterisk's answer does.
        outcomes: What has been reported.
        ids: The ids of what is made on Asterisk.
        plan: How addresses are called.
        claims: When the bridges of attempts that failed were left behind, by ``time.monotonic``.
    """

    settings: AsteriskSettings
    ari: Ari
    reporter: Reporter
    metrics: GatewayMetrics
    expect: Callable[[str, str], None]
    outcomes: Outcomes = field(default_factory=Outcomes)
    ids: Ids = field(init=False)
    plan: Plan = field(init=False)
    claims: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ids = Ids(self.settings.application)
        self.plan = self.settings.plan

    async def say(self, report: Report) -> None:
        """Report, and remember it if it is an outcome."""
        self.outcomes.remember(report)
        self.metrics.reports.labels(report.network_report, str(report.status)).inc()
        _log.info(
            "reporting",
            request_id=report.request_id,
            report=str(report.network_report),
            status=report.status,
        )
        await self.reporter.say(report)
