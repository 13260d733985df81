"""Placed calls: both parties are called and connected, or the failure says why."""

import asyncio

import pytest

from deploy.local.phones import Phones
from schemas.actions import HangUp
from schemas.reports import Answered, Done, Ended, Ringing
from tests.calls.driving import Driven, originate, simple, some_id

wait = asyncio.to_thread


async def test_both_parties_hear_each_other(gateway: Driven, box: Phones) -> None:
    """`answered` means that: not that somebody picked up."""
    alice, bob = box.answering(ring_ms=100, tone=400), box.answering(ring_ms=100, tone=500)
    request_id = await gateway.connected(alice, bob)
    await wait(alice.wait_tones, 500)
    await wait(bob.wait_tones, 400)
    assert [type(report) for report in gateway.reports] == [Ringing, Answered]
    assert isinstance(await gateway.hang_up(request_id), Done)
    await wait(alice.wait_for, "BYE")
    await wait(bob.wait_for, "BYE")


async def test_each_party_is_shown_the_other_one(gateway: Driven, box: Phones) -> None:
    """A phone that rings says who calls, be it the caller's own."""
    alice, bob = box.answering(), box.answering()
    report = await gateway.done(
        originate(
            alice.endpoint("+15550001").removeprefix("PJSIP/trunk/"),
            bob.endpoint("+15550002").removeprefix("PJSIP/trunk/"),
            call := some_id(),
        )
    )
    assert isinstance(report, Answered)
    assert "+15550002" in str(alice.found("INVITE")[0].header("From"))
    assert "+15550001" in str(bob.found("INVITE")[0].header("From"))
    await gateway.hang_up(call)


async def test_the_destination_is_not_called_before_the_origin_has_answered(
    gateway: Driven, box: Phones
) -> None:
    """Nobody picks up and hears nothing."""
    alice, bob = box.ringing(), box.answering()
    gateway.ask(originate(alice, bob, call := some_id()))
    await wait(alice.wait_for, "INVITE")
    await asyncio.sleep(0.5)
    assert bob.count("INVITE") == 0
    assert gateway.reports == []
    await gateway.hang_up(call)
    await wait(alice.wait_for, "CANCEL")


@pytest.mark.parametrize("code", [486, 603, 404, 480, 503, 403])
async def test_a_refusal_is_reported_with_its_status(
    gateway: Driven, box: Phones, code: int
) -> None:
    """Whichever party refuses, in SIP's own numbers; the other one is let go."""
    alice, refusing = box.answering(), box.refusing(code)
    assert (await gateway.failure(originate(alice, refusing)))[0] == code
    await wait(alice.wait_for, "BYE")
    assert (await gateway.failure(originate(refusing, alice)))[0] == code
    assert alice.count("INVITE") == 1


async def test_who_does_not_answer_in_time_is_temporarily_unavailable(
    gateway: Driven, box: Phones
) -> None:
    """The time counts for both parties together: the worker waits no longer."""
    alice, nobody = box.answering(ring_ms=1000), box.ringing()
    assert (await gateway.failure(originate(alice, nobody, seconds=2)))[0] == 480
    await wait(nobody.wait_for, "CANCEL")
    await wait(alice.wait_for, "BYE")


async def test_who_cannot_be_reached_is_a_timeout(gateway: Driven, box: Phones) -> None:
    """One that rang and one that is not there are different things."""
    alice, gone = box.answering(), box.answering()
    gone.kill()
    assert (await gateway.failure(originate(alice, gone, seconds=2)))[0] == 408
    assert (await gateway.failure(originate(alice, gone)))[0] == 408


async def test_an_address_that_cannot_be_dialled_calls_nobody(gateway: Driven, box: Phones) -> None:
    """The origin's phone must not ring for a destination that nobody can call."""
    alice = box.answering()
    unreachable = "sip:bob@[::1]:5060"
    status, reason = await gateway.failure(originate(alice, unreachable))
    assert status == 404
    assert "::1" not in reason
    assert alice.count("INVITE") == 0


async def test_an_origin_that_hangs_up_early_ends_the_call(gateway: Driven, box: Phones) -> None:
    """The destination's phone stops to ring."""
    alice, nobody = box.answering(hang_up_ms=500), box.ringing()
    assert (await gateway.failure(originate(alice, nobody)))[0] == 487
    await wait(nobody.wait_for, "CANCEL")


async def test_hanging_up_wins_whatever_rings(gateway: Driven, box: Phones) -> None:
    """And the action that it overtakes has no report of its own: the worker has answered it."""
    alice, nobody = box.answering(), box.ringing()
    gateway.ask(originate(alice, nobody, call := some_id()))
    await gateway.rings(call)
    assert isinstance(await gateway.hang_up(call), Done)
    await wait(nobody.wait_for, "CANCEL")
    await wait(alice.wait_for, "BYE")
    assert [type(report) for report in gateway.reports] == [Ringing, Done]


async def test_hanging_up_wins_at_once(gateway: Driven, box: Phones) -> None:
    """Right behind the action that it overtakes."""
    alice, bob = box.answering(ring_ms=500), box.answering()
    gateway.ask(originate(alice, bob, call := some_id()))
    assert isinstance(await gateway.hang_up(call), Done)
    await gateway.idle()
    assert bob.count("INVITE") == 0


async def test_a_call_that_is_not_there_is_hung_up_all_the_same(gateway: Driven) -> None:
    """Whoever wants a call to be over has what they want."""
    assert isinstance(await gateway.done(simple(HangUp, "nobody's")), Done)


async def test_whoever_hangs_up_ends_the_call_for_both(gateway: Driven, box: Phones) -> None:
    """And it is reported once, with the cause."""
    alice, bob = box.answering(), box.answering(hang_up_ms=500)
    call = await gateway.connected(alice, bob)
    assert await gateway.ended(call) == (200, "OK")
    await wait(alice.wait_for, "BYE")
    await gateway.idle()
    assert [type(report) for report in gateway.reports] == [Answered, Ended]

    carol = box.answering(hang_up_ms=500)
    dave = box.answering()
    call = await gateway.connected(carol, dave)
    assert await gateway.ended(call) == (200, "OK")
    await wait(dave.wait_for, "BYE")


async def test_a_copy_of_an_action_is_answered_and_places_no_second_call(
    gateway: Driven, box: Phones
) -> None:
    """Copies come when a worker or a connection dies at the wrong moment."""
    alice, bob = box.answering(), box.answering(ring_ms=500)
    action = originate(alice, bob)
    gateway.ask(action)
    gateway.ask(action, redelivered=True)
    assert isinstance(await gateway.outcome(action.action_id), Answered)
    gateway.ask(action, redelivered=True)
    await gateway.heard(Answered, times=2)
    assert (alice.count("INVITE"), bob.count("INVITE")) == (1, 1)
    assert gateway.memory.settled == [action.action_id] * 3
    await gateway.hang_up(action.request_id)


async def test_a_new_attempt_clears_away_what_is_left_of_the_last_one(
    gateway: Driven, box: Phones
) -> None:
    """The worker has given that up already, so it is not reported."""
    alice, nobody, bob = box.answering(), box.ringing(), box.answering()
    gateway.ask(originate(alice, nobody, call := some_id()))
    await gateway.rings(call)
    assert isinstance(await gateway.done(originate(alice, bob, call)), Answered)
    await wait(nobody.wait_for, "CANCEL")
    assert [type(report) for report in gateway.reports] == [Ringing, Answered]
    await gateway.hang_up(call)
