"""Real calls while something dies: the gateway, Asterisk, their connection, RabbitMQ."""

import asyncio

import pytest

from deploy.local.asterisk import MUSIC
from tests.calls.exchange import (
    ALICE,
    BOB,
    Exchange,
    address_of,
    new_call,
    off_loop,
    ready,
    talking,
    two,
)
from tests.calls.saboteur import DEATHS, FAULTS
from tests.harness import Worker, eventually


async def struck(line: Exchange, fault: str) -> Worker:
    """Start a gateway that will die."""
    assert fault in FAULTS
    return await ready(await line.start_gateway(command=("-m", "tests.calls.saboteur", fault)))


async def test_a_gateway_killed_while_it_rings_leaves_the_call_to_its_standby(
    line: Exchange,
) -> None:
    """One INVITE each, one outcome, and they talk."""
    first = await line.start_ready_gateway()
    second = await line.start_gateway()
    alice, bob = await two(line, ring_ms=2500)
    call = new_call()
    parties = {"origin": address_of(alice, "+1"), "destination": address_of(bob, "+2")}
    asked = await line.command(call, "call", **parties)
    await line.seen(call, "call_ringing")
    await first.kill()
    await ready(second)
    assert (await line.calls.answer(asked)).content["status"] == 200
    await talking(alice, bob)
    assert (alice.count("INVITE"), bob.count("INVITE")) == (1, 1)
    await line.done(call, "disconnect")
    await off_loop(bob.wait_for, "BYE", sent=False)


async def test_a_call_answered_while_no_gateway_is_there_is_connected_when_one_comes(
    line: Exchange,
) -> None:
    """The telephone is not hung up on for want of a gateway."""
    first = await line.start_ready_gateway()
    alice, bob = await two(line, ring_ms=700)
    call = new_call()
    parties = {"origin": address_of(alice, "+1"), "destination": address_of(bob, "+2")}
    asked = await line.command(call, "call", **parties)
    await line.seen(call, "call_ringing")
    await first.kill()
    await off_loop(bob.wait_for, "ACK")
    await line.start_ready_gateway()
    assert (await line.calls.answer(asked)).content["status"] == 200
    await talking(alice, bob)
    assert (alice.count("INVITE"), bob.count("INVITE")) == (1, 1)
    await line.done(call, "disconnect")


async def test_a_gateway_killed_in_mid_call_leaves_them_talking(line: Exchange) -> None:
    """Whoever takes over finds the call, held or muted as it is, and goes on with it."""
    first = await line.start_ready_gateway()
    alice, bob = await two(line)
    call = await line.connect(alice, bob)
    carol, dave = await two(line)
    held = await line.connect(carol, dave)
    await line.done(held, "hold")
    await first.kill()
    await talking(alice, bob)
    await line.start_ready_gateway()
    await line.done(call, "hold")
    await off_loop(bob.wait_tones, MUSIC)
    await line.done(held, "retrieve")
    await talking(carol, dave)
    for each in (call, held):
        await line.done(each, "disconnect")
    assert [phone.count("INVITE") for phone in (alice, bob, carol, dave)] == [1] * 4


async def test_a_hang_up_while_no_gateway_is_there_is_told_by_the_next_one(line: Exchange) -> None:
    """The other leg is hung up on; the call does not stay in Redis for ever."""
    first = await line.start_ready_gateway()
    alice = await off_loop(line.phones.answering, tone=ALICE)
    bob = await off_loop(line.phones.answering, hang_up_ms=1500, tone=BOB)
    call = await line.connect(alice, bob)
    await first.kill()
    await off_loop(bob.wait_for, "BYE", sent=True)
    await line.start_ready_gateway()
    ended = await line.seen(call, "call_terminated")
    assert ended.headers["terminal"]
    await off_loop(alice.wait_for, "BYE", sent=False)


