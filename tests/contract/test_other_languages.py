"""Producers, subscribers and a gateway not in Python: nothing on the wire is Python's own."""

import asyncio
import json
import os
import re
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from deploy.local import Services
from schemas.contract import ActionName
from tests.harness import Installation
from tests.network import waiting_for
from tests.tools import NODE_PACKAGES, debian_tool, node
from worker.cli.demonstration import CONVERSATION, Step, fits

SHELL: Final = Path(__file__).parent / "shell"
SECONDS: Final = 60.0


def refused(reason: str) -> Step:
    """Return a command for a call that there is not."""
    more = {"call_control": "mute"}
    return Step(more, "call_control_failed", status=481, reason=reason, more=more)


EARLY: Final = refused("Call Does Not Exist")
LATE: Final = refused("Call Has Ended")


async def spawn(calls: Installation, *command: str | Path, env: Mapping[str, str]) -> Process:
    """Start an example against an installation."""
    return await asyncio.create_subprocess_exec(
        *command,
        env={
            **env,
            # To some clients a URL that ends in / names the virtual host with the empty name.
            "CALL_CONTROL_AMQP_URL": re.sub("/$", "/%2F", calls.services.amqp_url),
            "CALL_CONTROL_NAMESPACE": calls.settings.namespace,
        },
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )


async def printed(process: Process, said: str = "") -> list[Any]:
    """Wait for an example to end well; return the JSON it has printed, a value a line."""
    try:
        out, err = await asyncio.wait_for(process.communicate(said.encode()), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, err.decode()
    return [json.loads(line) for line in out.splitlines() if line]


def lines(steps: Sequence[Step]) -> str:
    """Return steps as their producer writes them, a body a line."""
    bodies = ({**step.body, "request_id": step.call} for step in steps)
    return "".join(
        json.dumps({"content": body} if step.content else body) + "\n"
        for step, body in zip(steps, bodies, strict=True)
    )


def check(steps: Sequence[Step], bodies: Sequence[Any]) -> None:
    """Check that the events are the documented ones, in the commands' order."""
    assert len(bodies) == len(steps)
    for step, body in zip(steps, bodies, strict=True):
        assert fits(step, body), (step, body)


def of_call(request_id: str, events: Sequence[Any]) -> list[Any]:
    """Return the events of a call, in their order."""
    return [
        each
        for each in events
        if each["body"].get("content", each["body"])["request_id"] == request_id
    ]


async def node_example(calls: Installation, name: str, *arguments: str) -> Process:
    """Start an example in Node."""
    tool = node()
    return await spawn(calls, tool.path, NODE_PACKAGES / name, *arguments, env=tool.environment)


async def until_ready(process: Process, word: str) -> None:
    """Wait until an example says that it is."""
    assert process.stderr is not None
    first = await asyncio.wait_for(process.stderr.readline(), SECONDS)
    assert first == f"{word}\n".encode(), (first + await process.stderr.read()).decode()


async def test_node_producers_and_subscribers_hold_the_documented_conversation(
    calls: Installation,
) -> None:
    """Confirmed and answered, seen by a subscriber as it happens, and read again afterwards."""
    count = str(len(CONVERSATION))
    subscriber = await node_example(calls, "subscriber.js", "#", count)
    await until_ready(subscriber, "subscribed")
    answers = await printed(await node_example(calls, "producer.js"), lines(CONVERSATION))
    # Nobody answers a network report.
    check([step for step in CONVERSATION if "network_report" not in step.body], answers)

    seen = await printed(subscriber)
    kept = await printed(await node_example(calls, "journal.js", count))
    for call in {step.call for step in CONVERSATION}:
        events = of_call(call, seen)
        check([step for step in CONVERSATION if step.call == call], [e["body"] for e in events])
        assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
        assert of_call(call, kept) == events
    # The names in the bodies are the document's; the types tell them apart.
    assert {"call_retrieved", "digits_dialed"} <= {event["type"] for event in seen}


async def test_a_node_gateway_does_what_the_documented_conversation_asks(
    services: Services,
) -> None:
    """It knows no more than the contract's page says; the events are the same through it."""
    async with waiting_for(services, "node") as calls:
        gateway = await node_example(calls, "gateway.js", "node")
        try:
            await until_ready(gateway, "serving")
            answers = await printed(await node_example(calls, "producer.js"), lines(CONVERSATION))
        finally:
            gateway.kill()
            out, _ = await gateway.communicate()
    check([step for step in CONVERSATION if "network_report" not in step.body], answers)
    taken = [json.loads(line) for line in out.splitlines()]
    assert {each["gateway"] for each in taken} == {None, "node"}
    assert {each["action"] for each in taken} == set(ActionName)


async def test_a_shell_producer_and_subscriber_hold_the_documented_conversation(
    calls: Installation,
) -> None:
    """With neither message_id nor reply_to, which amqp-publish does not set of itself."""
    for name in ("amqp-publish", "amqp-consume"):
        tool = debian_tool(name, "amqp-tools", "librabbitmq4", "libpopt0")
    path = os.pathsep.join((str(tool.path.parent), os.environ["PATH"]))
    env = {**tool.environment, "PATH": path}
    steps = [step for step in CONVERSATION if step.call == "123XYZ"]

    async def publish(said: Sequence[Step]) -> None:
        producer = await spawn(calls, SHELL / "publish.sh", "123XYZ", env=env)
        assert await printed(producer, lines(said)) == []

    subscriber = await spawn(calls, SHELL / "subscribe.sh", "123XYZ", env=env)
    assert subscriber.stdout is not None
    try:
        async with asyncio.timeout(SECONDS):
            # It does not say when it has subscribed: it has when it hears of a call not made yet.
            heard = asyncio.create_task(subscriber.stdout.readline())
            while not (await asyncio.wait([heard], timeout=0.2))[0]:
                await publish([EARLY])
            await publish([*steps, LATE])
            bodies = [json.loads(await heard)]
            while not fits(LATE, bodies[-1]):
                bodies.append(json.loads(await subscriber.stdout.readline()))
    finally:
        subscriber.kill()
        await subscriber.wait()
    early = [body for body in bodies if fits(EARLY, body)]
    assert early
    check([*steps, LATE], bodies[len(early) :])
