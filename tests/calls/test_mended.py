"""What Asterisk did not answer, or did half, at moments that no telephone can choose."""

import asyncio
from itertools import count

import pytest

from deploy.local import Asterisk
from deploy.local.phones import Phones
from schemas.actions import Hold
from schemas.reports import Answered, Done, Failed, Offered
from tests.calls.driving import (
    Driven,
    answer,
    digits,
    driven,
    originate,
    settings_of,
    simple,
    transfer,
)
from worker.errors import AsteriskUnavailable, BrokerUnavailable
from worker.gateways.asterisk import ringing
from worker.gateways.asterisk.context import Asked

wait = asyncio.to_thread


async def test_a_transfer_whose_target_is_gone_at_once_leaves_the_call_as_it_was(
    gateway: Driven, box: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answered and hung up while the origin was on its way to it."""
    alice, bob = box.answering(tone=400), box.answering(tone=500)
    carol = box.answering(hang_up_ms=200)
    call = await gateway.connected(alice, bob)
    add, moved = gateway.ari.add, list[str]()

    async def late(bridge: str, channel: str) -> None:
        if moved and channel not in moved:
            # The target was first; this is the origin.
            await wait(carol.wait_for, "BYE", sent=True)
            await asyncio.sleep(0.3)
        moved.append(channel)
        await add(bridge, channel)

    monkeypatch.setattr(gateway.ari, "add", late)
    assert isinstance(await gateway.outcome(gateway.ask(transfer(call, carol))), Failed)
    assert len(set(moved)) == 2
    await wait(alice.wait_tones, 500)
    await wait(bob.wait_tones, 400)
    await gateway.hang_up(call)


async def test_parties_that_are_found_apart_are_connected_again(
    gateway: Driven, box: Phones
) -> None:
    """Whichever of the two is outside."""
    alice, bob = box.answering(tone=400), box.answering(tone=500)
    call = await gateway.connected(alice, bob)
    (bridge,) = [each for each in await gateway.ari.bridges() if each.channels]
    for channel in bridge.channels:
        assert await gateway.ari.take_out(bridge.id, channel)
        await wait(alice.wait_tones)
        await gateway.calls.compare()
        await wait(alice.wait_tones, 500)
        await wait(bob.wait_tones, 400)
    await gateway.hang_up(call)


def losing(gateway: Driven, monkeypatch: pytest.MonkeyPatch, *, nth: int, dialled: bool) -> None:
    """Let one request to dial have no answer, whether Asterisk has done it or not."""
    dial, dials = gateway.ari.dial, count(1)

    async def lost(leg: str, called_by: str | None, ring_seconds: int) -> None:
        is_lost = next(dials) == nth
        if dialled or not is_lost:
            await dial(leg, called_by, ring_seconds)
        if is_lost:
            raise AsteriskUnavailable("Asterisk: no answer")

    monkeypatch.setattr(gateway.ari, "dial", lost)
    monkeypatch.setattr(ringing, "SILENT_SECONDS", 1.0)


async def test_a_telephone_of_which_nobody_knows_whether_it_was_called_is_not_waited_for_long(
    gateway: Driven, box: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever called hears nothing until then; and the outcome is not that it rang."""
    alice, bob = box.answering(), box.answering()
    losing(gateway, monkeypatch, nth=2, dialled=False)
    status, reason = await gateway.failure(originate(alice, bob))
    assert (status, "not known" in reason) == (500, True)
    await wait(alice.wait_for, "BYE")
    assert bob.count("INVITE") == 0


async def test_a_caller_does_not_wait_long_for_it_either(
    gateway: Driven, box: Phones, asterisk: Asterisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the caller's own channel is there says nothing of the one that was called."""
    bob = box.answering()
    losing(gateway, monkeypatch, nth=1, dialled=False)
    box.calling("+15550002", (asterisk.address, asterisk.sip_port))
    offered = await gateway.heard(Offered)
    action = answer(offered, bob)
    gateway.ask(action)
    await asyncio.sleep(0.3)
    await gateway.calls.compare()
    report = await gateway.outcome(action.action_id)
    assert isinstance(report, Failed)
    assert (report.status, "not known" in (report.reason or "")) == (500, True)
    assert bob.count("INVITE") == 0
    await gateway.hang_up(offered.request_id)


async def test_a_telephone_that_rings_all_the_same_is_waited_for(
    gateway: Driven, box: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the answer to the request was lost."""
    alice, bob = box.answering(), box.answering(ring_ms=2500)
    losing(gateway, monkeypatch, nth=2, dialled=True)
    report = await gateway.done(originate(alice, bob))
    assert isinstance(report, Answered)
    await gateway.hang_up(report.request_id)


async def test_a_caller_who_is_found_hears_that_it_rings(
    asterisk: Asterisk, box: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was there before came no further than to offer the call."""

    async def gone(_: str) -> None:
        raise AsteriskUnavailable("Asterisk: no answer")

    bob = box.answering()
    carol = box.calling("+15550002", (asterisk.address, asterisk.sip_port))
    async with driven(settings_of(asterisk)) as first:
        monkeypatch.setattr(first.ari, "ring", gone)
        offered = await first.heard(Offered)
        assert carol.found(180) == []
    async with driven(settings_of(asterisk)) as second:
        await second.heard(Offered)
        await wait(carol.wait_for, 180)
        assert isinstance(await second.done(answer(offered, bob)), Answered)
        assert isinstance(await second.hang_up(offered.request_id), Done)
        await second.idle()


async def test_digits_are_not_sent_once_rabbitmq_is_lost_and_that_is_said(
    gateway: Driven, box: Phones
) -> None:
    """Their action comes back, and must not find that it may have been done."""
    alice, bob = box.answering(), box.answering()
    call = await gateway.connected(alice, bob)
    action = digits(call, "4711")

    async def lost(*, heard: bool = False) -> None:
        del heard
        raise BrokerUnavailable("RabbitMQ: connection lost")

    gateway.calls.ask(Asked(action, redelivered=False, acknowledge=lost))
    gateway.ask(action, redelivered=True)
    again = await gateway.heard(Failed, lambda each: each.action_id == action.action_id, times=2)
    assert again == await gateway.outcome(action.action_id)
    assert (again.status, "before the digits were sent" in (again.reason or "")) == (503, True)
    assert isinstance(await gateway.done(digits(call, "1")), Done)
    await gateway.done(simple(Hold, call))
    assert bob.digits() == "1"
    await gateway.hang_up(call)
