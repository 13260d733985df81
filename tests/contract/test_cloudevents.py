"""Events are CloudEvents in the AMQP binding's binary mode: the CloudEvents SDK reads them."""

from datetime import timedelta

from aio_pika.abc import AbstractIncomingMessage
from cloudevents.core.bindings.amqp import AMQPMessage, from_amqp_event
from cloudevents.core.v1.event import CloudEvent

from tests.harness import Installation, eventually

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}


def read(message: AbstractIncomingMessage) -> CloudEvent:
    """Have the SDK read a message, as its documentation shows it."""
    return from_amqp_event(
        AMQPMessage({"content-type": message.content_type}, dict(message.headers), message.body)
    )


async def test_the_cloudevents_sdk_reads_every_event(calls: Installation) -> None:
    """A success, a refusal, and what the network did by itself."""
    held = await calls.ask("123 XYZ", "hold")
    connected = await calls.ask("123 XYZ", "call", **CALL)
    ended = {"network_report": "ended", "request_id": "123 XYZ", "status": 486}
    await calls.publish("123 XYZ", ended)
    await calls.until_seen(3)
    for seen, kind in zip(
        (held, connected, calls.events[2]),
        ("call_control_failed", "call_connected", "call_terminated"),
        strict=True,
    ):
        event = read(seen.raw)
        assert event.get_specversion() == "1.0"
        assert event.get_id() == seen.message_id
        assert event.get_source() == calls.names.base
        assert event.get_type() == f"call_control.{kind}"
        assert event.get_subject() == "123 XYZ"
        assert event.get_datacontenttype() == "application/json"
        assert event.get_data() == seen.body
        time, timestamp = event.get_time(), seen.raw.timestamp
        assert time is not None
        assert timestamp is not None
        # The property has whole seconds.
        assert timedelta() <= time - timestamp < timedelta(seconds=1)


async def test_a_copy_of_an_event_is_the_same_cloudevent(calls: Installation) -> None:
    """Decided once and told twice, to the millisecond; and once more to whoever asked for it."""
    channel = await calls.connection.channel()
    replies = await channel.declare_queue(exclusive=True)
    body = {"call_control": "call", "request_id": "123XYZ", **CALL}
    for _ in range(2):
        await calls.publish("123XYZ", body, message_id="m1", reply_to=replies.name)
    await calls.until_seen(2)
    first, second = (read(seen.raw) for seen in calls.events)
    told: list[CloudEvent] = []

    async def on_reply(message: AbstractIncomingMessage) -> None:
        told.append(read(message))

    await replies.consume(on_reply, no_ack=True)
    await eventually(lambda: len(told) >= 2, "replies arrive")
    for event in (second, *told):
        assert event.get_attributes() == first.get_attributes()
        assert event.get_data() == first.get_data()
