"""A gateway that is gone, and another one that finds its calls on Asterisk.

The first one is not told to stop in any way that Asterisk could notice: it just is not there.
"""

import asyncio

import pytest

from deploy.local import Asterisk
from deploy.local.asterisk import MUSIC
from deploy.local.phones import Phones
from schemas.actions import Hold, Mute, Retrieve
from schemas.reports import Answered, Done, Failed, Offered, Report, Ringing
from tests.calls.driving import (
    Driven,
    answer,
    digits,
    driven,
    originate,
    settings_of,
    simple,
    some_id,
    transfer,
)
from worker.gateways.asterisk.names import Ids, Role

wait = asyncio.to_thread


def of(gateway: Driven, request_id: str) -> list[type[Report]]:
    """Return what has been reported of a call."""
    return [type(each) for each in gateway.reports if each.request_id == request_id]


async def test_a_call_goes_on_without_its_gateway(asterisk: Asterisk, box: Phones) -> None:
    """And the next one can do with it whatever the first one could."""
    alice, bob = box.answering(tone=400), box.answering(tone=500)
    async with driven(settings_of(asterisk)) as first:
        call = await first.connected(alice, bob)
        await first.done(simple(Mute, call))
    await wait(alice.wait_tones, 500)
    async with driven(settings_of(asterisk)) as second:
        # It cannot know whether this has been said.
        await second.heard(Answered, lambda each: each.request_id == call)
        await second.done(simple(Hold, call))
        await wait(bob.wait_tones, MUSIC)
    async with driven(settings_of(asterisk)) as third:
        assert isinstance(await third.done(simple(Retrieve, call)), Done)
        await wait(alice.wait_tones, 500)
        await wait(bob.wait_tones)
        assert isinstance(await third.hang_up(call), Done)
        await third.idle()
    assert (alice.count("INVITE"), bob.count("INVITE")) == (1, 1)


async def test_an_origin_that_rang_meanwhile_is_connected(asterisk: Asterisk, box: Phones) -> None:
    """Nobody knows better than Asterisk whether the destination has been called yet."""
    alice, bob = box.answering(ring_ms=1000, tone=400), box.answering(tone=500)
    action = originate(alice, bob)
    async with driven(settings_of(asterisk)) as first:
        first.ask(action)
        await wait(alice.wait_for, "INVITE")
    await wait(alice.wait_for, "ACK")
    async with driven(settings_of(asterisk)) as second:
        assert isinstance(await second.outcome(action.action_id), Answered)
        await wait(alice.wait_tones, 500)
        second.ask(action, redelivered=True)
        await second.heard(Answered, lambda each: each.action_id == action.action_id, times=2)
        await second.hang_up(action.request_id)
        await second.idle()
    assert (alice.count("INVITE"), bob.count("INVITE")) == (1, 1)


@pytest.mark.parametrize("back_after_ms", [0, 1500])
async def test_a_destination_that_rang_meanwhile_is_connected(
    asterisk: Asterisk, box: Phones, back_after_ms: int
) -> None:
    """Whether it still rings when the next gateway comes, or has answered already."""
    alice, bob = box.answering(tone=400), box.answering(ring_ms=1000, tone=500)
    action = originate(alice, bob)
    async with driven(settings_of(asterisk)) as first:
        first.ask(action)
        await first.rings(action.request_id)
    await asyncio.sleep(back_after_ms / 1000)
    if back_after_ms:
        # Without any gateway.
        await wait(alice.wait_tones, 500)
    async with driven(settings_of(asterisk)) as second:
        assert isinstance(await second.outcome(action.action_id), Answered)
        await wait(bob.wait_tones, 400)
        await second.hang_up(action.request_id)
        await second.idle()
    assert (alice.count("INVITE"), bob.count("INVITE")) == (1, 1)


async def test_a_destination_that_refused_meanwhile_is_not_called_again(
    asterisk: Asterisk, box: Phones
) -> None:
    """What it said is lost, so the outcome is said to be unknown; and the origin is let go."""
    alice, busy = box.answering(), box.refusing(486, ring_ms=700)
    action = originate(alice, busy)
    async with driven(settings_of(asterisk)) as first:
        first.ask(action)
        await first.rings(action.request_id)
    await wait(busy.wait_for, "ACK")
    async with driven(settings_of(asterisk)) as second:
        report = await second.outcome(action.action_id)
        assert isinstance(report, Failed)
        assert report.status == 500
        await wait(alice.wait_for, "BYE")
        second.ask(action, redelivered=True)
        await second.heard(Failed, lambda each: each.action_id == action.action_id, times=2)
        await second.idle()
    assert (alice.count("INVITE"), busy.count("INVITE")) == (1, 1)


async def test_a_claim_of_which_nothing_is_left_is_not_placed_again(
    asterisk: Asterisk, box: Phones
) -> None:
    """Whoever made it may have called somebody, who has hung up; nobody is called twice."""
    busy, bob = box.refusing(486), box.answering()
    action = originate(busy, bob)
    async with driven(settings_of(asterisk)) as first:
        first.memory.away = True
        first.ask(action)
        await wait(busy.wait_for, "ACK")
    async with driven(settings_of(asterisk)) as second:
        second.ask(action, redelivered=True)
        report = await second.outcome(action.action_id)
        assert isinstance(report, Failed)
        assert (report.status, "not known" in (report.reason or "")) == (500, True)
        await second.idle()
    assert busy.count("INVITE") == 1


