"""Traces, where they are asked for: nothing here needs opentelemetry to be installed.

Without them a command's ``traceparent`` goes on to its events as it came.
"""

import sys
from typing import TYPE_CHECKING, Protocol

from worker.errors import ConfigurationError
from worker.names import Names
from worker.settings import Settings, Traces

if TYPE_CHECKING:
    from worker.batch import Outcome
    from worker.reading import Item


class Spans(Protocol):
    """The spans of one worker, one for each message."""

    def begin(self, item: "Item") -> "Item":
        """Return a message with its span, which its answer continues."""

    def end(self, outcome: "Outcome") -> None:
        """End a message's span: what came of it is confirmed."""

    def close(self) -> None:
        """Export what has ended; takes seconds where nobody listens."""


def open_spans(settings: Settings, worker: str) -> Spans | None:
    """Return where spans go; None where no traces are asked for.

    Raises:
        ConfigurationError: The packages for it are not installed.
    """
    if settings.traces is Traces.NONE:
        return None
    try:
        from worker.tracing.otlp import OtlpSpans  # noqa: PLC0415 - an extra that few install
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"CALL_CONTROL_TRACES={settings.traces}: {error.name} is not installed:"
            " pip install 'call-control-worker[tracing]'"
        ) from None
    return OtlpSpans(Names(settings.namespace), worker)


def outgoing_headers() -> dict[str, str]:
    """Return ``traceparent`` and ``tracestate`` of the span that is current, for a command.

    Empty where there is none; then nobody has imported opentelemetry, or begun a span.
    """
    headers: dict[str, str] = {}
    if "opentelemetry.trace" in sys.modules:
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - an extra, as above
            TraceContextTextMapPropagator,
        )

        TraceContextTextMapPropagator().inject(headers)
    return headers
