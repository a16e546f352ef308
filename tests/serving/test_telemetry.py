"""Spans of requests: what they say, whose children they are, and what they never hold."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.trace import SpanKind, StatusCode

from reasoner.engine import Engine, SampleRequest
from reasoner.engines.scripted import ScriptedEngine
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import EngineDied, RequestLost
from reasoner.serving.config import Limits
from reasoner.serving.errors import ApiError
from reasoner.serving.limits import Client, Quota
from reasoner.serving.service import Service
from reasoner.serving.telemetry import Telemetry
from reasoner.trace.events import Sampled, Thought
from reasoner.types import TokenIds
from tests.execution.test_thinking_limit import Thinker
from tests.helpers import jumbled, says, varied
from tests.running import running
from tests.serving.running import offered, serving
from tests.serving.test_service import ALICE, jobs, solved

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ASKED = {"model": "simulated@vote8", "messages": [{"role": "user", "content": "What is 3 + 4?"}]}
TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")


class Spans(InMemorySpanExporter):
    """The spans that ended, with the telemetry that makes them."""

    def __init__(self) -> None:
        super().__init__()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self))
        self.telemetry = Telemetry(provider)

    def request(self) -> ReadableSpan:
        """The span of the only request."""
        [span] = [span for span in self.get_finished_spans() if not span.name.startswith("chat ")]
        return span

    def children(self) -> list[ReadableSpan]:
        return [span for span in self.get_finished_spans() if span.name.startswith("chat ")]


@asynccontextmanager
async def traced(engine: Engine, spans: Spans, limits: Limits | None = None) -> AsyncIterator[Service]:
    async with Service(engine, offered(), limits or Limits(), telemetry=spans.telemetry) as service:
        yield service


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def tokens(*spans: ReadableSpan) -> list[int]:
    """The sums of the tokens of input and of output."""
    return [sum(attributes(span)[name] for span in spans) for name in TOKENS]


def context_ids(span: ReadableSpan) -> tuple[int, int]:
    assert span.context
    return span.context.trace_id, span.context.span_id


@running
async def test_a_vote_is_a_span_with_a_child_for_each_sample() -> None:
    spans = Spans()
    async with traced(SimulatedEngine(accuracy=1.0, tokens=10.0), spans) as service:
        solution = await solved(service)
    request, children = spans.request(), spans.children()
    assert request.name == "invoke_workflow self_consistency"
    cost = solution.cost
    assert attributes(request) == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "self_consistency",
        "gen_ai.request.model": "simulated@vote8",
        "gen_ai.usage.input_tokens": cost.prompt_tokens + cost.cached_tokens,
        "gen_ai.usage.output_tokens": cost.generated_tokens,
        "reasoner.samples": 8,
        "reasoner.outcome": "answered",
        "reasoner.ended_by": "strategy",
    }
    assert request.parent is None
    assert len(children) == 8
    assert tokens(*children) == tokens(request)
    for child in children:
        assert (child.name, child.kind) == ("chat simulated", SpanKind.CLIENT)
        assert child.parent
        assert (child.parent.trace_id, child.parent.span_id) == context_ids(request)
        assert attributes(child) | dict.fromkeys(TOKENS, 0) == {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "simulated",
            "gen_ai.request.model": "simulated",
            "gen_ai.usage.input_tokens": 0,
            "gen_ai.usage.output_tokens": 0,
            "gen_ai.response.finish_reasons": ("stop",),
        }
        assert child.start_time
        assert child.end_time
        assert child.start_time <= child.end_time


def test_the_names_are_those_of_the_conventions() -> None:
    known = {value for value in vars(gen_ai_attributes).values() if isinstance(value, str)}
    used = {
        "gen_ai.operation.name", "gen_ai.workflow.name", "gen_ai.request.model", "gen_ai.provider.name",
        "gen_ai.response.finish_reasons", *TOKENS,
    }  # fmt: skip
    assert used <= known
    operations = {value.value for value in gen_ai_attributes.GenAiOperationNameValues}
    assert {"invoke_workflow", "chat"} <= operations


@running
async def test_the_tokens_of_spans_equal_the_ledger_whatever_happens() -> None:
    """Sequences are lost and tried again, budgets end, and clients leave; each of them is a span that ended."""
    source = random.Random(4)
    spans = Spans()
    engine = ScriptedEngine(varied, pause=jumbled(2, lost=0.1), block_size=4)
    async with traced(engine, spans, Limits(max_concurrent=5)) as service:
        tasks = []
        for number in range(30):
            more = {"reasoner": {"budget": {"tokens": 150}}} if number % 3 == 0 else {}
            work = service.answer(jobs(service, "vote8", seed=number, n=1 + number % 2, **more), ALICE)
            tasks.append(service.start(work))
        for task in source.sample(tasks, 10):
            for _ in range(source.randint(0, 20)):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait(tasks)
        settled = service.day.ledger.settled
    requests = [span for span in spans.get_finished_spans() if span not in spans.children()]
    assert len(requests) == 30
    outcomes = [attributes(span)["reasoner.outcome"] for span in requests]
    assert {"answered", "cancelled"} <= set(outcomes)
    dropped = [attributes(span).get("reasoner.dropped") for span in spans.children()]
    assert {None, "lost", "cancelled"} <= set(dropped)
    used = [settled.prompt_tokens + settled.cached_tokens, settled.generated_tokens + settled.cancelled_tokens]
    spent = [span for span in requests if TOKENS[0] in attributes(span)]
    assert tokens(*spent) == tokens(*spans.children()) == used


@running
async def test_a_sequence_of_two_requests_is_one_span_from_the_first_to_the_last() -> None:
    spans = Spans()
    async with traced(Thinker(20), spans) as service:
        asked = {"strategy": "self_consistency(n=3,thinking=8)", "answer": "number"}
        solution = await solved(service, "", reasoner=asked)
    thoughts = [event for event in solution.events if isinstance(event, Thought)]
    samples = [event for event in solution.events if isinstance(event, Sampled)]
    assert (len(thoughts), len(samples), len(spans.children())) == (3, 3, 3)
    assert tokens(*spans.children()) == tokens(spans.request())
    for child, thought, sample in zip(spans.children(), thoughts, samples, strict=True):
        assert child.start_time
        assert child.end_time
        assert (child.end_time - child.start_time) / 1e9 >= thought.cost.seconds + sample.cost.seconds


@running
async def test_thinking_that_got_no_second_request_is_a_span() -> None:
    class Failing(Thinker):
        async def encode(self, text: str) -> TokenIds | None:
            raise EngineDied("gone")

    spans = Spans()
    async with traced(Failing(20), spans) as service:
        with pytest.raises(ApiError):
            await solved(service, "", reasoner={"strategy": "self_consistency(n=1,thinking=8)", "answer": "number"})
    assert len(spans.children()) == 1
    assert tokens(*spans.children()) == tokens(spans.request())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["chat/completions", "responses"])
def test_a_request_is_part_of_the_trace_of_its_client(stream: bool, path: str) -> None:
    spans = Spans()
    body: dict[str, Any] = {**ASKED, "stream": stream}
    if path == "responses":
        body["input"] = body.pop("messages")
    with serving(SimulatedEngine(), telemetry=spans.telemetry) as server:
        reply = httpx.post(f"{server.base_url}/{path}", json=body, headers={"TraceParent": PARENT})
        assert reply.status_code == 200
    request = spans.request()
    assert request.parent
    assert f"{request.parent.trace_id:032x}-{request.parent.span_id:016x}" == PARENT[3:-3]
    assert {context_ids(span)[0] for span in spans.get_finished_spans()} == {request.parent.trace_id}


@running
async def test_a_client_that_does_not_record_its_trace_gets_no_spans() -> None:
    spans = Spans()
    async with traced(SimulatedEngine(), spans) as service:
        await service.answer(jobs(service), ALICE, headers={"traceparent": PARENT[:-1] + "0"})
    assert spans.get_finished_spans() == ()


@pytest.mark.parametrize(
    "given", ["", "x", "00-0-0-01", PARENT + "\x00", "00-" + "0" * 32 + PARENT[35:], "ff" + PARENT[2:]]
)
@running
async def test_a_parent_that_is_none_is_ignored(given: str) -> None:
    spans = Spans()
    async with traced(SimulatedEngine(), spans) as service:
        headers = {"traceparent": given, "tracestate": "=" * 9000, "baggage": "a=b"}
        await service.answer(jobs(service), ALICE, headers=headers)
    assert spans.request().parent is None


def dies(request: SampleRequest) -> str:
    raise EngineDied("SECRET of the engine")


def loses(request: SampleRequest) -> str:
    raise RequestLost("SECRET of the engine")


@pytest.mark.parametrize("script", [says("SECRET"), dies, loses])
@pytest.mark.parametrize("model", ["", "vote8", "universal8", "refine"])
@running
async def test_no_span_holds_text_of_a_request_or_a_reply(model: str, script: Any) -> None:
    spans = Spans()
    messages = [{"role": "user", "content": "SECRET of the client"}]
    async with traced(ScriptedEngine(script), spans) as service:
        with suppress(ApiError):
            await solved(service, model, messages=messages, user="SECRET", metadata={"a": "SECRET"}, stop=["SECRET"])
    assert spans.children()
    for span in spans.get_finished_spans():
        assert "SECRET" not in span.to_json()
        assert span.events == ()
        assert span.status.description is None


@running
async def test_failures_are_marked_with_their_kind() -> None:
    spans = Spans()
    async with traced(ScriptedEngine(dies), spans) as service:
        with pytest.raises(ApiError) as failed:
            await solved(service)
    request = spans.request()
    assert request.status.status_code is StatusCode.ERROR
    assert attributes(request)["reasoner.outcome"] == "error"
    assert attributes(request)["error.type"] == failed.value.code
    lost = [span for span in spans.children() if attributes(span)["reasoner.dropped"] == "lost"]
    assert lost
    for span in lost:
        assert (span.status.status_code, attributes(span)["error.type"]) == (StatusCode.ERROR, "lost")


@running
async def test_a_request_that_is_refused_is_no_failure_of_the_server() -> None:
    spans = Spans()
    async with traced(SimulatedEngine(), spans) as service:
        poor = Client("poor", Quota(in_flight=1))
        async with service.turns.turn(poor):
            with pytest.raises(ApiError) as refused:
                await solved(service, client=poor)
    request = spans.request()
    assert request.status.status_code is StatusCode.UNSET
    assert attributes(request)["reasoner.outcome"] == "refused"
    assert attributes(request)["error.type"] == refused.value.code
