"""Spans of requests for OpenTelemetry: a span of each request, with a child for each sequence that is drawn for it.

Their attributes are those of OpenTelemetry's conventions for generative AI, and some of our own under `reasoner.`. They
hold names and numbers, and never text of a prompt or a reply. The packages of OpenTelemetry are imported only where
spans are made.
"""

import asyncio
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from reasoner.budget import Cost
from reasoner.errors import MissingExtra, UsageError
from reasoner.serving.metrics import Outcome
from reasoner.serving.replies import usage
from reasoner.solution import Solution
from reasoner.system.machine import installed
from reasoner.trace.events import Began, Dropped, Event, Sampled, Sink, Thought

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""The variables that name a collector; where neither is set, no spans are made."""
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
HTTP: Final = "http/protobuf"
GRPC: Final = "grpc"
CLOSE_SECONDS: Final = 5.0
"""Seconds in which the last spans may be sent when the server stops; those that are left then are lost."""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Makes the spans of requests with a provider, which exports them; without one it makes none."""

    provider: "TracerProvider | None" = None

    @classmethod
    def from_environment(cls) -> Self:
        """As OpenTelemetry's variables say: spans are exported in batches by a thread, from a bounded queue.

        Raises:
            UsageError: a variable has a value that does not fit, or a package is missing.
        """
        endpoint, address = _first_set(*ENDPOINTS)
        off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        if not address or off or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
            return cls()
        name, protocol = _first_set(*PROTOCOLS)
        if protocol not in {"", HTTP, GRPC}:
            raise UsageError(f"{name}={protocol!r} is not supported: set it to {HTTP} or {GRPC}")
        if protocol != GRPC and not address.startswith(("http://", "https://")):
            raise UsageError(f"{endpoint}={address!r} is no URL: write http://HOST:4318")
        package = f"opentelemetry-exporter-otlp-proto-{'grpc' if protocol == GRPC else 'http'}"
        try:
            return cls(_provider(_exporter(protocol)))
        except ImportError as failure:
            command = f"{'' if installed('pip') else 'uv '}pip install {package}"
            raise MissingExtra(f"{endpoint} is set, and spans need {package}: run `{command}`") from failure
        except Exception as failure:
            why = " ".join(str(failure).split()).rstrip(".")
            raise UsageError(f"OpenTelemetry cannot export spans: {why}: correct the variables OTEL_*") from failure

    def begin(self, workflow: str, model: str, headers: Mapping[str, str]) -> "RequestSpan":
        """The span of a request that begins now, within the span that the header `traceparent` names, if any.

        `workflow` is the registered name of its strategy, `model` the model that it asked for.
        """
        if self.provider is None:
            return RequestSpan()
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        tracer = self.provider.get_tracer("reasoner")
        attributes = {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": workflow,
            "gen_ai.request.model": model,
        }
        context = TraceContextTextMapPropagator().extract(headers)
        span = tracer.start_span(f"invoke_workflow {workflow}", context=context, attributes=attributes)
        return RequestSpan(tracer, span) if span.is_recording() else RequestSpan()

    async def close(self) -> None:
        """Export the spans that are left, for at most `CLOSE_SECONDS`; none are made after that."""
        if self.provider is None:
            return
        # The provider itself waits half a minute for a collector that hangs, and the process must not wait for it.
        closing = threading.Thread(target=self.provider.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSE_SECONDS)


class RequestSpan:
    """The span of one request, and those of its sequences; without a span, nothing is recorded."""

    def __init__(self, tracer: "Tracer | None" = None, span: "Span | None" = None) -> None:
        self._tracer = tracer
        self._span = span
        self._sequences: list[_Sequences] = []

    def follow(self, sink: Sink) -> Sink:
        """A sink of the events of one question, which hands them on to `sink`."""
        if self._tracer is None or self._span is None:
            return sink
        sequences = _Sequences(self._tracer, self._span, sink)
        self._sequences.append(sequences)
        return sequences

    def spend(self, cost: Cost) -> None:
        """Record what the request cost."""
        if self._span:
            self._span.set_attributes({**_usage(cost), "reasoner.samples": cost.samples})

    def end(self, outcome: Outcome, solution: Solution | None = None, *, error: str = "") -> None:
        """End it, with its first solution if it has any; `error` is the code of the error that its client gets."""
        if self._span is None:
            return
        for sequences in self._sequences:
            sequences.end()
        self._span.set_attribute("reasoner.outcome", outcome)
        if solution:
            self._span.set_attribute("reasoner.ended_by", solution.ended_by)
            error = type(solution.error).__name__ if solution.error else error
        if error:
            self._span.set_attribute("error.type", error)
        if outcome == "error":
            _mark_failed(self._span)
        self._span.end()