@pytest.mark.parametrize("fault", DEATHS)
async def test_a_gateway_killed_about_a_call_places_no_second_one(
    line: Exchange, fault: str
) -> None:
    """Whenever it dies, the next one finds what the first began."""
    dying = await struck(line, fault)
    alice, bob = await two(line, ring_ms=300)
    call = new_call()
    parties = {"origin": address_of(alice, "+1"), "destination": address_of(bob, "+2")}
    asked = await line.command(call, "call", **parties)
    await asyncio.wait_for(dying.process.wait(), 20)
    await line.start_ready_gateway()
    assert (await line.calls.answer(asked)).content["status"] == 200
    await talking(alice, bob)
    assert (alice.count("INVITE"), bob.count("INVITE")) == (1, 1)
    await line.done(call, "disconnect")


@pytest.mark.parametrize("name", ["hold", "mute", "disconnect", "transfer"])
async def test_a_gateway_killed_between_an_action_and_its_report_leaves_one_outcome(
    line: Exchange, name: str
) -> None:
    """What can be done twice is done twice; the network is asked how it is."""
    first = await line.start_ready_gateway()
    alice, bob = await two(line)
    carol = await off_loop(line.phones.answering, tone=600)
    call = await line.connect(alice, bob)
    assert await first.terminate() == 0
    dying = await struck(line, "before_it_is_reported")
    fields = {"endpoint": address_of(carol, "+3")} if name == "transfer" else {}
    asked = await line.command(call, name, **fields)
    await asyncio.wait_for(dying.process.wait(), 20)
    await line.start_ready_gateway()
    assert (await line.calls.answer(asked)).content["status"] == 200
    if name != "disconnect":
        await line.done(call, "disconnect")
    await off_loop(alice.wait_for, "BYE", sent=False)
    assert (bob.count("INVITE"), carol.count("INVITE")) == (1, int(name == "transfer"))


@pytest.mark.parametrize("away_seconds", [0, 6])
async def test_digits_of_unknown_outcome_are_not_sent_again(
    line: Exchange, away_seconds: float
) -> None:
    """They may be a PIN: the command is told that nobody knows; the telephone heard them once.

    However long it takes until there is a gateway again. That nobody took them would be untrue.
    """
    first = await line.start_ready_gateway()
    alice, bob = await two(line)
    call = await line.connect(alice, bob)
    await talking(alice, bob)
    assert await first.terminate() == 0
    dying = await struck(line, "before_it_is_reported")
    asked = await line.command(call, "dial", digits="42#")
    await asyncio.wait_for(dying.process.wait(), 20)
    # Longer than it may take until somebody takes an action.
    await asyncio.sleep(away_seconds)
    await line.start_ready_gateway()
    answer = await line.calls.answer(asked)
    assert answer.content["status"] == 504
    assert "42#" not in str(answer.body)
    await line.done(call, "hold")
    assert bob.digits() == "42#"
    await line.done(call, "disconnect")


async def test_a_standby_waits_until_the_first_is_gone_and_says_that_it_does(
    line: Exchange,
) -> None:
    """Live, and not ready; it takes nothing, and it steals no events."""
    first = await line.start_ready_gateway()
    second = await line.start_gateway()
    for _ in range(100):
        problems = await second.until_ready(ready=False)
        if "another process has the gateway's queue" in str(problems):
            break
        await asyncio.sleep(0.1)
    assert problems == ["standing by: another process has the gateway's queue"]
    assert (await second.get("/live"))[0] == 200
    alice, bob = await two(line)
    call = await line.connect(alice, bob)
    assert await first.until_ready(ready=True) == []
    assert await first.terminate() == 0
    await second.until_ready(ready=True)
    await line.done(call, "disconnect")


async def test_a_comparison_that_fails_costs_no_event(line: Exchange) -> None:
    """Asterisk is slow to list what it has; the connection to it stays, and calls go on."""
    gateway = await struck(line, "comparisons_fail")
    await eventually(lambda: gateway.log.read_text().count("not compared") > 1, "they fail")
    await line.done(await line.connect(*await two(line)), "disconnect")
    assert not gateway.logged("not available")
    assert await gateway.metric("call_control_gateway_connected") == 1
