"""Traces: a producer's span, the worker's and a subscriber's are one trace, by ``traceparent``."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tests.collector import Collector, Span, collector
from tests.harness import PATIENCE_SECONDS, ROOT, Installation, eventually
from tests.messages import Published
from worker.cli.exit_codes import ExitCode
from worker.tracing import outgoing_headers

CALL = {"origin": "tel:+18164388687", "destination": "tel:+18165057120"}
DIGITS = "84915037"


@pytest.fixture
async def collected() -> AsyncIterator[Collector]:
    """A collector on loopback."""
    async with collector() as made:
        yield made


@pytest.fixture
async def traced(
    empty: Installation, collected: Collector, monkeypatch: pytest.MonkeyPatch
) -> Installation:
    """An installation whose worker sends its spans to the collector, and soon."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collected.endpoint)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    await empty.start(traces="otlp")
    await empty.subscribe()
    return empty


@contextmanager
def tracer(endpoint: str) -> Iterator[Tracer]:
    """Another service's tracer."""
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    try:
        yield provider.get_tracer("a service")
    finally:
        provider.shutdown()


def span_of(collected: Collector, command: Published) -> list[Span]:
    """Return the worker's spans of a command."""
    return [
        span
        for span in collected.spans
        if span.attributes.get("messaging.message.id") == command.message_id
    ]


async def test_producer_worker_and_subscriber_are_one_trace(
    traced: Installation, collected: Collector
) -> None:
    """Each is the child of the one before it."""

    def produce() -> dict[str, str]:
        with (
            tracer(collected.endpoint) as service,
            service.start_as_current_span("send hold", kind=SpanKind.PRODUCER),
        ):
            return outgoing_headers()

    def subscribe(headers: dict[str, str]) -> None:
        context = TraceContextTextMapPropagator().extract(headers)
        with (
            tracer(collected.endpoint) as service,
            service.start_as_current_span("take event", context=context, kind=SpanKind.CONSUMER),
        ):
            pass

    headers = await asyncio.to_thread(produce)
    body = {"call_control": "hold", "request_id": "1"}
    command = await traced.publish("1", body, headers=dict(headers))
    event = await traced.answer(command)
    await asyncio.to_thread(subscribe, {"traceparent": event.headers["traceparent"]})
    await eventually(lambda: len(collected.spans) >= 3, "all spans are exported")

    (produced,) = collected.named("send hold")
    (processed,) = collected.named(f"process {traced.names.commands}")
    (taken,) = collected.named("take event")
    assert produced.trace == processed.trace == taken.trace
    assert (processed.parent, taken.parent) == (produced.id, processed.id)
    assert processed.kind == "consumer"
    assert processed.resource["service.name"] == "call-control-worker"
    assert processed.resource["service.instance.id"] == traced.workers[0].name


async def test_a_span_says_what_the_command_was_and_what_came_of_it(
    traced: Installation, collected: Collector
) -> None:
    """In the words of the semantic conventions for messaging."""
    command = await traced.command("1", "hold")
    event = await traced.answer(command)
    await eventually(lambda: bool(span_of(collected, command)), "its span is exported")
    (span,) = span_of(collected, command)
    said = span.attributes
    assert said["messaging.system"] == "rabbitmq"
    assert said["messaging.operation.type"] == "process"
    assert said["messaging.destination.name"] == traced.names.commands
    assert said["messaging.rabbitmq.destination.routing_key"] == "1"
    assert said["messaging.message.conversation_id"] == command.message_id
    assert said["call_control.request_id"] == "1"
    assert said["call_control.command"] == "hold"
    assert said["call_control.status"] == 481
    assert said["call_control.sequence"] == event.sequence
    assert said["call_control.duplicate"] is False
    assert not span.failed
    assert span.seconds > 0


async def test_a_command_without_a_trace_begins_one(
    traced: Installation, collected: Collector
) -> None:
    """So does one with a header that is none; its event continues it."""
    broken: list[dict[str, Any]] = [
        {},
        {"traceparent": "00-nonsense"},
        {"traceparent": f"00-{'0' * 32}-{'0' * 16}-01"},
        {"traceparent": f"ff-{'1' * 32}-{'2' * 16}-01"},
        {"traceparent": 7},
    ]
    commands = [
        await traced.publish("1", {"call_control": "hold", "request_id": "1"}, headers=headers)
        for headers in broken
    ]
    await eventually(lambda: len(collected.spans) >= len(broken), "all spans are exported")
    for command in commands:
        (span,) = span_of(collected, command)
        assert span.parent == ""
        answer = await traced.answer(command)
        _, trace, parent, _ = answer.headers["traceparent"].split("-")
        assert (trace, parent) == (span.trace, span.id)
    assert len({span.trace for span in collected.spans}) == len(broken)


