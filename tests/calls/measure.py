"""Calls set up at a rate, and how long that takes: ``python -m tests.calls.measure``.

Through the whole chain, from the command at the producer to the event at the subscriber, and in
the same run by ARI alone, than which the chain cannot be faster. Each call is ended as soon as it
is connected. The telephones answer at once.
"""

import argparse
import asyncio
import secrets
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aio_pika.abc import AbstractIncomingMessage
from pydantic_core import from_json
from rich.console import Console
from rich.table import Table

from deploy.local import Services, provide
from deploy.local.phones import Answers, Phone, Phones
from deploy.local.services import Asterisk
from schemas.contract import OK
from tests.bench.processes import cpu_seconds, listener
from tests.calls.exchange import address_of, exchange, off_loop, switch
from tests.harness import PATIENCE_SECONDS, Installation

#: The rates, in calls per second.
_RATES: Final = (20, 50, 100)

#: Calls that nobody measures, so that connections are open and code is warm.
_WARM: Final = 20

_APPLICATION: Final = "bare"

_CHAIN: Final = "the chain"

#: Sets up a call and ends it; returns how long it took to be set up, in seconds.
Place = Callable[[], Awaitable[float]]

_console: Final = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of calls at a rate.

    Attributes:
        seconds: How long each took to be set up.
        rate: How many were set up per second, from the first's beginning to the last's end.
    """

    seconds: tuple[float, ...]
    rate: float

    def quantile(self, percent: int) -> float:
        """Return the time within which so many percent were set up, in milliseconds."""
        return statistics.quantiles(self.seconds, n=100)[percent - 1] * 1000


async def at_rate(place: Place, rate: float, count: int) -> Measured:
    """Place calls at a rate, whatever becomes of those before."""
    began_at = time.perf_counter()
    ends: list[float] = []

    async def one(number: int) -> float:
        await asyncio.sleep(began_at + number / rate - time.perf_counter())
        seconds = await place()
        ends.append(time.perf_counter())
        return seconds

    seconds = await asyncio.gather(*(one(number) for number in range(count)))
    return Measured(tuple(seconds), count / (max(ends) - began_at))


class Chain:
    """A producer and a subscriber.

    Args:
        calls: The installation.
        origin: Who calls.
        destination: Who is called.
    """

    def __init__(self, calls: Installation, origin: str, destination: str) -> None:
        self._calls = calls
        self._parties = {"origin": origin, "destination": destination}
        self._answers: dict[str, asyncio.Future[tuple[float, bytes]]] = {}

    async def subscribe(self) -> None:
        """Subscribe to all events."""
        channel = await self._calls.connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(self._calls.names.events, "#")
        await queue.consume(self._on_event, no_ack=True)

    async def place(self) -> float:
        """Set up a call and end it; return how long the first took, in seconds."""
        call = f"measured-{secrets.token_hex(6)}"
        began_at = time.perf_counter()
        connected_at = await self._ask(call, "call", **self._parties)
        await self._ask(call, "disconnect")
        return connected_at - began_at

    async def _ask(self, call: str, name: str, **fields: str) -> float:
        message_id = f"{call}-{name}"
        answer = self._answers[message_id] = asyncio.get_running_loop().create_future()
        body = {"call_control": name, "request_id": call, **fields}
        await self._calls.publish(call, body, message_id=message_id)
        at: float
        at, said = await answer
        assert from_json(said)["status"] == OK, said
        return at

    async def _on_event(self, message: AbstractIncomingMessage) -> None:
        answer = self._answers.pop(message.correlation_id or "", None)
        if answer is not None:
            answer.set_result((time.perf_counter(), message.body))


class Bare:
    """ARI alone, in the order of requests that the gateway has too.

    Args:
        http: A session that may use it.
        url: Where it is.
        endpoints: Whom to call.
    """

    def __init__(self, http: aiohttp.ClientSession, url: str, endpoints: Sequence[str]) -> None:
        self._http = http
        self._url = url
        self._endpoints = endpoints
        self._waiting: dict[tuple[str, str], asyncio.Future[None]] = {}

    async def read(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        """Take events in until the connection ends."""
        async for message in websocket:
            event = message.json()
            channel = event.get("channel", {}).get("id", "")
            waiting = self._waiting.pop((event["type"], channel), None)
            if waiting is not None:
                waiting.set_result(None)

    async def place(self) -> float:
        """Set up a call and end it; return how long that took, in seconds."""
        began_at = time.perf_counter()
        name = secrets.token_hex(6)
        bridge, legs = f"bridge-{name}", [f"{name}.a", f"{name}.b"]
        await self._ask("POST", f"/bridges/{bridge}", type="mixing")
        for leg, endpoint in zip(legs, self._endpoints, strict=True):
            there = self._expected("StasisStart", leg)
            await self._ask(
                *("POST", "/channels"), endpoint=endpoint, app=_APPLICATION, channelId=leg
            )
            await there
        entered = [self._expected("ChannelEnteredBridge", leg) for leg in legs]
        await self._ask("POST", f"/bridges/{bridge}/addChannel", channel=",".join(legs))
        await asyncio.gather(*entered)
        seconds = time.perf_counter() - began_at
        for leg in legs:
            await self._ask("DELETE", f"/channels/{leg}")
        await self._ask("DELETE", f"/bridges/{bridge}")
        return seconds

    def _expected(self, kind: str, channel: str) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[kind, channel] = future
        return future

    async def _ask(self, method: str, path: str, **query: str) -> None:
        url = f"{self._url}/ari{path}"
        async with self._http.request(method, url, params=query) as answer:
            assert answer.ok, f"{method} {path}: {answer.status} {await answer.text()}"
            await answer.read()


@asynccontextmanager
async def bare(asterisk: Asterisk, *phones: Phone) -> AsyncIterator[Bare]:
    """Connect to ARI as an application of its own."""
    credentials = aiohttp.encode_basic_auth(asterisk.ari_user, asterisk.ari_password)
    async with aiohttp.ClientSession(headers={"Authorization": credentials}) as http:
        url = f"{asterisk.ari_url}/ari/events?app={_APPLICATION}"
        async with http.ws_connect(url) as websocket:
            made = Bare(http, asterisk.ari_url, [each.endpoint("+1") for each in phones])
            reading = asyncio.create_task(made.read(websocket))
            try:
                yield made
            finally:
                reading.cancel()
                await asyncio.wait([reading])


async def measure(services: Services, asterisk: Asterisk, phones: Phones, count: int) -> Table:
    """Measure at each rate; return the table."""
    table = Table(
        "calls/s", "through", "set up/s", "p50 ms", "p95 ms", "slowest ms", "CPU ms a call"
    )
    for column in (0, 2, 3, 4, 5):
        table.columns[column].justify = "right"
    async with exchange(services, asterisk, phones, subscribing=False) as line:
        await line.start_ready_gateway()
        alice, bob = [await off_loop(phones.start, Answers(), sounds=False) for _ in range(2)]
        of = {
            "Asterisk": listener(urlsplit(asterisk.ari_url).port or 0),
            "RabbitMQ": listener(urlsplit(services.amqp_url).port or 0),
            "worker": [line.calls.workers[0].pid],
            "gateway": [line.gateways[0].pid],
        }
        chain = Chain(line.calls, address_of(alice, "+1"), address_of(bob, "+2"))
        await chain.subscribe()
        async with bare(asterisk, alice, bob) as alone:
            ways = {"ARI alone": alone.place, _CHAIN: chain.place}
            for place in ways.values():
                await at_rate(place, _WARM, _WARM)
            for rate in _RATES:
                for name, place in ways.items():
                    before = {who: cpu_seconds(pids) for who, pids in of.items()}
                    async with asyncio.timeout(count / rate + PATIENCE_SECONDS):
                        found = await at_rate(place, rate, count)
                    spent = {who: cpu_seconds(of[who]) - before[who] for who in of}
                    figures = (found.quantile(50), found.quantile(95), max(found.seconds) * 1000)
                    table.add_row(
                        str(rate),
                        name,
                        f"{found.rate:.1f}",
                        *(f"{each:.1f}" for each in figures),
                        ", ".join(
                            f"{who} {seconds / count * 1000:.0f}"
                            for who, seconds in spent.items()
                            if name == _CHAIN or who == "Asterisk"
                        ),
                    )
        placed = (_WARM + count * len(_RATES)) * len(ways)
        assert (alice.count("INVITE"), bob.count("INVITE")) == (placed, placed)
    return table


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.calls.measure")
    parser.add_argument("--calls", type=int, default=200, help="calls at each rate")
    count = parser.parse_args().calls
    with provide("tests") as services, switch() as (asterisk, phones):
        _console.print(asyncio.run(measure(services, asterisk, phones, count)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
