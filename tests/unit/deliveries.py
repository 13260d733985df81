"""Deliveries as a channel would bring them, without a broker."""

import json
from typing import Any, Final, cast

from pamqp.commands import Basic

from tests.unit.builders import CALL_ID, FIELDS
from worker.broker.connection import Channel
from worker.broker.subscription import Delivery, Subscription

#: Nothing here talks to the channel.
PARTITION: Final = Subscription(7, cast("Channel", object()), "worker-1")


def body(**fields: Any) -> bytes:
    """Return a bare body about the call."""
    return json.dumps({"request_id": CALL_ID, **fields}).encode()


def delivery(
    content: bytes,
    *,
    redelivered: bool = False,
    tag: int = 1,
    by: Subscription = PARTITION,
    **properties: Any,
) -> Delivery:
    """Return a message from partition 7."""
    return Delivery(
        by,
        tag,
        content,
        Basic.Properties(**properties),
        redelivered=redelivered,
        exchange="call_control.commands",
        routing_key=CALL_ID,
    )


def spoken(
    name: str, message_id: str | None = "m-", *, redelivered: bool = False, tag: int = 1
) -> Delivery:
    """Return a command; behind an id of ``m-`` goes its name."""
    return delivery(
        body(call_control=name, **FIELDS[name]),
        redelivered=redelivered,
        tag=tag,
        message_id=f"m-{name}" if message_id == "m-" else message_id,
    )