async def test_a_trace_that_is_not_sampled_goes_on_unsampled(
    traced: Installation, collected: Collector
) -> None:
    """Its producer has decided that nobody is to see it."""
    trace = "1" * 32
    body = {"call_control": "hold", "request_id": "1"}
    headers = {"traceparent": f"00-{trace}-{'2' * 16}-00"}
    event = await traced.answer(await traced.publish("1", body, headers=headers))
    version, continued, _, flags = event.headers["traceparent"].split("-")
    assert (version, continued, flags) == ("00", trace, "00")
    seen = await traced.command("1", "hold")
    await eventually(lambda: bool(span_of(collected, seen)), "the next span is exported")
    assert len(collected.spans) == 1


async def test_a_copy_of_an_event_differs_in_its_span_at_most(
    traced: Installation, collected: Collector
) -> None:
    """It is known by its ``message_id``, and says the same."""
    body = {"call_control": "hold", "request_id": "1"}
    for copies in (1, 2):
        await traced.publish("1", body, message_id="once")
        await traced.until_seen(copies)
    first, second = traced.events
    assert (first.message_id, first.body) == (second.message_id, second.body)
    apart = {name for name in first.headers if first.headers[name] != second.headers.get(name)}
    assert apart == {"traceparent"}
    await eventually(lambda: len(collected.spans) >= 2, "both spans are exported")
    assert [span.attributes["call_control.duplicate"] for span in collected.spans] == [False, True]


async def test_traces_show_neither_digits_nor_phone_numbers(
    traced: Installation, collected: Collector
) -> None:
    """Nor a command's body."""
    await traced.ask("1", "call", **CALL)
    await traced.ask("1", "dial", digits=DIGITS)
    await traced.ask("1", "dial", digits=f"{DIGITS}x")
    await eventually(lambda: len(collected.spans) >= 3, "all spans are exported")
    exported = b"".join(collected.bodies)
    assert b"call_control.command" in exported
    for secret in (DIGITS, "18164388687", "18165057120"):
        assert secret.encode() not in exported


async def test_a_worker_that_stops_exports_what_it_has(
    empty: Installation, collected: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for the next time that it would have."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collected.endpoint)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    (worker,) = await empty.start(traces="otlp")
    await empty.subscribe()
    await empty.ask("1", "hold")
    assert collected.spans == []
    assert await worker.terminate() == 0
    assert len(collected.spans) == 1


async def test_a_collector_that_is_away_costs_spans_and_nothing_else(
    empty: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands are answered, and the worker stops in time."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    (worker,) = await empty.start(traces="otlp")
    await empty.subscribe()
    for number in range(3):
        await empty.ask(str(number), "hold")
    assert await worker.terminate() == 0


async def test_without_traces_the_header_goes_on_as_it_came(calls: Installation) -> None:
    """A worker that adds nothing to a trace does not break it either."""
    parent = f"00-{'1' * 32}-{'2' * 16}-01"
    body = {"call_control": "hold", "request_id": "1"}
    event = await calls.answer(await calls.publish("1", body, headers={"traceparent": parent}))
    assert event.headers["traceparent"] == parent


#: A process in which opentelemetry is not installed; where it is, the Redis client imports it too.
_WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
from worker.cli.app import main
from worker.tracing import outgoing_headers
assert outgoing_headers() == {}
main()
"""


async def test_a_worker_without_traces_needs_no_opentelemetry(empty: Installation) -> None:
    """It is an extra, and few install it."""
    worker = await empty.spawn(command=("-c", _WITHOUT, "worker"))
    await worker.joined()
    await empty.subscribe()
    assert (await empty.ask("1", "hold")).content["status"] == 481


_IMPORTED = """
import sys
import worker.cli.app
print([name for name in sys.modules if name.startswith("opentelemetry.exporter")])
"""


async def test_nothing_imports_the_exporter_before_traces_are_asked_for() -> None:
    """Nobody waits for it who does not want it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _IMPORTED, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert printed == b"[]\n"


async def test_asking_for_traces_without_their_packages_names_the_extra(
    empty: Installation,
) -> None:
    """It is an error at the start, not a worker without traces."""
    worker = await empty.spawn(command=("-c", _WITHOUT, "worker"), traces="otlp")
    assert await asyncio.wait_for(worker.process.wait(), 60) == ExitCode.USAGE
    assert "pip install 'call-control-worker[tracing]'" in worker.log.read_text()
    assert "Traceback" not in worker.log.read_text()
