"""The Python client, against a real worker."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aio_pika
import pytest
from opentelemetry.sdk.trace import TracerProvider

from tests.harness import Installation, eventually
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
    Subscription,
    WorkerFailed,
)
from worker.client.errors import raise_if_refused
from worker.errors import BrokerUnavailable, ConfigurationError

CONNECTION = "a client under test"
A, B, C = "tel:+18164388687", "tel:+18165057120", "tel:+18166623395"


def connected_to(calls: Installation, **options: Any) -> CallControl:
    """Return a client of an installation."""
    url = calls.settings.amqp_url.get_secret_value()
    return CallControl(url, namespace=calls.names.namespace, name=CONNECTION, **options)


@pytest.fixture
async def client(calls: Installation) -> AsyncIterator[CallControl]:
    """A client of an installation with one worker."""
    async with connected_to(calls, timeout=30) as client:
        yield client


async def close_connections(calls: Installation) -> None:
    """Close the client's connections at the broker, as an operator can."""
    rabbitmq = calls.services.rabbitmq
    assert rabbitmq is not None, "connections are closed by rabbitmqctl"
    columns = ("pid", "client_properties")
    for _ in range(60):
        listed = await asyncio.to_thread(rabbitmq.ctl, "-q", "list_connections", *columns)
        pids = [line.split("\t")[0] for line in listed.splitlines() if CONNECTION in line]
        if pids:
            break
    assert pids, "the client is connected"
    for pid in pids:
        await asyncio.to_thread(rabbitmq.ctl, "close_connection", pid, "a test")


async def queues(calls: Installation) -> int:
    """Return how many queues the broker has."""
    assert calls.services.rabbitmq is not None, "queues are counted by rabbitmqctl"
    listed = await asyncio.to_thread(calls.services.rabbitmq.ctl, "-q", "list_queues", "name")
    return len(listed.splitlines())


async def until_queues(calls: Installation, count: int) -> None:
    """Wait until the broker has so many queues."""
    for _ in range(60):
        if await queues(calls) == count:
            return
    raise AssertionError(f"not {count} queues")


async def kinds_of(events: Subscription, count: int) -> list[str]:
    """Return the kinds of the next events."""
    return [event.kind for event in await take(events, count)]


async def forge(calls: Installation, body: bytes, headers: dict[str, Any]) -> None:
    """Publish to the events exchange, as nobody but a worker should."""
    exchange = await calls.producer.get_exchange(calls.names.events, ensure=False)
    message = aio_pika.Message(body, type="call_held", headers=headers)
    await exchange.publish(message, routing_key="call_held.123XYZ")


async def take(events: Subscription, count: int) -> list[Event]:
    """Return the next events."""
    found: list[Event] = []
    async with asyncio.timeout(30):
        async for event in events:
            found.append(event)
            if len(found) == count:
                return found
    raise AssertionError("no more events")


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
    assert (await client.hold("123XYZ")).sequence == 2
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


@pytest.mark.parametrize("since", [None, "first"], ids=["live", "journal"])
async def test_connections_lost_in_the_middle_cost_no_answer_and_no_event(
    client: CallControl, calls: Installation, since: str | None
) -> None:
    """Commands have one outcome each, in order; the subscription has each event once."""
    disturbed = asyncio.Event()
    found: list[Event] = []

    async def follow(events: Subscription) -> None:
        async for event in events:
            found.append(event)  # noqa: PERF401 - it is looked at meanwhile

    async def converse(name: str) -> int:
        last = await client.call(A, B, name)
        while not disturbed.is_set():
            for step in (client.hold, client.retrieve):
                event = await step(name)
                assert event.sequence == last.sequence + 1
                last = event
        return last.sequence

    names = [f"call-{number}" for number in range(4)]
    async with client.events(since=since) as events:
        following = asyncio.create_task(follow(events))
        talking = asyncio.gather(*(converse(name) for name in names))
        for _ in range(3):
            await close_connections(calls)
        disturbed.set()
        total = sum(await talking)
        await eventually(lambda: len(found) >= total, "all events are seen")
        following.cancel()
    for name in names:
        numbers = [event.sequence for event in found if event.request_id == name]
        assert numbers == list(range(1, len(numbers) + 1))
    assert len(found) == total
    assert {event.missed for event in found} == {0}


