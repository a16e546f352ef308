"""Spans on their way to a collector: what the variables say, what arrives, and collectors that fail."""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import MissingExtra, UsageError
from reasoner.serving import telemetry
from reasoner.serving.config import Limits
from reasoner.serving.service import Service
from reasoner.serving.telemetry import Telemetry
from tests.running import running
from tests.serving.running import offered, serving
from tests.serving.test_service import solved
from tests.serving.test_telemetry import ASKED


class Hanging(SpanExporter):
    """Waits until it is let go; `began` tells that it waits."""

    def __init__(self) -> None:
        self.began, self.let_go = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.began.set()
        self.let_go.wait()
        return SpanExportResult.FAILURE


class Raising(Hanging):
    """Fails each time."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.began.set()
        raise RuntimeError("no collector")


@pytest.mark.parametrize("kind", [Hanging, Raising])
@running
async def test_an_exporter_that_hangs_or_fails_holds_up_nothing(
    kind: type[Hanging], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests are answered while it hangs, with more spans than its queue holds, and the service ends before it."""
    monkeypatch.setattr(telemetry, "CLOSE_SECONDS", 0.01)
    exporter = kind()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=16, max_export_batch_size=8))
    async with Service(SimulatedEngine(), offered(), Limits(), telemetry=Telemetry(provider)) as service:
        await solved(service)
        assert exporter.began.wait(60)
        for _ in range(10):
            assert (await solved(service)).text
    assert not exporter.let_go.is_set()
    exporter.let_go.set()


class Collector(HTTPServer):
    """Keeps what is sent to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[str, bytes]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No variable of OpenTelemetry, and no proxy, is set."""
    for name in os.environ:
        if name.startswith("OTEL_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("name", ["reasoner", "mine"])
def test_a_collector_gets_the_last_spans_when_the_server_stops(name: str, environment: pytest.MonkeyPatch) -> None:
    if name != "reasoner":
        environment.setenv("OTEL_SERVICE_NAME", name)
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
            with serving(SimulatedEngine(), telemetry=Telemetry.from_environment()) as server:
                assert httpx.post(f"{server.base_url}/chat/completions", json=ASKED).status_code == 200
        finally:
            collector.shutdown()
            thread.join()
    [(path, body)] = collector.received
    assert path == "/v1/traces"
    [resource] = ExportTraceServiceRequest.FromString(body).resource_spans
    assert {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"] == name
    names = sorted(span.name for scope in resource.scope_spans for span in scope.spans)
    assert names == [*["chat simulated"] * 8, "invoke_workflow self_consistency"]


@running
async def test_without_a_collector_at_the_address_requests_are_answered(environment: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), _Handler) as closed:
        address = f"http://127.0.0.1:{closed.server_port}"
    environment.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", address)
    environment.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    async with Service(SimulatedEngine(), offered(), Limits(), telemetry=Telemetry.from_environment()) as service:
        for _ in range(3):
            assert (await solved(service)).text


@pytest.mark.parametrize("given", [{}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_no_spans_are_made_unless_they_are_asked_for(given: dict[str, str], environment: pytest.MonkeyPatch) -> None:
    for name, value in given.items():
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
        environment.setenv(name, value)
    assert Telemetry.from_environment() == Telemetry()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "OTEL_EXPORTER_OTLP_ENDPOINT='collector:4318' is no URL: write http://HOST:4318"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_PROTOCOL='http/json' is not supported"),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector", "OTEL_BSP_MAX_QUEUE_SIZE": "-1"},
            "OpenTelemetry cannot export spans: max_queue_size must be a positive integer: correct the variables OTEL_*",
        ),
    ],
)
def test_a_variable_that_does_not_fit_is_named(
    given: dict[str, str], why: str, environment: pytest.MonkeyPatch
) -> None:
    for name, value in {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318", **given}.items():
        environment.setenv(name, value)
    with pytest.raises(UsageError) as refused:
        Telemetry.from_environment()
    assert str(refused.value).startswith(why)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("protocol", "package"), [("http/protobuf", "http"), ("grpc", "grpc")])
def test_missing_packages_are_named(protocol: str, package: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    environment.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    environment.setitem(sys.modules, f"opentelemetry.exporter.otlp.proto.{package}.trace_exporter", None)
    with pytest.raises(MissingExtra, match=rf"pip install opentelemetry-exporter-otlp-proto-{package}`$"):
        Telemetry.from_environment()


@pytest.mark.process
def test_nothing_of_opentelemetry_is_imported_where_no_spans_are_made(environment: pytest.MonkeyPatch) -> None:
    code = """
import asyncio, sys
from tests.serving.test_service import service, solved
from reasoner.engines.simulated import SimulatedEngine
from reasoner.serving.telemetry import Telemetry
import reasoner.cli.server_run

async def main():
    async with service(SimulatedEngine(), telemetry=Telemetry.from_environment()) as serving:
        await solved(serving)

asyncio.run(main())
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    path = f"import sys; sys.path[:0] = {sys.path!r}\n"
    ended = subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
