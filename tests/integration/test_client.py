"""The Python client, against a real worker."""

import asyncio
import logging
import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider

from tests.clients import A, B, C, connected_to, subscribers, take, until_subscribers
from tests.harness import Installation
from worker.client import (
    CallControl,
    Conflict,
    Event,
    InvalidCommand,
    NetworkRefused,
    NetworkUnavailable,
    NoSuchCall,
    OutcomeUnknown,
    Refused,
    WorkerFailed,
)
from worker.client.errors import raise_if_refused
from worker.client.requests import Request, _Sending
from worker.errors import BrokerUnavailable, ConfigurationError


async def test_each_command_has_a_method_that_returns_its_event(client: CallControl) -> None:
    """With the call's state after it, and a sequence without gaps."""
    called = await client.call(A, B)
    name = called.request_id
    events = [
        called,
        await client.hold(name),
        await client.retrieve(name),
        await client.dial(name, "12345#"),
        await client.mute(name),
        await client.un_mute(name),
        await client.transfer(name, C),
        await client.disconnect(name),
    ]
    assert [event.kind for event in events] == [
        "call_connected",
        "call_held",
        "call_retrieved",
        "digits_dialed",
        "call_muted",
        "call_un_muted",
        "call_transferred",
        "call_terminated",
    ]
    assert [event.sequence for event in events] == list(range(1, 9))
    assert {(event.status, event.reason, event.ok) for event in events} == {(200, "OK", True)}
    assert (events[-1].terminal, events[-1].state) == (True, "ended")
    assert (await client.accept("IN-1", C)).kind == "call_accepted"
    assert (await client.reject("IN-2", C)).state == "ended"
    offered = {
        "network_report": "offered",
        "request_id": "IN-3",
        "origin": A,
        "destination": B,
    }
    await client.publish(offered)
    assert (await client.redirect("IN-3", C)).kind == "call_redirected"


async def test_a_refusal_is_an_exception_with_its_status_and_reason(client: CallControl) -> None:
    """Of a class for each kind; the event that says so comes along."""
    with pytest.raises(NoSuchCall, match="481 Call Does Not Exist") as unknown:
        await client.hold("nobody")
    assert unknown.value.event is not None
    assert unknown.value.event.kind == "call_control_failed"
    assert unknown.value.request_id == "nobody"
    name = (await client.call(A, B)).request_id
    await client.hold(name)
    with pytest.raises(Conflict, match="409 Conflict: the call is connected and held") as conflict:
        await client.dial(name, "1")
    assert (conflict.value.status, conflict.value.event and conflict.value.event.sequence) == (
        409,
        3,
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidCommand),
        (409, Conflict),
        (481, NoSuchCall),
        (486, NetworkRefused),
        (500, WorkerFailed),
        (503, NetworkUnavailable),
        (504, NetworkUnavailable),
        (603, NetworkRefused),
    ],
)
def test_each_status_has_its_class(status: int, kind: type[Refused]) -> None:
    """What is none of the worker's own is the network's."""
    event = Event("call_control_failed", "1", 1, status, "why", "absent", terminal=False)
    with pytest.raises(Refused) as caught:
        raise_if_refused(event)
    assert (type(caught.value), caught.value.event) == (kind, event)


async def test_an_invalid_command_is_not_published(
    client: CallControl, calls: Installation
) -> None:
    """It names the field at once, and nobody else hears of it."""
    for field, asking in (
        ("origin", client.call("Bob", B)),
        ("digits", client.dial("1", "5X")),
        ("endpoint", client.transfer("1", "tel:911")),
        ("request_id", client.hold("")),
    ):
        with pytest.raises(InvalidCommand, match=f"400 Bad Request: {field}: expected "):
            await asking
    with pytest.raises(NoSuchCall):
        await client.hold("1")
    await calls.until_seen(1)
    assert [event.sequence for event in calls.events] == [1]


