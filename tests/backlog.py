"""A worker that comes to a backlog: ``python -m tests.backlog --commands 1000000``.

Publishes commands while nobody consumes, then starts one worker, lets it drain for a while, and
prints how fast that goes and how much memory it takes. What it takes is bounded by the prefetch,
not by the backlog, so it has to stay flat.
"""

import argparse
import asyncio
import itertools
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pamqp.commands import Basic
from rich.console import Console

from deploy.local import provide
from tests.harness import Installation, Worker, eventually, installation
from worker.broker import connection as broker
from worker.broker.declaring import establish
from worker.broker.topology import topology

#: Publishes under way at once, on each of the connections.
_BURST: Final = 500
_CONNECTIONS: Final = 4

#: Seconds that starting a process may take on a busy machine.
_PATIENCE_SECONDS: Final = 120.0

#: A worker is warm, its buffers as large as they get, after so many seconds of draining.
_WARM_SECONDS: Final = 10.0

#: Growth after that, as a part of what it was, that still counts as flat.
_FLAT: Final = 0.10

_console: Final = Console(highlight=False, soft_wrap=True)

_CONVERSATION: Final = (
    {"call_control": "call", "origin": "tel:+18164388687", "destination": "tel:+18165057120"},
    {"call_control": "hold"},
    {"call_control": "retrieve"},
    {"call_control": "mute"},
    {"call_control": "un_mute"},
    {"call_control": "transfer", "endpoint": "tel:+18166623395"},
    {"call_control": "dial", "digits": "1"},
    {"call_control": "disconnect"},
)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process has in memory, and what it had at most, in bytes."""

    now: int
    peak: int

    @classmethod
    def of(cls, worker: Worker) -> "Memory":
        """Read it from the kernel."""
        status = Path(f"/proc/{worker.pid}/status").read_text()
        found = dict(re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", status))
        return cls(now=int(found["VmRSS"]) * 1024, peak=int(found["VmHWM"]) * 1024)


async def publish_backlog(calls: Installation, commands: int, size: int = 0) -> None:
    """Publish whole conversations, confirmed, while no worker runs.

    Args:
        calls: The installation; its topology is declared first.
        commands: How many commands.
        size: Bytes that a body is filled up to.
    """
    connection = await broker.connect(calls.services.amqp_url, "setting up")
    await establish(connection, topology(calls.names, calls.settings.partitions))
    await broker.close(connection)
    share = -(-commands // _CONNECTIONS)
    await asyncio.gather(
        *(
            _publish(calls, share, size, f"{prefix}-")
            for prefix in range(min(_CONNECTIONS, commands))
        )
    )


async def _publish(calls: Installation, count: int, size: int, prefix: str) -> None:
    connection = await broker.connect(calls.services.amqp_url, "publishing a backlog")
    channel = await broker.open_channel(connection, confirms=True)
    bodies = itertools.islice(_bodies(prefix, size), count)
    while burst := list(itertools.islice(bodies, min(_BURST, max(1, 2**26 // max(1, size))))):
        await asyncio.gather(
            *(
                channel.basic_publish(
                    body,
                    exchange=calls.names.commands,
                    routing_key=request_id,
                    properties=Basic.Properties(message_id=message_id, delivery_mode=2),
                    mandatory=True,
                    wait=False,
                )
                for request_id, message_id, body in burst
            )
        )
    await broker.close(connection)


def _bodies(prefix: str, size: int) -> Iterator[tuple[str, str, bytes]]:
    for number in itertools.count():
        request_id = f"{prefix}{number}"
        for place, fields in enumerate(_CONVERSATION):
            body = json.dumps({"request_id": request_id, **fields}).encode()
            if len(body) < size:
                body = body[:-1] + b', "x": "' + b"x" * (size - len(body) - 9) + b'"}'
            yield request_id, f"{request_id}-{place}", body


async def waiting(calls: Installation) -> int:
    """Count the commands that no worker has been given yet."""
    partitions = map(calls.names.partition, range(calls.settings.partitions))
    return sum([await _messages(calls, partition) for partition in partitions])


async def answered(calls: Installation) -> int:
    """Count the events in the journal; RabbitMQ renews the number every five seconds."""
    return await _messages(calls, calls.names.journal)


async def _messages(calls: Installation, queue: str) -> int:
    declared = await calls.producer.declare_queue(queue, passive=True)
    return declared.declaration_result.message_count or 0


async def drain(calls: Installation, commands: int, seconds: float) -> list[Memory]:
    """Start a worker, and sample it until all is answered or the time is over.

    The first sample is from before it has connected.
    """
    worker = await calls.spawn()
    await eventually(lambda: worker.logged("worker started"), "a worker starts", _PATIENCE_SECONDS)
    samples = [Memory.of(worker)]
    _console.print(f"the worker starts with {_mib(samples[0].now)}")
    started, left = time.monotonic(), commands
    while await answered(calls) < commands and time.monotonic() - started < seconds:
        await asyncio.sleep(1)
        elapsed = time.monotonic() - started
        samples.append(Memory.of(worker))
        if left:
            left = await waiting(calls)
            rate = (commands - left) / elapsed
            _console.print(
                f"{elapsed:4.0f} s  {left:8} wait  {rate:5.0f}/s  {_mib(samples[-1].now)}"
            )
    return samples


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"


async def main() -> bool:
    """Publish a backlog and drain it; return whether the worker's memory stayed as it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=1_000_000)
    parser.add_argument("--bytes", type=int, default=0, help="fill each body up to so many")
    parser.add_argument("--seconds", type=float, default=120, help="how long to drain at most")
    parser.add_argument("--partitions", type=int, default=64)
    parser.add_argument("--prefetch", type=int, default=64)
    given = parser.parse_args()
    with provide("tests") as services:
        values = {"partitions": given.partitions, "prefetch": given.prefetch}
        async with installation(services, **values) as calls:
            started = time.monotonic()
            await publish_backlog(calls, given.commands, given.bytes)
            _console.print(f"published {given.commands} in {time.monotonic() - started:.0f} s")
            samples = await drain(calls, given.commands, given.seconds)
    before = max(sample.now for sample in samples[: round(_WARM_SECONDS)])
    after = max(sample.now for sample in samples)
    flat = after <= before * (1 + _FLAT)
    _console.print(
        f"resident: {_mib(samples[0].now)} at the start, {_mib(before)} in the first"
        f" {_WARM_SECONDS:.0f} s, {_mib(after)} in all, {_mib(samples[-1].peak)} at the peak:"
        f" {'flat' if flat else 'GROWING'}"
    )
    return flat


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main()) else 1)
