"""Events as the Python client gives them: live, from the journal, over lost connections."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.clients import (
    A,
    B,
    close_connections,
    forge,
    kinds_of,
    subscribers,
    take,
    until_subscribers,
)
from tests.harness import Installation, eventually
from worker.client import CallControl, Event, Subscription
from worker.client.sequences import Sequences


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


async def test_commands_that_wait_for_nothing_keep_their_order_over_a_lost_connection(
    client: CallControl, calls: Installation
) -> None:
    """What is published again is not overtaken by what comes after it."""
    disturbed = asyncio.Event()

    async def pipeline() -> None:
        last = (await client.call(A, B, "123XYZ")).sequence
        while not disturbed.is_set():
            steps = (client.hold, client.retrieve) * 50
            events = await asyncio.gather(*(step("123XYZ") for step in steps))
            assert [event.sequence for event in events] == list(range(last + 1, last + 101))
            last = events[-1].sequence

    going_on = asyncio.create_task(pipeline())
    for _ in range(3):
        await close_connections(calls)
    disturbed.set()
    await going_on


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
    before = await subscribers(calls)
    for _ in range(3):
        asking = asyncio.create_task(take(client.events(), 1))
        await until_subscribers(calls, before + 1)
        await client.call(A, B)
        await asking
        await until_subscribers(calls, before)


@pytest.mark.parametrize(
    "mistake",
    [
        {"kinds": ["call_confused"]},
        {"request_id": "\n"},
        {"follow": False},
        {"since": "frist"},
        {"since": True},
        {"since": -1},
        {"since": 2**63},
    ],
    ids=str,
)
async def test_a_subscription_that_makes_no_sense_is_refused_at_once(
    client: CallControl, mistake: dict[str, Any]
) -> None:
    """It would wait for ever."""
    with pytest.raises(ValueError, match=r"call_confused|pattern|since"):
        client.events(**mistake)


async def test_what_was_taken_is_not_lost_with_an_iteration(client: CallControl) -> None:
    """The next one of the same subscription goes on with it."""
    async with client.events("123XYZ") as events:
        await client.call(A, B, "123XYZ")
        for step in (client.hold, client.retrieve, client.mute):
            await step("123XYZ")
        (first,) = await take(events, 1)
        rest = await take(events, 3)
    assert [event.sequence for event in (first, *rest)] == [1, 2, 3, 4]
    assert {event.missed for event in rest} == {0}


async def test_messages_that_are_no_events_stop_no_subscription(
    client: CallControl, calls: Installation
) -> None:
    """However many there are."""
    async with client.events("123XYZ") as live:
        await forge(calls, b"not JSON", {}, count=2100)
        await client.call(A, B, "123XYZ")
        assert await kinds_of(live, 1) == ["call_connected"]
    assert await kinds_of(client.events("123XYZ", since="first"), 1) == ["call_connected"]


async def test_a_journal_that_has_no_more_ends(client: CallControl) -> None:
    """For who does not follow it: empty, at its end, or beyond."""
    assert [event async for event in client.events(since="first", follow=False)] == []
    await client.call(A, B, "123XYZ")
    async with asyncio.timeout(30):
        (only,) = [event async for event in client.events(since="first", follow=False)]
        assert only.offset is not None
        for since in (only.offset + 1, only.offset + 100):
            assert [event async for event in client.events(since=since, follow=False)] == []


def numbered(sequence: int, second: int) -> Event:
    """Return an event of a call, decided at a second."""
    at = datetime.fromtimestamp(1_700_000_000 + second, UTC)
    return Event("call_held", "1", sequence, 200, "OK", "connected", terminal=False, decided_at=at)


def test_copies_are_told_by_number_and_time() -> None:
    """Though the workers' clocks differ; and a name may be used again, for another call."""
    sequences = Sequences(gapless=True)

    def seen(sequence: int, second: int) -> int | str | None:
        event = sequences.new(numbered(sequence, second))
        return "copy" if event is None else event.missed

    assert [seen(1, 0), seen(2, 5), seen(3, 1)] == [0, 0, 0]
    assert [seen(2, 5), seen(3, 1), seen(1, 0)] == ["copy"] * 3
    assert seen(6, 6) == 2
    assert [seen(1, 4000), seen(2, 4000)] == [0, 0]
    assert [seen(2, 4000), seen(4, 4001)] == ["copy", 1]