async def test_a_command_sent_again_with_its_message_id_has_one_outcome(
    client: CallControl, calls: Installation
) -> None:
    """At the same time or later: each is answered, by the same event, and it is done once."""
    answers = await asyncio.gather(
        *(client.call(A, B, "123XYZ", message_id="one") for _ in range(5))
    )
    answers.append(await client.call(A, B, "123XYZ", message_id="one"))
    assert {event.message_id for event in answers} == {answers[0].message_id}
    hold = await client.hold("123XYZ")
    assert hold.sequence == 2
    # The reply may overtake the event.
    await calls.answer_to(hold.correlation_id or "")
    assert {event.sequence for event in calls.events} == {1, 2}


async def test_two_clients_that_send_one_command_are_both_answered(
    client: CallControl, calls: Installation
) -> None:
    """Even where one batch holds both."""
    async with connected_to(calls, timeout=30) as other:
        for number in range(20):
            name = f"call-{number}"
            one, same = await asyncio.gather(
                client.call(A, B, name, message_id=name), other.call(A, B, name, message_id=name)
            )
            assert one.message_id == same.message_id


async def test_commands_of_a_call_take_effect_in_the_order_of_their_methods(
    client: CallControl,
) -> None:
    """Though none waits for the answer to the one before."""
    await client.call(A, B, "123XYZ")
    names = ["hold", "retrieve", "mute", "un_mute"] * 25
    events = await asyncio.gather(*(getattr(client, name)("123XYZ") for name in names))
    assert [event.sequence for event in events] == list(range(2, 102))


async def test_without_an_answer_in_time_the_outcome_is_unknown_and_may_be_asked_for_again(
    idle: Installation,
) -> None:
    """With the same ``message_id``, so that the call is placed once."""
    async with connected_to(idle, timeout=0.5) as client:
        with pytest.raises(OutcomeUnknown, match="no worker has answered") as caught:
            await client.call(A, B, "123XYZ")
        await idle.start()
        event = await client.call(A, B, "123XYZ", message_id=caught.value.message_id, timeout=30)
        assert event.sequence == 1
        assert (await client.hold("123XYZ", timeout=30)).sequence == 2


async def test_a_command_that_no_queue_takes_is_not_published_in_silence(
    client: CallControl, calls: Installation
) -> None:
    """It is mandatory, so RabbitMQ returns it."""
    names = calls.names
    for number in range(calls.settings.partitions):
        queue = await calls.producer.get_queue(names.partition(number), ensure=False)
        await queue.unbind(names.commands, "1")
    with pytest.raises(ConfigurationError, match="no queue is bound"):
        await client.hold("1")


async def test_an_installation_that_is_not_there_is_told_apart_from_a_broker_that_is_not(
    empty: Installation,
) -> None:
    """The one is a mistake, the other passes."""
    async with connected_to(empty) as client:
        with pytest.raises(ConfigurationError, match="has a worker ever run"):
            await client.hold("1")
        with pytest.raises(ConfigurationError, match="has a worker ever run"):
            async with client.events():
                pass
        with pytest.raises(ConfigurationError, match="has a worker ever run"):
            await take(client.events(since="first"), 1)
    with pytest.raises(BrokerUnavailable):
        async with CallControl("amqp://guest:guest@127.0.0.1:1/"):
            pass


async def test_a_client_that_is_closed_leaves_nobody_waiting(idle: Installation) -> None:
    """Neither for an answer nor for an event; and it opens no connection again."""
    async with connected_to(idle, timeout=30) as client:
        before = await subscribers(idle)
        asking = asyncio.create_task(client.hold("1"))
        following = asyncio.create_task(take(client.events(), 1))
        await until_subscribers(idle, before + 1)
    with pytest.raises(OutcomeUnknown, match="the client is closed"):
        await asking
    with pytest.raises(RuntimeError, match="closed"):
        await following


