"""``callctl demo``: the documented conversation, played through RabbitMQ."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic_core import to_json
from rich.console import Console
from rich.table import Table

from schemas.contract import OK
from worker import logs
from worker.broker import connection as broker
from worker.broker.declaring import remove
from worker.broker.topology import topology
from worker.cli.connecting import client_of
from worker.client import Event
from worker.client.link import Link
from worker.client.requests import Request, Requests
from worker.errors import BrokerUnavailable
from worker.names import Names
from worker.service import Service
from worker.settings import Settings
from worker.store import close, connect

_ANSWER_SECONDS: Final = 10.0
_START_SECONDS: Final = 60.0

_A: Final = "tel:+18164388687"
_B: Final = "tel:+18165057120"
_C: Final = "tel:+18166623395"


@dataclass(frozen=True, slots=True)
class Step:
    """A command or report, and what has to come back.

    Attributes:
        body: What is published, without the ``request_id``.
        event: The name in the body of the event.
        call: Which of the demo's calls it is for.
        status: The event's status.
        reason: How its reason begins.
        content: Whether both stand in ``{"content": …}``.
        more: Further fields of the event.
    """

    body: dict[str, str]
    event: str
    call: str = "123XYZ"
    status: int = 200
    reason: str = "OK"
    content: bool = True
    more: dict[str, str] = field(default_factory=dict)


def _refused(body: dict[str, str], status: int, reason: str, call: str = "123XYZ") -> Step:
    more = {"call_control": body["call_control"]}
    return Step(body, "call_control_failed", call, status, reason, more=more)


#: The conversation of the source document, message by message, oddities included, then incoming
#: calls and refusals. Written out, not derived, so that it can disagree with the code.
CONVERSATION: Final = (
    Step(
        {"call_control": "call", "origin": _A, "destination": _B}, "call-connected", content=False
    ),
    Step({"call_control": "hold"}, "call_held"),
    _refused({"call_control": "dial", "digits": "1"}, 409, "Conflict"),
    Step({"call-control": "retrieve"}, "call_retrieved"),
    Step({"call_control": "dial", "digits": "12345#"}, "call_retrieved"),
    Step({"call_control": "mute"}, "call_muted"),
    Step({"call-control": "un_mute"}, "call_un_muted"),
    Step({"call_control": "transfer", "endpoint": _C}, "call_transferred"),
    Step({"call_control": "disconnect"}, "call_terminated", content=False),
    _refused({"call_control": "hold"}, 481, "Call Has Ended"),
    Step({"call_control": "accept", "endpoint": _C}, "call_accepted", "IN-1"),
    Step({"call_control": "disconnect"}, "call_terminated", "IN-1", content=False),
    Step({"call_control": "reject", "endpoint": _C}, "call_rejected", "IN-2"),
    Step(
        {"network_report": "offered", "origin": _A, "destination": _B},
        "call_offered",
        "IN-3",
        content=False,
        more={"origin": _A, "destination": _B},
    ),
    Step({"call_control": "transfer", "endpoint": _C}, "call_transferred", "IN-3"),
    _refused({"call_control": "redirect", "endpoint": _C}, 409, "Conflict", "IN-3"),
    _refused({"call_control": "mute"}, 481, "Call Does Not Exist", "NOBODY"),
    _refused({"call_control": "transfer", "endpoint": "tel:911"}, 400, "Bad Request: endpoint"),
)


async def demo(settings: Settings) -> int:
    """Play the conversation; return 0 if every event was the documented one, else 1.

    Everything happens in a namespace of its own, which is removed afterwards.

    Raises:
        CallControlError: The worker cannot start, or RabbitMQ is lost.
    """
    logs.configure(settings.model_copy(update={"log_level": "error"}))
    settings = settings.model_copy(
        update={"namespace": f"demo-{secrets.token_hex(4)}", "http_port": 0}
    )
    console = Console(highlight=False)
    async with _worker(settings, console):
        wrong = await _play(settings, console)
    total = len(CONVERSATION)
    if wrong:
        console.print(f"{wrong} of {total} events were not the documented ones", style="red")
        return 1
    console.print(f"all {total} events were the documented ones", style="green")
    return 0


@asynccontextmanager
async def _worker(settings: Settings, console: Console) -> AsyncIterator[None]:
    started = time.monotonic()
    service = Service(settings)
    running = asyncio.create_task(service.run())
    try:
        with console.status("starting a worker"):
            while service.problems():
                if running.done():
                    await running
                if time.monotonic() - started > _START_SECONDS:
                    raise BrokerUnavailable("; ".join(service.problems()))
                await asyncio.sleep(0.02)
        console.print(f"worker {service.name} joined in {time.monotonic() - started:.1f} s")
        yield
        service.stop()
        await running
    finally:
        running.cancel()
        await asyncio.wait([running])
        await _clean_up(settings, service.name)


async def _clean_up(settings: Settings, worker: str) -> None:
    names = Names(settings.namespace)
    connection = await broker.connect(settings.amqp_url.get_secret_value(), "callctl demo")
    try:
        await remove(connection, topology(names, settings.partitions))
    finally:
        await broker.close(connection)
    calls = {names.call_prefix + step.call for step in CONVERSATION}
    redis = connect(settings.redis_url.get_secret_value())
    try:
        for key in (*calls, *names.keys, names.worker(worker)):
            await redis.delete(key)
    finally:
        await close(redis)


async def _play(settings: Settings, console: Console) -> int:
    table = Table("call", "command", "event", "ms", "", title="the documented conversation")
    wrong = 0
    link = Link(settings.amqp_url.get_secret_value(), "callctl demo")
    requests = Requests(link, Names(settings.namespace).commands)
    async with (
        AsyncExitStack() as closing,
        client_of(settings) as calls,
        calls.events() as subscription,
    ):
        closing.push_async_callback(link.close)
        events = aiter(subscription)
        for step in CONVERSATION:
            started = time.monotonic()
            event = await _ask(requests, events, step)
            milliseconds = (time.monotonic() - started) * 1000
            as_documented = fits(step, event.body)
            wrong += not as_documented
            table.add_row(
                step.call,
                fields_of(step.body.items()),
                fields_of(_shown_of(event)),
                f"{milliseconds:.1f}",
                "ok" if as_documented else "NOT AS DOCUMENTED",
                style=None if as_documented else "red",
            )
    console.print(table)
    return wrong


async def _ask(requests: Requests, events: AsyncIterator[Event], step: Step) -> Event:
    request = request_of(step)
    await requests.publish(request, _ANSWER_SECONDS)
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            while True:
                event = await anext(events)
                if "network_report" in step.body or event.correlation_id == request.message_id:
                    return event
    except TimeoutError:
        raise BrokerUnavailable("no event answers the command") from None


def request_of(step: Step) -> Request:
    """Return a body as it stands, which the client's own methods would mend or refuse."""
    body: dict[str, Any] = {**step.body, "request_id": step.call}
    encoded = to_json({"content": body} if step.content else body)
    return Request(step.call, encoded, secrets.token_hex(16))


def fits(step: Step, body: Mapping[str, Any]) -> bool:
    """Tell whether an event's body is, to the letter, the one a step has to bring back."""
    content = body.get("content") if step.content else body
    if not isinstance(content, dict) or (step.content and len(body) != 1):
        return False
    reason = content.get("reason", "")
    begins = reason == step.reason or (step.status != OK and reason.startswith(step.reason))
    expected = {
        "event": step.event,
        "request_id": step.call,
        "status": step.status,
        "reason": reason,
        **step.more,
    }
    return begins and content == expected


def fields_of(items: Iterable[tuple[str, Any]]) -> str:
    """Return what is shown of a body: never the digits in it."""
    return " ".join(_shown(name, value) for name, value in items)


def _shown_of(event: Event) -> Iterable[tuple[str, Any]]:
    """Return what is shown of an event; what it answers stands beside it."""
    return (item for item in event.content.items() if item[0] not in _BESIDE)


def _shown(name: str, value: object) -> str:
    if name in _PLAIN:
        return str(value)
    return f"{name}={'…' if name == 'digits' else value}"


_BESIDE: Final = frozenset({"request_id", "call_control"})
_PLAIN: Final = frozenset({"call_control", "call-control", "network_report", "event", "status"})
