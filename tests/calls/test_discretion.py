"""What the gateway keeps to itself, and to what it listens."""

import asyncio
import secrets

import pytest

from deploy.local import Asterisk
from tests.calls.ari import Ari, connected_to
from tests.calls.driving import driven, settings_of
from tests.calls.exchange import Exchange, new_call
from tests.harness import PATIENCE_SECONDS, eventually
from worker.gateways.asterisk import calls as calls_module
from worker.gateways.asterisk.events import KINDS
from worker.gateways.asterisk.names import Ids
from worker.gateways.asterisk.notes import bridge_name


async def test_passwords_digits_and_numbers_are_in_no_log(line: Exchange) -> None:
    """Of a gateway at level info: not when all is well, nor when it is refused."""
    gateway = await line.start_ready_gateway()
    call = new_call()
    numbers = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}
    await line.done(call, "call", **numbers)
    await line.done(call, "dial", digits="8675309")
    await line.done(call, "disconnect")
    assert await gateway.terminate() == 0
    wrong = secrets.token_urlsafe(16)
    refused = await line.start_gateway(asterisk_password=wrong)
    await eventually(lambda: "user or password" in refused.log.read_text(), "it is refused")
    logged = gateway.log.read_text() + refused.log.read_text()
    assert call in logged
    for secret in (line.asterisk.ari_password, wrong, "8675309", "8164388687", "8165057120"):
        assert secret not in logged


async def test_asterisk_sends_only_the_events_that_the_gateway_reads(asterisk: Asterisk) -> None:
    """It would send three times as many; what it says of itself tells."""
    async with driven(settings_of(asterisk)) as made:
        ari = Ari(made.ari._open, asterisk.ari_url)  # noqa: SLF001 - one's own would replace it
        (application,) = await ari("GET", "/applications")
    assert {each["type"] for each in application["events_allowed"]} == set(KINDS)


async def test_an_old_claim_that_nobody_is_in_is_removed(
    asterisk: Asterisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a young one stays: it keeps its action from being done a second time."""
    request_id, action_id = new_call(), secrets.token_hex(4)
    async with connected_to(asterisk) as ari:
        bridge = Ids("call-control").bridge(request_id, action_id)
        name = bridge_name(request_id, action_id)
        await ari("POST", f"/bridges/{bridge}", type="mixing", name=name)

        async def is_there() -> bool:
            return bridge in {each["id"] for each in await ari("GET", "/bridges")}

        async with driven(settings_of(asterisk)) as made:
            await made.calls.compare()
            assert await is_there()
            monkeypatch.setattr(calls_module, "CLAIM_SECONDS", -1.0)
            await made.calls.compare()
            # Asterisk answers before it is gone.
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await is_there():  # noqa: ASYNC110 - Asterisk says it only when asked
                    await asyncio.sleep(0.05)