async def test_a_command_that_expires_is_a_dead_letter(idle: Installation) -> None:
    """Nobody does it any more, when it would come too late."""
    async with connected_to(idle, timeout=30) as client:
        with pytest.raises(OutcomeUnknown):
            await client.call(A, B, "late", message_id="late", expires=0.1, timeout=1)
        await idle.until_dead(1)
        await idle.start()
        assert (await client.call(A, B, "late")).sequence == 1
    assert idle.dead[0].message_id == "late"


async def test_a_command_continues_the_trace_of_whoever_sends_it(client: CallControl) -> None:
    """Its event too, so that a subscriber can."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("a service")
    with tracer.start_as_current_span("placing a call") as span:
        event = await client.call(A, B)
    context = span.get_span_context()
    assert event.traceparent is not None
    assert event.traceparent.startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")
    assert (await client.hold(event.request_id)).traceparent is None


def test_the_client_is_imported_without_redis() -> None:
    """A producer needs none."""
    code = (
        "import sys\n"
        "sys.modules['redis'] = None\n"
        "from worker.client import CallControl\n"
        "print(sorted(name for name in sys.modules if name.startswith('worker.')))\n"
    )
    ran = subprocess.run(  # noqa: S603 - a program of this test's own
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "worker.client.control" in ran.stdout
    assert "worker.store" not in ran.stdout


async def test_a_call_without_a_name_is_placed_once_too(client: CallControl) -> None:
    """The same ``message_id`` is the same call."""
    one = await client.call(A, B, message_id="one")
    same = await client.call(A, B, message_id="one")
    assert (one.request_id, one.message_id) == (same.request_id, same.message_id)
    assert (await client.call(A, B)).request_id != one.request_id


async def test_one_message_id_for_two_calls_is_two_commands(client: CallControl) -> None:
    """Each has the answer of its own call."""
    one, two = await asyncio.gather(
        *(client.call(A, B, name, message_id="same") for name in ("one", "two"))
    )
    assert (one.request_id, two.request_id) == ("one", "two")


async def test_a_cancelled_task_can_still_send_what_it_has_to(client: CallControl) -> None:
    """So that a call does not stay up because its owner was told to stop."""
    placed = await client.call(A, B, "123XYZ")
    ended: list[Event] = []

    async def own() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(await client.disconnect(placed.request_id))

    owner = asyncio.create_task(own())
    await asyncio.sleep(0)
    owner.cancel()
    with pytest.raises(asyncio.CancelledError):
        await owner
    assert [event.kind for event in ended] == ["call_terminated"]


@pytest.mark.parametrize("expires", [-1, 2**32])
async def test_an_expiration_that_rabbitmq_does_not_take_is_not_sent(
    client: CallControl, expires: float
) -> None:
    """It would close the channel for all others."""
    with pytest.raises(InvalidCommand, match="expires: expected 0 to"):
        await client.hold("1", expires=expires)


async def test_digits_are_in_no_log_and_no_text(
    client: CallControl, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though aiormq logs at level debug whatever it sends: without the filter they are there."""
    # By name: a callctl that ran in this process has silenced it.
    caplog.set_level(logging.DEBUG, logger="aiormq")
    await client.call(A, B, "123XYZ")
    await client.dial("123XYZ", "84915037")
    assert "84915037" not in caplog.text
    assert "84915037" not in repr(Request("1", b"84915037", "one"))
    monkeypatch.setattr(logging.getLogger("aiormq.connection"), "filters", [])
    await client.dial("123XYZ", "84915037")
    assert "84915037" in caplog.text


async def test_a_command_published_again_does_not_live_longer() -> None:
    """What is left of its time is what it gets, and then it is not published any more."""
    sending = _Sending(Request("1", b"", "one", expires_seconds=10), reply=False)
    sending.began -= 8
    assert 1500 < int(sending.expiration() or 0) <= 2000
    sending.began -= 8
    with pytest.raises(OutcomeUnknown, match="expired"):
        sending.expiration()
