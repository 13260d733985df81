"""What the tests share: an installation of its own for each test, and real workers in it."""

import asyncio
import json
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp
from aio_pika.abc import AbstractIncomingMessage
from redis.asyncio import Redis
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from deploy.local import Services
from tests.messages import NoMessageId, Published, Seen
from worker.broker import connection as broker
from worker.broker.declaring import remove
from worker.broker.topology import Topology, topology_of
from worker.errors import BrokerUnavailable
from worker.names import Names
from worker.settings import PREFIX, EventLoop, Settings

#: Seconds that something may take which takes milliseconds on a quiet machine.
PATIENCE_SECONDS = 45.0

#: Seconds that a worker may take to start; on a busy machine its imports alone take many.
START_SECONDS = 90.0

ROOT = Path(__file__).parent.parent

#: Which event loop runs the tests and their workers.
EVENT_LOOP = EventLoop(os.environ.get(f"{PREFIX}TEST_EVENT_LOOP", EventLoop.ASYNCIO))


async def eventually(
    holds: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS
) -> None:
    """Wait until a condition holds; fail with ``what`` when it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.01)


@dataclass
class Worker:
    """A worker process."""

    process: asyncio.subprocess.Process
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def lines(self) -> list[dict[str, Any]]:
        """Return what it has logged."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def complaints(self) -> list[str]:
        """Return what it has logged of lost connections and of bugs."""
        lost = {"session lost", "partition lost", "cannot join"}
        lines = [line for line in self.lines() if line["event"] in lost or line["level"] == "error"]
        return [str(line) for line in lines]

    def logged(self, event: str) -> bool:
        """Tell whether it has logged an event."""
        return any(line["event"] == event for line in self.lines())

    @property
    def name(self) -> str:
        """Its name at the broker and among the heartbeats."""
        return str(next(x["worker"] for x in self.lines() if x["event"] == "worker started"))

    @property
    def http_port(self) -> int:
        """The port of its health checks; a gateway has one too."""
        return int(next(x["http_port"] for x in self.lines() if x["event"].endswith(" started")))

    async def get(self, path: str) -> tuple[int, str]:
        """Ask its health port; return the status and the body."""
        url = f"http://127.0.0.1:{self.http_port}{path}"
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            return response.status, await response.text()

    async def until_ready(self, *, ready: bool) -> list[str]:
        """Wait until it is ready, or no longer is; return what it says keeps it from that."""
        for _ in range(int(PATIENCE_SECONDS * 10)):
            status, body = await self.get("/ready")
            if (status == HTTPStatus.OK) is ready:
                problems: list[str] = json.loads(body)["problems"]
                return problems
            await asyncio.sleep(0.1)
        raise AssertionError(f"not within {PATIENCE_SECONDS:g} s: /ready says {ready}")

    async def metric(self, name: str) -> float:
        """Return the value of a metric without labels."""
        _, page = await self.get("/metrics")
        return next(float(x.split()[1]) for x in page.splitlines() if x.startswith(f"{name} "))

    async def settled(self) -> None:
        """Wait until it has acknowledged all that it has taken."""
        for _ in range(int(PATIENCE_SECONDS * 10)):
            if await self.metric("call_control_unsettled_age_seconds") == 0:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"not within {PATIENCE_SECONDS:g} s: all is acknowledged")

    async def joined(self) -> "Worker":
        """Wait until it has joined."""
        try:
            await eventually(
                lambda: self.logged("worker joined") or self.process.returncode is not None,
                "worker joins",
                START_SECONDS,
            )
        except AssertionError as error:
            raise AssertionError(f"{error}; its log: {self.log.read_text()[-2000:]}") from None
        assert self.process.returncode is None, self.log.read_text()[-3000:]
        return self

    async def rejoined(self, times: int = 2) -> None:
        """Wait until it has joined so many times."""
        await eventually(
            lambda: sum(line["event"] == "worker joined" for line in self.lines()) >= times,
            f"the worker joins again: {self.log.read_text()[-2000:]}",
        )

    async def kill(self) -> None:
        """End it with SIGKILL, if it runs."""
        if self.process.returncode is None:
            os.kill(self.pid, signal.SIGKILL)
        await self.process.wait()

    async def terminate(self) -> int:
        """Send SIGTERM, and return its exit code."""
        if self.process.returncode is None:
            os.kill(self.pid, signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), PATIENCE_SECONDS)


