"""A request that passes through is drawn directly: whatever is asked and whatever happens, as a run would do it."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from reasoner.engine import SampleRequest
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import EngineError, RequestLost
from reasoner.serving.choose import Job
from reasoner.serving.config import ServerLimits
from reasoner.serving.page import MAX_LATER
from reasoner.types import Usage
from tests.scripted import MODEL, THINKER, ScriptedEngine
from tests.serving.running import Server, serving

CHANGING = {"id", "created", "created_at", "trace", "seconds", "t", "crc32", "item_id", "seed"}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
FIELDS: list[dict[str, Any]] = [
    {},
    {"n": 3, "temperature": 0.5, "stop": ["seven"]},
    {"max_tokens": 2},
    {"reasoning_effort": "none", "top_p": 0.5, "presence_penalty": 1.0},
    {"reasoning_effort": "low", "max_tokens": 3, "n": 2},
    {"reasoner": {"budget": {"tokens": 40}}},
    {"reasoner": {"budget": "tokens=3"}, "n": 2},
    {"reasoner": {"budget": "samples=1,generated=30"}},
    {"reasoner": {"strategy": "single(instruction=Think.)"}},
    {"reasoner": {"strategy": "single(shots=[a,b])"}},
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "so it goes " * 90}]},
    {"tools": [TOOL], "messages": [{"role": "user", "content": "call add"}]},
    {"tools": [TOOL], "tool_choice": "required", "messages": [{"role": "user", "content": "call add"}]},
    {"response_format": {"type": "json_object"}, "reasoner": {"answer": "free"}},
    *({"messages": [{"role": "user", "content": word}]} for word in ("blank", "hostile", "fail", "lost", "die")),
]


def engine(thinks: bool) -> ScriptedEngine:
    """It replies, loses requests and fails as the question says."""
    losses = Counter[int]()

    async def pause(request: SampleRequest) -> None:
        asked = request.prompt.messages[-1].content
        if asked == "lost" or (asked == "die" and not losses[request.seed]):
            losses[request.seed] += 1
            request.meter.usage = Usage(request.rendered.tokens, 0, 1)
            raise RequestLost("gone")
        if asked == "fail":
            raise EngineError("it has no more paper")

    def script(request: SampleRequest) -> str:
        known = {
            "blank": " \n",
            "hostile": "<script>\x1b[0m\u2028\u202e</script>",
            "call add": '{"name": "add", "arguments": {}}',
        }
        return known.get(request.prompt.messages[-1].content, "The answer is seven of nine")

    return ScriptedEngine(script, pause=pause, block_size=4, model=THINKER if thinks else MODEL)


def same(value: Any) -> Any:
    """What is to be equal of a reply or an event."""
    if isinstance(value, dict):
        return {name: same(part) for name, part in value.items() if name not in CHANGING}
    return [same(part) for part in value] if isinstance(value, list) else value


@contextmanager
def both(monkeypatch: pytest.MonkeyPatch, thinks: bool) -> Iterator[tuple[Server, Server]]:
    """Two equal servers, of which the second runs a plan for every request."""
    draw = Job.draw

    async def drawn(job: Job, session: Any, **options: Any) -> Any:
        if session is run.service._session:
            return None
        made = await draw(job, session, **options)
        assert made is not None
        return made

    monkeypatch.setattr(Job, "draw", drawn)
    with serving(engine(thinks)) as direct, serving(engine(thinks)) as run:
        yield direct, run


def outcome(server: Server, fields: dict[str, Any], *, route: str, stream: bool) -> list[Any]:
    """The status, headers, reply and trace of a request."""
    messages = fields.get("messages", [{"role": "user", "content": "What is 3 + 4?"}])
    name = server.service.offer.model.name
    body = {"model": name, "messages": messages, "seed": 5, "stream": stream, **fields}
    if route == "responses":
        body = {"model": name, "input": messages, "stream": stream}
    response = httpx.post(f"{server.base_url}/{route}", json=body, timeout=60)
    headers = {
        key: value for key, value in response.headers.items() if key not in ("date", "x-request-id", "content-length")
    }
    text = re.sub(r"internal error \w+", "internal error", response.text)
    if stream and response.status_code == 200:
        chunks = [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: {")]
    else:
        chunks = [json.loads(text)]
    traces = [
        [
            json.loads(line)
            for line in httpx.get(f"{server.base_url}/reasoner/traces/{trace}.jsonl").text.split("\n")[:-1]
        ]
        for trace in sorted(set(re.findall(r'"trace":"([^"]+)"', text)), key=text.find)
    ]
    return [response.status_code, headers, same(chunks), [same(trace) for trace in traces]]


def books(server: Server) -> list[Any]:
    """The ledger, what the engine computed, and the counters."""
    metrics = re.sub(r".*(_seconds|_created).*\n", "", server.service.metrics.text().decode())
    return [server.service.ledger.settled.taking(0), server.service.ledger.reserved, metrics]


@pytest.mark.parametrize("thinks", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_a_direct_request_is_what_a_run_would_be(thinks: bool, stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its headers, reply, trace, ledger and counters, whatever is asked and whatever happens."""
    with both(monkeypatch, thinks) as (direct, run):
        for fields in FIELDS:
            asked = {**fields, "reasoner": fields.get("reasoner", {})}
            first, second = (
                outcome(server, asked, route="chat/completions", stream=stream) for server in (direct, run)
            )
            assert first == second, fields
            assert books(direct) == books(run), fields
        first, second = (outcome(server, {}, route="responses", stream=stream) for server in (direct, run))
        assert first[0] == second[0] == 200
        assert first[2][-1] is not None
    assert [type(report) for report in direct.reports] == [type(report) for report in run.reports]


@pytest.mark.parametrize("size", [10, 20_000])
def test_a_trace_that_nobody_reads_is_kept_as_it_is_while_it_is_small(size: int) -> None:
    with serving(SimulatedEngine(), ServerLimits(max_concurrent=4)) as server:
        asked = {"model": "simulated", "messages": [{"role": "user", "content": "\U0010ffff" * size}]}
        trace = httpx.post(f"{server.base_url}/chat/completions", json=asked).json()["reasoner"]["trace"]
        kept = server.service.traces.get(trace)
        assert kept is not None
        assert (kept.size == MAX_LATER) == (size < 100)
        assert server.service.traces.size == kept.size
        assert len(httpx.get(f"{server.base_url}/reasoner/traces/{trace}.jsonl").content) == kept.size < 10 * MAX_LATER
        assert server.service.traces.size == kept.size