@dataclass(frozen=True, slots=True)
class _Request:
    """What a sequence cost so far, and the times of its first request, in nanoseconds since 1970."""

    start: int
    end: int
    cost: Cost


@dataclass(slots=True)
class _Sequences:
    """Makes a span of each sequence of a question, and hands the events on."""

    tracer: "Tracer"
    parent: "Span"
    sink: Sink
    _model: str = ""
    _engine: str = ""
    _thoughts: dict[tuple[str, int], _Request] = field(default_factory=dict)
    """Sequences that wait for their second request, by their prompt and index."""

    def __call__(self, event: Event) -> None:
        """Make the span of a sequence that ended."""
        self.sink(event)
        if isinstance(event, Began):
            self._model, self._engine = event.model.name, event.engine
        elif isinstance(event, Thought):
            self._thoughts[event.prompt, event.index] = _request(event)
        elif isinstance(event, Sampled):
            self._ended(event, {"gen_ai.response.finish_reasons": (event.finish_reason,)})
        elif isinstance(event, Dropped):
            lost = {"error.type": event.why} if event.why == "lost" else {}
            self._ended(event, {"reasoner.dropped": event.why, **lost})

    def end(self) -> None:
        """Make the spans of sequences that got no second request."""
        for request in self._thoughts.values():
            self._make(request, {})
        self._thoughts.clear()

    def _ended(self, event: Sampled | Dropped, attributes: Mapping[str, Any]) -> None:
        request = _request(event)
        if first := self._thoughts.pop((event.prompt, event.index), None):
            request = _Request(first.start, request.end, first.cost + request.cost)
        self._make(request, attributes)

    def _make(self, request: _Request, attributes: Mapping[str, Any]) -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context

        span = self.tracer.start_span(
            f"chat {self._model}",
            context=set_span_in_context(self.parent),
            kind=SpanKind.CLIENT,
            start_time=request.start,
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": self._engine,
                "gen_ai.request.model": self._model,
                **_usage(request.cost),
                **attributes,
            },
        )
        if "error.type" in attributes:
            _mark_failed(span)
        span.end(request.end)


def _request(event: Thought | Sampled | Dropped) -> _Request:
    """The request that an event records. It ends now; its start is known by how long it took, waiting included."""
    now = time.time_ns()
    return _Request(now - round(event.cost.seconds * 1e9), now, event.cost)


def _usage(cost: Cost) -> dict[str, int]:
    tokens = usage([cost])
    return {
        "gen_ai.usage.input_tokens": tokens["prompt_tokens"],
        "gen_ai.usage.output_tokens": tokens["completion_tokens"],
    }


def _mark_failed(span: "Span") -> None:
    from opentelemetry.trace import StatusCode

    # Without a description: the message of an error may quote the request.
    span.set_status(StatusCode.ERROR)


def _first_set(*names: str) -> tuple[str, str]:
    """The first of these variables that is set, and its value; both empty where none is."""
    return next(((name, value) for name in names if (value := os.environ.get(name, "").strip())), ("", ""))


def _exporter(protocol: str) -> "SpanExporter":
    if protocol == GRPC:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    return HttpExporter()


def _provider(exporter: "SpanExporter") -> "TracerProvider":
    """A provider of our own: that of the process may belong to another library."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # The name that the variables give, if any, is that of the service.
    resource = Resource.create({"service.name": "reasoner"}).merge(OTELResourceDetector().detect())
    # Exporting at exit would wait for a collector that hangs.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
