"""Calls that come in: offered, and then accepted, rejected, redirected, or given up."""

import asyncio

import pytest

from deploy.local import Asterisk
from deploy.local.phones import Phone, Phones
from schemas.actions import Hold, Retrieve
from schemas.reports import Answered, Done, Offered
from tests.calls.driving import (
    Driven,
    answer,
    driven,
    redirect,
    reject,
    settings_of,
    simple,
    transfer,
)
from worker.gateways.asterisk.causes import REJECTIONS

wait = asyncio.to_thread

NUMBER, CALLER = "+15550002", "+15559999"


def caller(box: Phones, asterisk: Asterisk, give_up_ms: int | None = None) -> Phone:
    """Return a phone that calls."""
    through = (asterisk.address, asterisk.sip_port)
    if give_up_ms is None:
        return box.calling(NUMBER, through, caller=CALLER, tone=600)
    return box.calling(NUMBER, through, caller=CALLER, give_up_ms=give_up_ms)


async def test_a_call_is_offered_with_both_addresses_and_rings(
    gateway: Driven, box: Phones, asterisk: Asterisk
) -> None:
    """And it is not answered before somebody is there."""
    carol = caller(box, asterisk)
    offered = await gateway.heard(Offered)
    assert (offered.origin, offered.destination) == (f"tel:{CALLER}", f"tel:{NUMBER}")
    assert offered.request_id.startswith("gateway-")
    await wait(carol.wait_for, 180)
    assert carol.found(200) == []
    await gateway.hang_up(offered.request_id)
    await wait(carol.wait_for, 603)


async def test_an_accepted_call_is_answered_when_its_destination_has(
    gateway: Driven, box: Phones, asterisk: Asterisk
) -> None:
    """The caller pays from then on. All that can be done to a call can be done to this one."""
    bob, dave = box.answering(ring_ms=700, tone=500), box.answering(tone=800)
    carol = caller(box, asterisk)
    offered = await gateway.heard(Offered)
    action = answer(offered, bob)
    gateway.ask(action)
    await wait(bob.wait_for, "INVITE")
    assert CALLER in bob.found("INVITE")[0].header("From")
    assert carol.found(200) == []
    assert isinstance(await gateway.outcome(action.action_id), Answered)
    await wait(carol.wait_tones, 500)
    await wait(bob.wait_tones, 600)
    call = offered.request_id
    assert isinstance(await gateway.done(simple(Hold, call)), Done)
    assert isinstance(await gateway.done(simple(Retrieve, call)), Done)
    assert isinstance(await gateway.done(transfer(call, dave)), Done)
    await wait(carol.wait_tones, 800)
    await gateway.hang_up(call)
    await wait(carol.wait_for, "BYE")


async def test_a_destination_that_refuses_leaves_the_call_offered(
    gateway: Driven, box: Phones, asterisk: Asterisk
) -> None:
    """So it can be redirected to somebody else."""
    busy, bob = box.refusing(486), box.answering(tone=500)
    carol = caller(box, asterisk)
    offered = await gateway.heard(Offered)
    assert (await gateway.failure(answer(offered, busy)))[0] == 486
    assert (await gateway.failure(redirect(offered, busy)))[0] == 486
    assert isinstance(await gateway.done(redirect(offered, bob)), Answered)
    await wait(carol.wait_tones, 500)
    await gateway.hang_up(offered.request_id)


@pytest.mark.parametrize("status", REJECTIONS)
async def test_a_rejected_caller_is_told_the_status_that_is_set(
    asterisk: Asterisk, box: Phones, status: int
) -> None:
    """Networks treat busy and declined calls differently."""
    async with driven(settings_of(asterisk, reject_status=status)) as gateway:
        carol = caller(box, asterisk)
        offered = await gateway.heard(Offered)
        assert isinstance(await gateway.done(reject(offered)), Done)
        await wait(carol.wait_for, status)
        await gateway.idle()
        assert isinstance(await gateway.done(reject(offered), redelivered=True), Done)


async def test_a_caller_who_gives_up_ends_the_call(
    gateway: Driven, box: Phones, asterisk: Asterisk
) -> None:
    """Whether somebody's phone rings for it already or not."""
    caller(box, asterisk, give_up_ms=500)
    offered = await gateway.heard(Offered)
    assert await gateway.ended(offered.request_id) == (487, "Request Terminated")
    assert (await gateway.failure(answer(offered, box.answering())))[0] == 481

    nobody = box.ringing()
    caller(box, asterisk, give_up_ms=1000)
    offered = await gateway.heard(Offered, times=2)
    gateway.ask(answer(offered, nobody))
    assert (await gateway.ended(offered.request_id))[0] == 487
    await wait(nobody.wait_for, "CANCEL")


async def test_accepting_a_call_that_is_not_there_fails(gateway: Driven, box: Phones) -> None:
    """The network has the last word on what is there."""
    invented = Offered(request_id="invented", origin="tel:+15550009", destination="tel:+15550008")
    bob = box.answering()
    assert (await gateway.failure(answer(invented, bob)))[0] == 481
    assert (await gateway.failure(reject(invented)))[0] == 481
    assert bob.count("INVITE") == 0