async def test_a_subscription_takes_what_it_is_asked_for(client: CallControl) -> None:
    """A call, some kinds, or everything; from the beginning of its block on."""
    async with (
        client.events() as everything,
        client.events("mine") as mine,
        client.events(kinds=["call_held", "call_terminated"]) as kinds,
        client.events("mine", ["call_held"]) as both,
    ):
        for name in ("mine", "a.b"):
            await client.call(A, B, name)
            await client.hold(name)
            await client.disconnect(name)
        shown = [(event.request_id, event.kind) for event in await take(everything, 6)]
        assert await kinds_of(mine, 3) == ["call_connected", "call_held", "call_terminated"]
        assert await kinds_of(kinds, 4) == ["call_held", "call_terminated"] * 2
        assert await kinds_of(both, 1) == ["call_held"]
    assert shown == [
        (name, kind)
        for name in ("mine", "a.b")
        for kind in ("call_connected", "call_held", "call_terminated")
    ]
    for mistake in ({"kinds": ["call_confused"]}, {"request_id": "\n"}, {"follow": False}):
        with pytest.raises(ValueError, match=r"call_confused|request_id|pattern|since="):
            client.events(**mistake)


async def test_the_journal_is_replayed_from_the_first_event_an_offset_or_a_time(
    client: CallControl,
) -> None:
    """And goes on with what happens afterwards."""
    await client.call(A, B, "123XYZ")
    await client.hold("123XYZ")
    await client.call(A, B, "other")
    async with client.events("123XYZ", since="first") as events:
        past = await take(events, 2)
        await client.disconnect("123XYZ")
        (now,) = await take(events, 1)
    assert [event.sequence for event in (*past, now)] == [1, 2, 3]
    assert past[0].offset is not None
    for since in (past[0].offset + 1, "first", datetime.now(UTC).replace(year=2000)):
        kinds = ["call_terminated"]
        (event,) = await take(client.events("123XYZ", kinds, since=since), 1)
        assert (event.sequence, event.missed) == (3, None)
    assert (await take(client.events(since=past[0].offset + 1), 1))[0].sequence == 2


async def test_a_time_leaves_out_what_was_before_it(client: CallControl) -> None:
    """By the second."""
    first = await client.call(A, B, "before")
    assert first.decided_at is not None
    next_second = first.decided_at.timestamp() + 1
    await eventually(lambda: datetime.now(UTC).timestamp() >= next_second, "the next second")
    since = datetime.now(UTC)
    await client.call(A, B, "after")
    (event,) = await take(client.events(since=since), 1)
    assert event.request_id == "after"


async def test_a_gap_is_told_and_a_copy_left_out(client: CallControl, calls: Installation) -> None:
    """By the numbers that events have; what is no event of a worker's is passed over."""
    async with client.events("123XYZ") as events:
        await client.call(A, B, "123XYZ", message_id="one")
        (first,) = await take(events, 1)
        await client.call(A, B, "123XYZ", message_id="one")
        await forge(calls, b"not JSON", {})
        await forge(calls, b'{"status": 200, "reason": "OK"}', {**first.headers, "sequence": 5})
        (next_one,) = await take(events, 1)
    assert (first.sequence, first.missed) == (1, 0)
    assert (next_one.sequence, next_one.missed) == (5, 3)


async def test_an_iteration_that_is_left_lets_go_of_its_queue(
    client: CallControl, calls: Installation
) -> None:
    """So that one for each call does not add up."""
    before = await queues(calls)
    for _ in range(3):
        asking = asyncio.create_task(take(client.events(), 1))
        await until_queues(calls, before + 1)
        await client.call(A, B)
        await asking
        await until_queues(calls, before)


async def test_a_client_that_is_closed_leaves_nobody_waiting(idle: Installation) -> None:
    """Neither for an answer nor for an event; and it opens no connection again."""
    async with connected_to(idle, timeout=30) as client:
        before = await queues(idle)
        asking = asyncio.create_task(client.hold("1"))
        following = asyncio.create_task(take(client.events(), 1))
        await until_queues(idle, before + 1)
    for waiting in (asking, following):
        with pytest.raises(RuntimeError, match="closed"):
            await waiting


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