@dataclass
class Installation:
    """A namespace at the broker and in Redis, with a producer and a subscriber of its own."""

    services: Services
    names: Names
    environment: dict[str, str]
    connection: aio_pika.abc.AbstractConnection
    producer: aio_pika.abc.AbstractChannel
    redis: Redis
    directory: Path
    workers: list[Worker] = field(default_factory=list)
    gateways: set[str] = field(default_factory=set)
    events: list[Seen] = field(default_factory=list)
    dead: list[AbstractIncomingMessage] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        """The settings of its workers."""
        return Settings.from_environment(self.environment)

    async def start(self, count: int = 1, **settings: Any) -> list[Worker]:
        """Start workers, and return when they have joined."""
        started = [await self.spawn(**settings) for _ in range(count)]
        for worker in started:
            await worker.joined()
        return started

    async def spawn(
        self, *, command: Sequence[str] = ("-m", "worker", "worker"), **settings: Any
    ) -> Worker:
        """Start a worker process."""
        log = self.directory / f"worker-{len(self.workers)}.log"
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(PREFIX)},
            **self.environment,
            **{f"{PREFIX}{name.upper()}": str(value) for name, value in settings.items()},
        }
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *command, env=environment, cwd=ROOT, stderr=stderr
            )
        worker = Worker(process, log)
        self.workers.append(worker)
        return worker

    def complaints(self) -> list[str]:
        """Return what its workers have logged of lost connections and of bugs."""
        return [line for worker in self.workers for line in worker.complaints()]

    async def subscribe(self) -> None:
        """Subscribe to all events; needs the topology, so a worker must have started."""
        channel = await self.connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(self.names.events, "#")
        await queue.consume(self._on_event, no_ack=True)
        dead = await channel.declare_queue(exclusive=True)
        await dead.bind(self.names.dead_letters, "")
        await dead.consume(self._on_dead, no_ack=True)

    async def _on_event(self, message: AbstractIncomingMessage) -> None:
        self.events.append(Seen.of(message))

    async def _on_dead(self, message: AbstractIncomingMessage) -> None:
        self.dead.append(message)

    async def publish(
        self, request_id: str, body: Any, *, message_id: str | None = None, **properties: Any
    ) -> Published:
        """Publish a body as a command, confirmed and mandatory."""
        message_id = message_id or secrets.token_hex(8)
        published = await self.publish_bytes(
            request_id, json.dumps(body).encode(), message_id=message_id, **properties
        )
        return replace(published, body=body)

    async def publish_bytes(
        self, request_id: str, body: bytes, *, message_id: str | None, **properties: Any
    ) -> Published:
        """Publish bytes as a command, confirmed and mandatory."""
        exchange = await self.producer.get_exchange(self.names.commands, ensure=False)
        at = time.monotonic()
        message = aio_pika.Message(
            body,
            message_id=message_id,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            content_type="application/json",
            **properties,
        )
        if message_id is None:
            message.message_id = NoMessageId()
        await exchange.publish(message, routing_key=request_id, mandatory=True)
        return Published(request_id, message_id or "", {}, at)

    async def command(self, request_id: str, name: str, **fields: str) -> Published:
        """Publish a command."""
        body = {"call_control": name, "request_id": request_id, **fields}
        return await self.publish(request_id, body)

    async def until_seen(self, count: int) -> None:
        """Wait until so many events have been seen, copies included."""
        await eventually(lambda: len(self.events) >= count, f"{count} events arrive")

    async def until_dead(self, count: int) -> None:
        """Wait until so many dead letters have been seen."""
        await eventually(lambda: len(self.dead) >= count, f"{count} dead letters arrive")

    def answers(self, message_id: str) -> list[Seen]:
        """The events seen that answer a command."""
        return [event for event in self.events if event.correlation_id == message_id]

    async def answer(self, published: Published, seconds: float = PATIENCE_SECONDS) -> Seen:
        """Wait for the event that answers a command."""
        return await self.answer_to(published.message_id, seconds)

    async def answer_to(self, message_id: str, seconds: float = PATIENCE_SECONDS) -> Seen:
        """Wait for the event that answers the command with this id."""
        await eventually(lambda: bool(self.answers(message_id)), "the command is answered", seconds)
        return self.answers(message_id)[0]

    async def ask(self, request_id: str, name: str, **fields: str) -> Seen:
        """Publish a command, and wait for its event."""
        return await self.answer(await self.command(request_id, name, **fields))

    async def close(self) -> None:
        """Stop the workers, and remove everything."""
        for worker in self.workers:
            await worker.kill()
        await self.connection.close()
        await clean_up(self.services, topology_of(self.settings, sorted(self.gateways)))
        # Redis may have been restarted since it was last asked.
        await self.redis.connection_pool.disconnect()
        keys = [key async for key in self.redis.scan_iter(f"{self.names.base}*", count=1000)]
        if keys:
            await self.redis.delete(*keys)
        await self.redis.aclose()


@retry(
    retry=retry_if_exception_type(BrokerUnavailable),
    stop=stop_after_delay(PATIENCE_SECONDS),
    wait=wait_fixed(0.2),
    reraise=True,
)
async def clean_up(services: Services, declared: Topology) -> None:
    """Remove what was declared; a stream is there only some time after its broker has started."""
    connection = await broker.connect(services.amqp_url, "cleaning up")
    try:
        await remove(connection, declared)
    finally:
        await broker.close(connection)


@asynccontextmanager
async def installation(services: Services, **settings: Any) -> AsyncIterator[Installation]:
    """Set up an installation, and remove it afterwards."""
    namespace = f"test-{secrets.token_hex(5)}"
    values = {
        "amqp_url": services.amqp_url,
        "redis_url": services.redis_url,
        "namespace": namespace,
        "partitions": 8,
        "http_port": 0,
        "log_format": "json",
        "event_loop": EVENT_LOOP,
        **settings,
    }
    connection = await broker.connect(services.amqp_url, "tests")
    with tempfile.TemporaryDirectory() as directory:
        made = Installation(
            services=services,
            names=Names(namespace),
            environment={f"{PREFIX}{k.upper()}": str(v) for k, v in values.items()},
            connection=connection,
            producer=await connection.channel(publisher_confirms=True, on_return_raises=True),
            redis=Redis.from_url(services.redis_url),
            directory=Path(directory),
        )
        try:
            yield made
        finally:
            await made.close()
