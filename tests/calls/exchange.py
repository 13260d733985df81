"""A whole telephone exchange: producer, RabbitMQ, worker, Redis, gateway, Asterisk, telephones."""

import asyncio
import secrets
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, ParamSpec, TypeVar

from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from deploy.local import Services
from deploy.local.phones import Phone, Phones
from deploy.local.services import Asterisk
from deploy.local.telephony import asterisk_server, telephones
from schemas.contract import CommandName, EventName
from tests.harness import PATIENCE_SECONDS, Installation, Worker, eventually, installation
from tests.messages import Published, Seen
from worker.broker import connection as broker
from worker.broker.declaring import is_there
from worker.broker.topology import MARK
from worker.errors import BrokerUnavailable

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: What the two of a call sound, in Hz.
ALICE: Final = 400
BOB: Final = 500

#: The gateway's name.
GATEWAY: Final = "pbx-1"

#: How long telephones may ring, in seconds, unless a test is about that.
RING_SECONDS: Final = 20.0


async def off_loop(ask: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
    """Wait for a telephone, or for Asterisk, which block."""
    return await asyncio.to_thread(ask, *arguments, **options)


def address_of(phone: Phone, number: str) -> str:
    """Return the address at which a telephone has a number."""
    return f"sip:{number}@{phone.address}:{phone.port}"


@dataclass
class Exchange:
    """An installation whose network is an Asterisk with telephones around it.

    Attributes:
        calls: The installation.
        asterisk: The Asterisk.
        phones: Where telephones come from.
        reception: The telephone that all numbers lead to which are no SIP addresses.
        gateways: The gateway's processes so far.
        said: The commands so far.
    """

    calls: Installation
    asterisk: Asterisk
    phones: Phones
    reception: Phone
    gateways: list[Worker] = field(default_factory=list)
    said: list[Published] = field(default_factory=list)

    async def start_gateway(
        self, *, command: tuple[str, ...] = ("-m", "worker", "gateway", "asterisk"), **settings: Any
    ) -> Worker:
        """Start one more process of the gateway; return when it runs."""
        name = settings.get("asterisk_name", GATEWAY)
        self.calls.gateways.add(name)
        values = {
            "asterisk_name": name,
            "asterisk_url": self.asterisk.ari_url,
            "asterisk_user": self.asterisk.ari_user,
            "asterisk_password": self.asterisk.ari_password,
            "asterisk_tel_endpoint": self.reception.endpoint("{number}"),
            "asterisk_sip_endpoint": "PJSIP/trunk/{uri}",
        }
        process = await self.calls.spawn(command=command, **(values | settings))
        self.gateways.append(process)
        await eventually(
            lambda: process.logged("gateway started") or process.process.returncode is not None,
            "the gateway starts",
        )
        return process

    async def start_ready_gateway(self, **settings: Any) -> Worker:
        """Start a process of the gateway; return when it has the Asterisk."""
        return await ready(await self.start_gateway(**settings))

    async def command(self, request_id: str, name: str, **fields: str) -> Published:
        """Publish a command."""
        published = await self.calls.command(request_id, name, **fields)
        self.said.append(published)
        return published

    async def ask(self, request_id: str, name: str, **fields: str) -> Seen:
        """Publish a command, and wait for its event."""
        return await self.calls.answer(await self.command(request_id, name, **fields))

    async def done(self, request_id: str, name: str, **fields: str) -> Seen:
        """Publish a command that is done; return its event."""
        event = await self.ask(request_id, name, **fields)
        assert event.content["status"] == 200, event.content
        return event

    async def seen(self, request_id: str, name: str) -> Seen:
        """Wait for an event of a call, and return the last of that kind."""
        await eventually(lambda: bool(self.of(request_id, name)), f"{name} of {request_id}")
        return self.of(request_id, name)[-1]

    def of(self, request_id: str, name: str | None = None) -> list[Seen]:
        """Return the events of a call so far."""
        return [
            event
            for event in self.calls.events
            if event.request_id == request_id and name in (None, event.kind)
        ]

    async def connect(self, alice: Phone, bob: Phone, request_id: str | None = None) -> str:
        """Connect two telephones by a ``call``; return its name."""
        request_id = request_id or new_call()
        parties = {"origin": address_of(alice, "+15550001"), "destination": address_of(bob, "+2")}
        event = await self.done(request_id, "call", **parties)
        assert event.kind == EventName.CALL_CONNECTED
        return request_id

    async def offer(self, caller: Phone) -> Seen:
        """Wait until a telephone that calls is offered; return the event."""
        number = caller_of(caller)
        found: list[Seen] = []

        def offered() -> bool:
            found[:] = [
                event
                for event in self.calls.events
                if event.kind == EventName.CALL_OFFERED and number in event.content["origin"]
            ]
            return bool(found)

        await eventually(offered, f"a call of {number} is offered")
        return found[0]

    async def reconnect(self) -> None:
        """Connect producer and subscriber anew; see all events once more, from the journal."""
        calls = self.calls
        await broker.close(calls.connection)
        calls.connection = await _reconnected(calls.services.amqp_url, calls.names.journal)
        calls.producer = await calls.connection.channel(
            publisher_confirms=True, on_return_raises=True
        )
        channel = await calls.connection.channel()
        await channel.set_qos(prefetch_count=100)
        journal = await channel.get_queue(calls.names.journal, ensure=False)

        async def on_entry(message: AbstractIncomingMessage) -> None:
            if message.type != MARK:
                calls.events.append(Seen.of(message))
            await message.ack()

        await journal.consume(on_entry, arguments={"x-stream-offset": "first"})

    def check(self) -> None:
        """Hold all that was said and seen against the contract's invariants."""
        first: dict[str, Seen] = {}
        for event in self.calls.events:
            copy = first.setdefault(event.message_id, event)
            assert (copy.body, copy.sequence) == (event.body, event.sequence)
        by_call: dict[str, list[Seen]] = defaultdict(list)
        for event in first.values():
            by_call[event.request_id].append(event)
        for events in by_call.values():
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            ends = [place for place, event in enumerate(events) if event.headers["terminal"]]
            assert len(ends) <= 1
            for event in events[ends[0] + 1 :] if ends else []:
                repeated = event.headers.get("call_control") == CommandName.DISCONNECT
                assert event.kind == EventName.CALL_CONTROL_FAILED or repeated
        outcomes = Counter(
            event.correlation_id for event in first.values() if event.headers.get("call_control")
        )
        assert set(outcomes) == {published.message_id for published in self.said}
        assert set(outcomes.values()) <= {1}
        assert not self.calls.dead


@retry(
    retry=retry_if_exception_type(BrokerUnavailable),
    stop=stop_after_delay(PATIENCE_SECONDS),
    wait=wait_fixed(0.2),
    reraise=True,
)
async def _reconnected(url: str, journal: str) -> AbstractConnection:
    connection = await broker.connect(url, "tests")
    try:
        # A stream is there some time after its broker.
        assert await is_there(connection, journal)
    except BrokerUnavailable:
        await broker.close(connection)
        raise
    return connection


async def ready(gateway: Worker) -> Worker:
    """Wait until a process of the gateway has the Asterisk."""
    await eventually(
        lambda: gateway.logged("gateway ready"),
        f"the gateway is ready; its log: {gateway.log.read_text()[-2000:]}",
    )
    return gateway


def new_call() -> str:
    """Return a name for a call."""
    return f"call-{secrets.token_hex(4)}"


def new_number() -> str:
    """Return the number of somebody who calls."""
    return f"+1666{secrets.randbelow(10**7):07d}"


_CALLERS: dict[int, str] = {}


def calling(exchange: Exchange, **behaviour: Any) -> Phone:
    """Start a telephone that calls at once, by a number of its own."""
    number = new_number()
    phone = exchange.phones.calling("+15557000", exchange.asterisk.sip, caller=number, **behaviour)
    _CALLERS[id(phone)] = number
    return phone


def caller_of(phone: Phone) -> str:
    """Return the number of a telephone that calls."""
    return _CALLERS[id(phone)]


@contextmanager
def switch() -> Iterator[tuple[Asterisk, Phones]]:
    """Yield an Asterisk and telephones."""
    with asterisk_server() as asterisk, telephones() as phones:
        yield asterisk, phones


@asynccontextmanager
async def exchange(
    services: Services,
    asterisk: Asterisk,
    phones: Phones,
    *,
    subscribing: bool = True,
    **settings: Any,
) -> AsyncIterator[Exchange]:
    """Set up an installation before an Asterisk, with a worker and no gateway yet."""
    values = {"gateway": "external", "ring_seconds": RING_SECONDS} | settings
    reception = await off_loop(phones.answering, ring_ms=50, tone=900)
    async with installation(services, **values) as calls:
        await calls.start()
        if subscribing:
            await calls.subscribe()
        try:
            yield Exchange(calls, asterisk, phones, reception)
        finally:
            await off_loop(phones.discard)


async def two(line: Exchange, ring_ms: int = 100) -> tuple[Phone, Phone]:
    """Return two telephones."""
    alice = await off_loop(line.phones.answering, tone=ALICE)
    bob = await off_loop(line.phones.answering, ring_ms=ring_ms, tone=BOB)
    return alice, bob


async def talking(alice: Phone, bob: Phone) -> None:
    """See that two telephones hear each other."""
    await off_loop(alice.wait_tones, BOB)
    await off_loop(bob.wait_tones, ALICE)
