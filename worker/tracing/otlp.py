"""A span for each message, exported by OTLP over HTTP; the extra ``tracing`` brings what it needs.

Names and attributes are those of OpenTelemetry's semantic conventions for messaging and RabbitMQ.
A span says what a command was and what came of it, but nothing of what it held: no phone numbers,
no digits.
"""

import socket
import time
from dataclasses import replace
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from worker.batch import Outcome
from worker.metrics import build_version
from worker.names import Names
from worker.reading import Item

#: The name of the service, unless ``OTEL_SERVICE_NAME`` says another.
_SERVICE: Final = "call-control-worker"

#: From this status on it was the worker's fault, or its network's, and not the command's.
_ERROR: Final = 500

_CONTEXT: Final = TraceContextTextMapPropagator()


class OtlpSpans:
    """The spans of one worker. Where they go is said by the standard ``OTEL_…`` variables.

    Args:
        names: The installation's names.
        worker: This worker's name.
    """

    def __init__(self, names: Names, worker: str) -> None:
        self._name = f"process {names.commands}"
        resource = Resource.create(
            {
                "service.name": _SERVICE,
                "service.version": build_version(),
                "service.instance.id": worker,
                "host.name": socket.gethostname(),
            }
        )
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(__name__, build_version())

    def begin(self, item: Item) -> Item:
        """Return a message with its span, which its answer continues."""
        request, delivery = item.message.request, item.delivery
        carrier = {} if request.traceparent is None else {"traceparent": request.traceparent}
        age = time.monotonic() - delivery.received_at
        span = self._tracer.start_span(
            self._name,
            # A context of its own: there is no other span here that could be the parent.
            context=_CONTEXT.extract(carrier),
            kind=SpanKind.CONSUMER,
            start_time=time.time_ns() - int(age * 1e9),
        )
        _CONTEXT.inject(carrier, set_span_in_context(span))
        traced = replace(request, traceparent=carrier["traceparent"])
        return item._replace(message=item.message._replace(request=traced), span=span)

    def end(self, outcome: Outcome) -> None:
        """End a message's span: what came of it is confirmed."""
        span = outcome.item.span
        if span is None:
            return
        if span.is_recording():
            span.set_attributes(_attributes(outcome))
            status = outcome.events[0].status if outcome.events else outcome.status
            if status >= _ERROR:
                span.set_status(StatusCode.ERROR)
                span.set_attribute("error.type", str(status))
        span.end()

    def close(self) -> None:
        """Export what has ended; takes seconds where nobody listens."""
        self._provider.shutdown()


def _attributes(outcome: Outcome) -> dict[str, AttributeValue]:
    item, delivery = outcome.item, outcome.item.delivery
    event = outcome.events[0] if outcome.events else None
    said: dict[str, AttributeValue | None] = {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": delivery.exchange,
        "messaging.destination.partition.id": str(delivery.subscription.partition),
        "messaging.message.id": delivery.properties.message_id,
        "messaging.message.conversation_id": item.message.request.correlation_id,
        "messaging.message.body.size": len(delivery.body),
        "messaging.rabbitmq.destination.routing_key": delivery.routing_key,
        "messaging.rabbitmq.message.delivery_tag": delivery.tag,
        "call_control.request_id": item.request_id,
        "call_control.command": item.message.kind,
        "call_control.status": event.status if event else outcome.status,
        "call_control.sequence": event.sequence if event else None,
        "call_control.state": event.call_state if event else None,
        "call_control.duplicate": outcome.duplicate,
    }
    return {name: value for name, value in said.items() if value is not None}
