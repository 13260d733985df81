"""``callctl`` by hand."""

import asyncio
import json
import os
import signal
import sys

import pytest

from tests.harness import ROOT, Installation
from worker.cli.exit_codes import ExitCode
from worker.settings import PREFIX


async def callctl(calls: Installation, *arguments: str, columns: int = 200) -> tuple[int, str, str]:
    """Run ``callctl``; return its exit code, its output and its errors."""
    process = await start_callctl(calls, *arguments, columns=columns)
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, output.decode(), errors.decode()


async def start_callctl(
    calls: Installation, *arguments: str, columns: int = 200
) -> asyncio.subprocess.Process:
    """Start ``callctl`` against an installation."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "worker", *arguments),
        env={**environment, **calls.environment, "PYTHONUNBUFFERED": "1", "COLUMNS": str(columns)},
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_send_publishes_a_command_and_waits_for_its_event(calls: Installation) -> None:
    """A refusal is shown like a success, and told by the exit code."""
    call = ("--origin", "tel:+18164388687", "--destination", "tel:+18165057120")
    code, output, _ = await callctl(calls, "send", "call", "123XYZ", *call, "--wait")
    assert (code, json.loads(output)["event"]) == (0, "call-connected")
    code, output, _ = await callctl(calls, "send", "retrieve", "nobody", "--wait")
    assert (code, json.loads(output)["status"]) == (1, 481)
    code, output, _ = await callctl(calls, "send", "hold", "123XYZ")
    assert code == 0
    await calls.answer_to(output.split()[-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("send", "call", "1"), "origin: missing"),
        (("send", "dial", "1", "--digits", "5X"), "digits: expected 1 to 64"),
        (("send", "transfer", "1", "--endpoint", "Bob"), "endpoint: expected a tel: URI"),
        (("offer", "--from", "Bob", "--to", "tel:+1"), "origin: expected a tel: URI"),
    ],
)
async def test_a_user_s_mistake_is_one_line_and_no_traceback(
    calls: Installation, arguments: tuple[str, ...], message: str
) -> None:
    """It names the field."""
    code, _, errors = await callctl(calls, *arguments, columns=40)
    assert code == ExitCode.USAGE
    assert errors.startswith(f"callctl: {message}")
    assert errors.count("\n") == 1


async def test_services_that_are_not_there_are_one_line_too(calls: Installation) -> None:
    """RabbitMQ and Redis alike, and no password in it."""
    calls.environment["CALL_CONTROL_AMQP_URL"] = "amqp://guest:s3cret@127.0.0.1:1/"
    calls.environment["CALL_CONTROL_REDIS_URL"] = "redis://:s3cret@127.0.0.1:1/0"
    for arguments, name in ((("send", "hold", "1"), "RabbitMQ"), (("show", "1"), "Redis")):
        code, _, errors = await callctl(calls, *arguments, columns=40)
        assert code == ExitCode.UNAVAILABLE
        assert errors.startswith(f"callctl: {name}: ")
        assert errors.count("\n") == 1
        assert "s3cret" not in errors
    calls.environment["CALL_CONTROL_AMQP_URL"] = calls.services.amqp_url


async def test_offer_plays_the_network_and_show_tells_the_call_s_history(
    calls: Installation,
) -> None:
    """An offered call, accepted, held; then its state and its records."""
    code, output, _ = await callctl(
        calls, "offer", "--from", "tel:+18166623395", "--to", "tel:+18165057120", "IN-1"
    )
    assert (code, output.split()) == (0, ["offered", "IN-1"])
    await calls.until_seen(1)
    await calls.ask("IN-1", "accept", endpoint="tel:+18166623395")
    await calls.ask("IN-1", "dial", digits="5551")
    await calls.ask("IN-1", "hold")
    code, output, _ = await callctl(calls, "show", "IN-1")
    assert code == 0
    assert "connected held incoming" in output
    events = ("call_offered", "call_accepted", "digits_dialed", "call_held")
    places = [output.index(event) for event in events]
    assert places == sorted(places)
    assert "5551" not in output


async def test_show_of_an_unknown_call_says_so(calls: Installation) -> None:
    """And its exit code is 1."""
    code, output, errors = await callctl(calls, "show", "nobody")
    assert (code, output, errors) == (1, "", "nothing is known of call nobody\n")


async def test_watch_shows_the_events_of_one_call(calls: Installation) -> None:
    """Others are not shown; phone numbers neither. Ctrl-C ends it."""
    process = await start_callctl(calls, "watch", "--call", "mine")
    assert process.stdout is not None
    reading = asyncio.create_task(process.stdout.readline())
    call = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}
    for attempt in range(100):
        await calls.ask(f"other-{attempt}", "hold")
        await calls.ask("mine", "call", **call)
        if reading.done():
            break
        await asyncio.sleep(0.1)
    line = (await asyncio.wait_for(reading, 5)).decode()
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == ExitCode.INTERRUPTED
    assert "mine" in line
    assert "other" not in line
    assert "+1816" not in line


async def test_the_demo_plays_the_whole_conversation_and_leaves_nothing_behind(
    empty: Installation,
) -> None:
    """Every event is the documented one; its exchanges, queues and keys are gone afterwards."""
    code, output, errors = await callctl(empty, "demo")
    assert code == 0, output + errors
    assert "all 18 events were the documented ones" in output
    assert [key async for key in empty.redis.scan_iter("demo-*")] == []
    if empty.services.rabbitmq is not None:
        queues = await asyncio.to_thread(empty.services.rabbitmq.ctl, "list_queues", "name")
        assert "demo-" not in queues
