"""``make demo-calls`` plays the documented conversation on telephones, and leaves nothing."""

import asyncio
import os
import sys

import pytest
from redis.asyncio import Redis

from deploy.demo_calls.ladder import COLUMNS
from deploy.demo_calls.scenario import SCENES
from deploy.local import Services
from tests.harness import ROOT
from worker.settings import PREFIX

#: Seconds for all of it; it takes less than twenty.
DEMO_SECONDS = 150.0

ACTS = [act for scene in SCENES for act in scene.acts]


@pytest.mark.timeout(DEMO_SECONDS + 30)
async def test_the_demo_shows_commands_events_and_sip_messages_and_all_is_as_documented(
    services: Services,
) -> None:
    """Exit code 0, a line for each message, what is heard after each step, and no digits."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    addresses = {
        f"{PREFIX}AMQP_URL": services.amqp_url,
        f"{PREFIX}REDIS_URL": services.redis_url,
    }
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.demo_calls"),
        cwd=ROOT,
        env=known | addresses,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(demo.communicate(), DEMO_SECONDS)
    finally:
        if demo.returncode is None:
            demo.terminate()
            await demo.wait()
    shown = output.decode()
    assert demo.returncode == 0, shown + errors.decode()
    assert f"all {len(ACTS)} steps were as documented" in shown
    assert shown.count("✓") == len(ACTS)
    for each in ("INVITE", "180 Ringing", "200 OK", "ACK", "BYE", "486 Busy Here", "603 Decline"):
        assert each in shown
    for act in ACTS:
        verbs = {act.step.body.get(key) for key in ("call_control", "call-control")} - {None}
        assert all(f" {verb} " in shown for verb in verbs)
        for step in (*act.before, act.step):
            assert f"{step.event} {step.status}" in shown
    assert "A hears nothing, B hears music" in shown
    assert "6 digits have arrived at B" in shown
    assert "12345" not in shown
    assert max(map(len, shown.splitlines())) <= max(COLUMNS.values()) + 2

    async with Redis.from_url(services.redis_url) as redis:
        assert [key async for key in redis.scan_iter("demo-calls-*")] == []
    if services.rabbitmq is not None:
        queues = await asyncio.to_thread(services.rabbitmq.ctl, "list_queues", "name")
        assert "demo-calls-" not in queues
