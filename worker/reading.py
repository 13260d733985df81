"""From deliveries to messages: what each says, to which call, and by which id it is known."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
from pamqp.common import FieldValue

from schemas.commands import Command
from schemas.events import Request, stable_id
from schemas.reports import Report
from schemas.wire import Malformed, read
from worker.broker.messages import without_digits
from worker.broker.subscription import Delivery
from worker.core.messages import Message

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_log: Final = structlog.get_logger(__name__)

# W3C Trace Context, section 3.2.
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Item(NamedTuple):
    """A delivery that has been read.

    Attributes:
        delivery: The delivery.
        message: What it says.
        request_id: The call it is for; None where nobody can be answered.
        record_id: The id under which its outcome is recorded; of an anonymous one the beginning of
            that, which says what it is.
        anonymous: Whether it came without a ``message_id``.
        fault: The name of the error that reading it raised, which is a bug.
        span: Its span, where there are traces.
    """

    delivery: Delivery
    message: Message
    request_id: str | None
    record_id: str
    anonymous: bool
    fault: str | None = None
    span: "Span | None" = None

    @property
    def identity(self) -> dict[str, str | int | None]:
        """What every log line about it says."""
        return {"request_id": self.request_id, **self.delivery.identity}

    @property
    def came_back(self) -> bool:
        """Whether it is an anonymous one that may have been answered before."""
        return self.anonymous and self.delivery.redelivered


def read_delivery(delivery: Delivery) -> Item:
    """Read a delivery. Whatever is in it, there is an item."""
    try:
        return _read(delivery)
    except Exception as error:  # noqa: BLE001 - a bug costs this message, not its session
        fault = type(error).__name__
        # Not the error's text: it can quote the body, digits included.
        _log.error("message cannot be read", **delivery.identity, why=fault)
        nothing = Message(Request(""), Malformed("body", "cannot be read"))
        return Item(delivery, nothing, None, record_id="", anonymous=True, fault=fault)


def _read(delivery: Delivery) -> Item:
    reading = read(delivery.body)
    body = _with_its_properties(reading.body, delivery.undecodable)
    properties = delivery.properties
    message_id = properties.message_id
    record_id = message_id or _content_id(delivery)
    request = Request(
        id=record_id,
        call_control=getattr(body, "call_control", None),
        envelope=reading.envelope,
        correlation_id=properties.correlation_id or message_id,
        reply_to=properties.reply_to,
        traceparent=_traceparent(properties.headers or {}),
    )
    unanswerable = isinstance(body, Malformed) and body.is_report
    return Item(
        delivery,
        Message(request, body),
        request_id=None if unanswerable else body.request_id,
        record_id=record_id,
        anonymous=not message_id,
    )


def _with_its_properties(
    body: Command | Report | Malformed, undecodable: tuple[str, ...]
) -> Command | Report | Malformed:
    """Return what a message says; malformed, if it says it with properties nobody can decode."""
    if not undecodable or isinstance(body, Malformed):
        return body
    return Malformed(
        undecodable[0],
        "cannot be decoded",
        body.request_id,
        getattr(body, "call_control", ""),
        is_report=isinstance(body, Report),
    )


def _content_id(delivery: Delivery) -> str:
    """Identify a message that has no id by what it says, apart from any digits.

    The id is stored, and events' ids derive from it: digits could be found out from it by trying.
    """
    properties = delivery.properties
    content = without_digits(delivery.body).decode(errors="replace")
    return f"~{stable_id(content, str(properties.correlation_id), str(properties.timestamp))}"


def _traceparent(headers: Mapping[str, FieldValue]) -> str | None:
    value = headers.get("traceparent")
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None


def by_call(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Group items by the call they are for, in the order of their arrival."""
    calls: dict[str, list[Item]] = {}
    for item in items:
        if item.request_id is not None:
            calls.setdefault(item.request_id, []).append(item)
    return calls
