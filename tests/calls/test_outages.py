"""Real calls while what the gateway needs is away: Asterisk, the connection to it, RabbitMQ."""

from typing import Any
from urllib.parse import urlsplit

from deploy.local.asterisk import MUSIC
from deploy.local.telephony import asterisk_server
from tests.calls.exchange import (
    Exchange,
    address_of,
    calling,
    new_call,
    off_loop,
    talking,
    two,
)
from tests.chaos.proxy import Proxy
from tests.harness import eventually
from worker.store import close, connect


async def test_an_asterisk_that_is_restarted_ends_all_its_calls(line: Exchange) -> None:
    """Each says why; in Redis none is left alive; and new ones are placed."""
    await line.start_ready_gateway()
    alice, bob = await two(line)
    calls = [await line.connect(alice, bob) for _ in range(3)]
    held = await line.connect(alice, bob)
    await line.done(held, "hold")
    caller = await off_loop(calling, line)
    offered = (await line.offer(caller)).request_id
    nobody = await off_loop(line.phones.ringing)
    ringing = new_call()
    parties = {"origin": address_of(alice, "+1"), "destination": address_of(nobody, "+2")}
    asked = await line.command(ringing, "call", **parties)
    await line.seen(ringing, "call_ringing")
    await off_loop(line.asterisk.kill)
    await off_loop(line.asterisk.start)
    for call in (*calls, held, offered):
        ended = await line.seen(call, "call_terminated")
        assert (ended.content["status"], ended.headers["terminal"]) == (503, True)
        assert "Asterisk was restarted" in ended.content["reason"]
    assert (await line.calls.answer(asked)).content["status"] == 503
    assert await living(line) == set()
    await line.done(await line.connect(*await two(line)), "disconnect")


async def test_a_gateway_that_comes_after_asterisk_was_restarted_ends_its_calls_too(
    line: Exchange,
) -> None:
    """It never saw them: the journal tells it which there were."""
    first = await line.start_ready_gateway()
    alice, bob = await two(line)
    calls = [await line.connect(alice, bob) for _ in range(2)]
    over = await line.connect(alice, bob)
    await line.done(over, "disconnect")
    await first.kill()
    await off_loop(line.asterisk.kill)
    await off_loop(line.asterisk.start)
    await line.start_ready_gateway()
    for call in calls:
        ended = await line.seen(call, "call_terminated")
        assert ended.content["status"] == 503
    assert len(line.of(over, "call_terminated")) == 1
    assert await living(line) == set()


async def living(line: Exchange) -> set[str]:
    """Return the calls that Redis has as going on."""
    calls = line.calls
    redis: Any = connect(calls.services.redis_url)
    found = set()
    try:
        prefix = calls.names.call_prefix
        async for key in redis.scan_iter(f"{prefix}*", count=1000):
            state: Any = await redis.hget(key, "state")
            if state and state.split()[0] not in {b"ended", b"absent"}:
                found.add(key.decode().removeprefix(prefix))
    finally:
        await close(redis)
    return found


async def test_a_connection_to_asterisk_that_is_cut_costs_no_event(line: Exchange) -> None:
    """What happened meanwhile is told when it is back; the calls go on."""
    url = urlsplit(line.asterisk.ari_url)
    proxy = Proxy("127.0.0.1", url.port or 0)
    await proxy.start()
    try:
        gateway = await line.start_ready_gateway(asterisk_url=f"http://127.0.0.1:{proxy.port}")
        alice, bob = await two(line)
        stays = await line.connect(alice, bob)
        carol = await off_loop(line.phones.answering, tone=600)
        dave = await off_loop(line.phones.answering, hang_up_ms=1500, tone=700)
        goes = await line.connect(carol, dave)
        eve, frank = await two(line, ring_ms=1000)
        ringing = new_call()
        parties = {"origin": address_of(eve, "+1"), "destination": address_of(frank, "+2")}
        asked = await line.command(ringing, "call", **parties)
        await line.seen(ringing, "call_ringing")
        async with proxy.cut():
            await off_loop(dave.wait_for, "BYE", sent=True)
            await off_loop(frank.wait_for, 200)
            await talking(alice, bob)
        await line.seen(goes, "call_terminated")
        assert (await line.calls.answer(asked)).content["status"] == 200
        await talking(eve, frank)
        await line.done(stays, "hold")
        for call in (stays, ringing):
            await line.done(call, "disconnect")
        assert gateway.process.returncode is None
        assert [phone.count("INVITE") for phone in (alice, bob, eve, frank)] == [1] * 4
    finally:
        await proxy.close()


async def test_rabbitmq_restarted_in_mid_call_leaves_them_talking_and_commands_waiting(
    line: Exchange,
) -> None:
    """Audio goes on; a hang-up meanwhile is told afterwards, and commands are done."""
    rabbitmq = line.calls.services.rabbitmq
    assert rabbitmq is not None
    await line.start_ready_gateway()
    alice, bob = await two(line)
    call = await line.connect(alice, bob)
    carol = await off_loop(line.phones.answering, tone=600)
    dave = await off_loop(line.phones.answering, hang_up_ms=2000, tone=700)
    goes = await line.connect(carol, dave)
    await off_loop(rabbitmq.stop)
    await off_loop(dave.wait_for, "BYE", sent=True)
    await talking(alice, bob)
    await off_loop(rabbitmq.start)
    await line.reconnect()
    await line.seen(goes, "call_terminated")
    await line.done(call, "hold")
    await off_loop(bob.wait_tones, MUSIC)
    await line.done(call, "disconnect")
    assert (alice.count("INVITE"), bob.count("INVITE")) == (1, 1)


async def test_a_gateway_without_its_asterisk_takes_nothing(line: Exchange) -> None:
    """What it is asked is answered 503, and done when Asterisk is back."""
    await line.start_ready_gateway(asterisk_patience_seconds=0.5)
    alice, bob = await two(line)
    await off_loop(line.asterisk.kill)
    parties = {"origin": address_of(alice, "+1"), "destination": address_of(bob, "+2")}
    try:
        await eventually(lambda: line.gateways[-1].logged("gateway's queue left"), "it lets go")
        failed = await line.ask(new_call(), "call", **parties)
        assert failed.content["status"] == 503
    finally:
        await off_loop(line.asterisk.start)
    await line.gateways[-1].until_ready(ready=True)
    await line.done(await line.connect(alice, bob), "disconnect")


async def test_two_asterisks_share_the_calls_and_each_keeps_its_own(line: Exchange) -> None:
    """A call stays on the server that has it; when one dies, the other's calls go on."""
    with asterisk_server() as other:
        await line.start_ready_gateway()
        await line.start_ready_gateway(
            asterisk_name="pbx-2",
            asterisk_url=other.ari_url,
            asterisk_password=other.ari_password,
        )
        alice, bob = await two(line)
        where: dict[str, list[str]] = {"pbx-1": [], "pbx-2": []}
        for _ in range(30):
            if all(where.values()):
                break
            call = await line.connect(alice, bob)
            where[line.of(call)[-1].headers["gateway"]].append(call)
        held = {call: await line.done(call, "hold") for calls in where.values() for call in calls}
        for name, calls in where.items():
            assert {held[call].headers["gateway"] for call in calls} == {name}
        await off_loop(other.kill)
        await off_loop(other.start)
        for call in where["pbx-2"]:
            assert (await line.seen(call, "call_terminated")).content["status"] == 503
        for call in where["pbx-1"]:
            await line.done(call, "retrieve")
            await line.done(call, "disconnect")
