"""An Asterisk that is gone: killed, started anew, or silent."""

import asyncio
from collections.abc import Iterator

import pytest

from deploy.local import Asterisk, asterisk_server
from deploy.local.phones import Phones
from schemas.actions import HangUp, Hold
from schemas.reports import Answered, Ended, Failed, Offered
from tests.calls.driving import answer, digits, driven, originate, settings_of, simple, transfer
from worker.errors import AsteriskUnavailable

wait = asyncio.to_thread


@pytest.fixture
def own(asterisk: Asterisk) -> Iterator[Asterisk]:
    """An Asterisk to be disturbed."""
    del asterisk
    with asterisk_server() as started:
        yield started


async def test_every_call_ends_with_its_asterisk(own: Asterisk, box: Phones) -> None:
    """And what was under way fails; all of them say why."""
    alice, bob, nobody = box.answering(), box.answering(), box.ringing()
    async with driven(settings_of(own), listens=False) as gateway:
        async with gateway.listening():
            await gateway.calls.compare()
            connected = await gateway.connected(alice, bob)
            transferred = await gateway.connected(alice, bob)
            transferring = gateway.ask(transfer(transferred, nobody))
            await wait(nobody.wait_for, "INVITE")
            ringing = originate(alice, nobody)
            gateway.ask(ringing)
            await gateway.rings(ringing.request_id)
        own.kill()
        with pytest.raises(AsteriskUnavailable):
            await gateway.calls.compare()
        own.start()
        async with gateway.listening():
            await gateway.calls.compare()
            why = 503, "Service Unavailable: Asterisk was restarted"
            assert await gateway.ended(connected) == why
            assert await gateway.ended(transferred) == why
            for action in (ringing.action_id, transferring):
                report = await gateway.outcome(action)
                assert isinstance(report, Failed)
                assert (report.status, report.reason) == why
            # A call that never was has not ended.
            ended = [each.request_id for each in gateway.reports if isinstance(each, Ended)]
            assert sorted(ended) == sorted([connected, transferred])
            await gateway.idle()
            # And the next one is an ordinary one.
            await gateway.hang_up(await gateway.connected(box.answering(), box.answering()))


async def test_a_call_that_comes_in_while_asterisk_is_found_to_be_new_goes_on(
    own: Asterisk, box: Phones
) -> None:
    """Its events come before the comparison with what there is."""
    bob = box.answering(tone=500)
    async with driven(settings_of(own), listens=False) as gateway:
        async with gateway.listening():
            await gateway.calls.compare()
        own.kill()
        own.start()
        async with gateway.listening():
            carol = box.calling("+15550002", (own.address, own.sip_port), tone=600)
            offered = await gateway.heard(Offered)
            await gateway.calls.compare()
            assert isinstance(await gateway.done(answer(offered, bob)), Answered)
            await wait(carol.wait_tones, 500)
            await gateway.hang_up(offered.request_id)
            assert not any(isinstance(each, Ended) for each in gateway.reports)
            await gateway.idle()


async def test_what_is_asked_of_a_silent_asterisk_fails(own: Asterisk, box: Phones) -> None:
    """Whoever waits is told in time, and that nobody knows of the digits."""
    alice, bob = box.answering(tone=400), box.answering(tone=500)
    async with driven(settings_of(own, request_seconds=1)) as gateway:
        call = await gateway.connected(alice, bob)
        own.pause()
        assert (await gateway.failure(simple(Hold, call)))[0] == 503
        status, reason = await gateway.failure(digits(call, "4711"))
        assert (status, "not known" in reason, "4711" in reason) == (500, True, False)
        assert (await gateway.failure(simple(HangUp, call)))[0] == 503
        assert (await gateway.failure(originate(alice, bob)))[0] == 503
        own.resume()
        await gateway.calls.compare()
        report = await gateway.hang_up(call)
        assert report.status == 200
        await gateway.idle()
        assert alice.count("INVITE") == bob.count("INVITE") == 1