async def test_a_transfer_is_completed_by_the_next_one(asterisk: Asterisk, box: Phones) -> None:
    """Until then the call goes on as it was."""
    alice, bob = box.answering(tone=400), box.answering(tone=500)
    carol = box.answering(ring_ms=700, tone=600)
    async with driven(settings_of(asterisk)) as first:
        call = await first.connected(alice, bob)
        action = transfer(call, carol)
        first.ask(action)
        await wait(carol.wait_for, "INVITE")
    await wait(carol.wait_for, "ACK")
    await wait(alice.wait_tones, 500)
    async with driven(settings_of(asterisk)) as second:
        assert isinstance(await second.outcome(action.action_id), Done)
        await wait(bob.wait_for, "BYE")
        await wait(alice.wait_tones, 600)
        await second.hang_up(call)
        await second.idle()
    assert carol.count("INVITE") == 1


async def test_an_offered_call_is_offered_again_and_can_be_accepted(
    asterisk: Asterisk, box: Phones
) -> None:
    """The caller goes on ringing meanwhile, and is told of the end by the one who is there."""
    bob = box.answering(ring_ms=700, tone=500)
    carol = box.calling("+15550002", (asterisk.address, asterisk.sip_port), tone=600)
    async with driven(settings_of(asterisk)) as first:
        offered = await first.heard(Offered)
    async with driven(settings_of(asterisk)) as second:
        assert (await second.heard(Offered)).request_id == offered.request_id
        action = answer(offered, bob)
        second.ask(action)
        await wait(bob.wait_for, "INVITE")
    async with driven(settings_of(asterisk)) as third:
        assert isinstance(await third.outcome(action.action_id), Answered)
        await wait(carol.wait_tones, 500)
        carol.kill()
        await third.hang_up(offered.request_id)
        await third.idle()
    assert bob.count("INVITE") == 1


async def test_two_that_both_believe_to_be_the_one_place_one_call(
    asterisk: Asterisk, box: Phones
) -> None:
    """For a moment that can be: one was paused, and finds out later that another took over."""
    alice, bob = box.answering(ring_ms=700, tone=400), box.answering(ring_ms=300, tone=500)
    action = originate(alice, bob)
    async with driven(settings_of(asterisk)) as first:
        first.ask(action)
        await wait(alice.wait_for, "INVITE")
        async with driven(settings_of(asterisk)) as second:
            await wait(alice.wait_for, "ACK")
            await first.calls.compare()
            assert isinstance(await second.outcome(action.action_id), Answered)
            await first.calls.compare()
            await wait(alice.wait_tones, 500)
            await wait(bob.wait_tones, 400)
            await second.hang_up(action.request_id)
            await second.idle()
    assert (alice.count("INVITE"), bob.count("INVITE")) == (1, 1)


async def test_events_that_are_missed_are_made_up_for(asterisk: Asterisk, box: Phones) -> None:
    """The connection to Asterisk was cut for a while, and the gateway lived on."""
    alice, bob = box.answering(ring_ms=300, tone=400), box.answering(ring_ms=700, tone=500)
    carol, dave = box.answering(), box.answering(hang_up_ms=800)
    async with driven(settings_of(asterisk), listens=False) as gateway:
        async with gateway.listening():
            over = await gateway.connected(carol, dave)
            action = originate(alice, bob)
            gateway.ask(action)
            await wait(alice.wait_for, "INVITE")
        await wait(alice.wait_for, "ACK")
        await wait(carol.wait_for, "ACK")
        await wait(dave.wait_for, "BYE")
        async with gateway.listening():
            await gateway.calls.compare()
            assert (await gateway.ended(over))[0] == 200
            assert isinstance(await gateway.outcome(action.action_id), Answered)
            await wait(alice.wait_tones, 500)
            assert of(gateway, action.request_id) == [Ringing, Answered]
            await gateway.hang_up(action.request_id)
            await gateway.idle()
    assert bob.count("INVITE") == 1


async def test_a_leg_that_nobody_knows_is_hung_up(asterisk: Asterisk, box: Phones) -> None:
    """Left by somebody who died between making it and anything else; others' are left alone."""
    alice, bob = box.answering(), box.answering()
    settings = settings_of(asterisk)
    others = settings_of(asterisk, application="others")
    async with driven(others) as other:
        call = await other.connected(alice, bob)
        async with driven(settings, listens=False) as gateway:
            stray = Ids(settings.application).leg(some_id(), some_id(), Role.ORIGIN)
            async with gateway.ari.events():
                await gateway.ari.make_leg(stray, alice.endpoint("+15550009"), None, {})
            assert stray in await channels(gateway)
            async with gateway.listening():
                await gateway.calls.compare()
                while stray in await channels(gateway):  # noqa: ASYNC110 - Asterisk says it only when asked
                    await asyncio.sleep(0.05)
                assert len(await channels(gateway)) == 2
        await other.hang_up(call)
        await other.idle()


async def channels(gateway: Driven) -> list[str]:
    """Return the ids of all channels."""
    return [channel.id for channel in await gateway.ari.channels()]


async def test_reports_wait_for_rabbitmq_and_the_call_goes_on(
    asterisk: Asterisk, box: Phones
) -> None:
    """What has happened meanwhile is said in its order afterwards."""
    alice, bob = box.answering(ring_ms=200, tone=400), box.answering(ring_ms=200, tone=500)
    async with driven(settings_of(asterisk)) as gateway:
        action = originate(alice, bob)
        gateway.ask(action)
        gateway.memory.away = True
        await wait(alice.wait_tones, 500)
        assert of(gateway, action.request_id) == []
        gateway.memory.away = False
        gateway.reporter.connect(gateway.memory)
        await gateway.outcome(action.action_id)
        assert of(gateway, action.request_id) == [Ringing, Answered]
        assert isinstance(await gateway.done(digits(action.request_id, "1")), Done)
        await gateway.hang_up(action.request_id)
        await gateway.idle()
