"""An Asterisk starts, is disturbed on demand, and is gone afterwards."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from deploy.local import Asterisk, NoProviderError, asterisk_server
from deploy.local.cleaning import sweep
from deploy.local.phones import Phones
from deploy.local.probes import ari_answers, sip_answers, udp_bound
from deploy.local.process import descendants, wait_until
from deploy.local.provide import FORCE
from deploy.local.session import owner, sessions
from tests.calls.ari import Ari, connected_to

wait = asyncio.to_thread

# Says where its Asterisk and its telephone are, then waits to be killed.
CHILD = """
import sys
from deploy.local import asterisk_server, telephones
with asterisk_server() as asterisk, telephones() as box:
    print(asterisk.sip_port, box.answering().port, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def own(asterisk: Asterisk) -> Iterator[Asterisk]:
    """An Asterisk to be disturbed."""
    del asterisk
    with asterisk_server() as started:
        yield started


def port_of(asterisk: Asterisk) -> int:
    """Return where its ARI is."""
    return int(asterisk.ari_url.rpartition(":")[2])


def answers(asterisk: Asterisk) -> bool:
    """Return whether its ARI answers."""
    return ari_answers(port_of(asterisk), asterisk.ari_user, asterisk.ari_password)


async def startup(ari: Ari) -> str:
    """Return since when an Asterisk runs, by its own word."""
    return str((await ari("GET", "/asterisk/info"))["status"]["startup_time"])


async def test_two_run_at_once_and_carry_calls_each(
    asterisk: Asterisk, own: Asterisk, box: Phones
) -> None:
    """Between the same telephones, which hear the other call besides."""
    one, other = box.answering(tone=400), box.answering(tone=500)
    async with connected_to(asterisk) as first, connected_to(own) as second:
        await first.connected(one, other)
        await second.connected(other, one)
        calls = one.calls
        assert len(calls) == 2
        for call in calls:
            await wait(one.wait_tones, 500, call_id=call)
        assert len(await first("GET", "/channels")) == len(await second("GET", "/channels")) == 2


async def test_nobody_gets_in_with_the_password_of_another(
    asterisk: Asterisk, own: Asterisk
) -> None:
    """Each has its own, and asks for it."""
    assert asterisk.ari_password != own.ari_password
    assert answers(own)
    assert not ari_answers(port_of(own), own.ari_user, asterisk.ari_password)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{own.ari_url}/ari/asterisk/info") as answer,
    ):
        assert answer.status == 401


async def test_a_crash_takes_the_calls_and_keeps_the_ports(own: Asterisk, box: Phones) -> None:
    """Telephones hear nothing of it, and can be called again once it is back."""
    one, other = box.answering(tone=400), box.answering(tone=500)
    before = own.ari_url, own.sip
    async with connected_to(own) as ari:
        await ari.connected(one, other)
        await wait(other.wait_tones, 400)
        since = await startup(ari)
        await wait(own.kill)
    assert not own.running
    assert not answers(own)
    await wait(other.wait_tones)
    assert not one.found("BYE")
    await wait(own.start)
    assert (own.ari_url, own.sip) == before
    async with connected_to(own) as ari:
        assert await startup(ari) != since
        assert await ari("GET", "/channels") == []
        await ari.connected(one, other)
        await wait(other.wait_tones, 400, call_id=other.calls[1])


async def test_a_clean_end_hangs_up(own: Asterisk, box: Phones) -> None:
    """Nobody is left talking to nobody."""
    phone = box.answering()
    async with connected_to(own) as ari:
        await ari.connected(phone)
        await wait(own.stop)
    assert not own.running
    await wait(phone.wait_for, "BYE")
    await wait(own.restart)
    assert answers(own)


async def test_paused_it_answers_nobody_and_resumed_it_goes_on(own: Asterisk, box: Phones) -> None:
    """The call is still there: nothing of it was lost."""
    one, other = box.answering(tone=400), box.answering(tone=500)
    async with connected_to(own) as ari:
        await ari.connected(one, other)
        await wait(other.wait_tones, 400)
        own.pause()
        assert own.running
        assert not await wait(answers, own)
        await wait(other.wait_tones)
        own.resume()
        await wait(other.wait_tones, 400)
        assert len(await ari("GET", "/channels")) == 2


def test_address_ports_and_trunk_can_be_chosen(asterisk: Asterisk) -> None:
    """So that one can be where something else is told it is."""
    del asterisk
    chosen = range(19000, 19100)
    with asterisk_server(
        address="127.0.0.5", sip_port=5070, rtp_ports=chosen, trunk="127.0.0.6:5071"
    ) as own:
        assert own.sip == ("127.0.0.5", 5070)
        assert udp_bound("127.0.0.5", 5070)
        assert sip_answers("127.0.0.5", 5070)
        said = own.ctl("rtp show settings")
        assert "19000" in said
        assert "19099" in said
        assert "sip:127.0.0.6:5071" in own.ctl("pjsip show contacts")


async def test_digits_and_passwords_are_in_no_log(own: Asterisk, box: Phones) -> None:
    """Neither is said at the levels that are kept."""
    phone = box.answering()
    async with connected_to(own) as ari:
        call = await ari.connected(phone)
        await ari("POST", f"/channels/{call.channels[0]}/dtmf", dtmf="8675309")
        await wait(phone.wait_digits, "8675309")
        levels = await wait(own.ctl, "logger show channels")
    # Lines are written by a thread of their own, all of them only once it has ended.
    await wait(own.stop)
    logged = own.log()
    # What is looked at is the end of it, from before the call on.
    assert "Creating Stasis app" in logged
    assert "Asterisk cleanly ending" in logged
    for secret in (own.ari_password, "8675309", "DTMF"):
        assert secret not in logged
    assert "VERBOSE" in levels
    assert "DTMF" not in levels


def test_without_any_provider_the_message_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither an engine, nor on PATH, nor from Debian."""
    monkeypatch.delenv(FORCE, raising=False)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    # An empty PATH has neither Asterisk nor apt-get.
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("deploy.local.runtime._SBIN", str(tmp_path))
    with pytest.raises(NoProviderError, match=r"asterisk is not on PATH.*Debian"):
        asterisk_server().__enter__()


def test_nothing_is_left_of_a_process_that_was_killed(asterisk: Asterisk) -> None:
    """Asterisk and telephone go on until the next use, which ends them by their pids."""
    del asterisk
    with subprocess.Popen(  # noqa: S603 - what these tests run
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=dict(os.environ),
        text=True,
    ) as child:
        assert child.stdout
        ports = [int(each) for each in child.stdout.readline().split()]
        assert len(ports) == 2
        started = descendants(child.pid)
        left = [each for each in sessions() if (known := owner(each)) and known.pid == child.pid]
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=10)
    assert all(udp_bound("127.0.0.1", port) for port in ports)
    sweep()
    assert wait_until(lambda: not any(each.alive for each in started), timeout=5)
    assert not any(udp_bound("127.0.0.1", port) for port in ports)
    assert len(left) == 2
    assert not any(each.exists() for each in left)
