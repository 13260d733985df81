"""What the telephone network reports of a call, through the same exchange as the commands."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from schemas.contract import ReportName
from schemas.fields import (
    Address,
    AnsweredId,
    FailureStatus,
    GatewayName,
    Reason,
    RequestId,
    Status,
)


class _Report(BaseModel):
    """What all reports share.

    Attributes:
        action_id: The action that the report answers; None for what the network does by itself.
        gateway: The gateway that says so: what is asked of the call from then on is asked of it.
        status: A SIP status code (RFC 3261 section 21).
        reason: Its reason; None stands for the usual phrase.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    request_id: RequestId
    action_id: AnsweredId = None
    gateway: GatewayName = None
    status: Status = 200
    reason: Reason = None


class Offered(_Report):
    """An incoming call from ``origin``, which is the offering endpoint, for ``destination``."""

    network_report: Literal[ReportName.OFFERED] = ReportName.OFFERED
    origin: Address
    destination: Address


class Ringing(_Report):
    """The destination rings."""

    network_report: Literal[ReportName.RINGING] = ReportName.RINGING
    status: Status = 180


class Answered(_Report):
    """The action succeeded: the parties are connected."""

    network_report: Literal[ReportName.ANSWERED] = ReportName.ANSWERED


class Done(_Report):
    """The action succeeded."""

    network_report: Literal[ReportName.DONE] = ReportName.DONE


class Failed(_Report):
    """The action failed, with the network's status."""

    network_report: Literal[ReportName.FAILED] = ReportName.FAILED
    status: FailureStatus


class Ended(_Report):
    """The call is over in the network, whoever hung up."""

    network_report: Literal[ReportName.ENDED] = ReportName.ENDED


Report = Offered | Ringing | Answered | Done | Failed | Ended

REPORT_MODELS: Final[dict[ReportName, type[Report]]] = {
    ReportName.OFFERED: Offered,
    ReportName.RINGING: Ringing,
    ReportName.ANSWERED: Answered,
    ReportName.DONE: Done,
    ReportName.FAILED: Failed,
    ReportName.ENDED: Ended,
}
