"""The engine over HTTP where nothing interrupts a sequence: whole replies."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from reasoner import Budget, Solution, solve
from reasoner.answers.questions import Question
from reasoner.engine import RenderedPrompt, SampleRequest, UsageMeter
from reasoner.engines.openai import OpenAIEngine
from reasoner.engines.openai.wire import parse_reply
from reasoner.errors import RequestLost
from reasoner.stopping.rules import LockIn
from reasoner.trace.events import Event, Sampled
from reasoner.types import Completion, Prompt, SamplingParams, Usage
from reasoner_strategies import SelfConsistency
from tests.engines.drawing import draw
from tests.engines.fake_server import FakeServer, Fault, text_only
from tests.engines.fake_tokenizer import spell_chat
from tests.engines.raw_server import raw_server, whole
from tests.running import running

ASKED = Prompt.chat("2+2?")
QUESTION = Question.of("2+2?")
CHAT, RAW = "/v1/chat/completions", "/v1/completions"


def prompt_tokens(question: Question = QUESTION) -> int:
    return len(
        spell_chat(
            [
                {"role": one.role, "content": one.content}
                for one in question.prompt.messages
            ]
        )
    )


def voted(
    server: FakeServer, n: int = 8, **options: Any
) -> tuple[Solution, OpenAIEngine, list[Sampled]]:
    events: list[Event] = []
    engine = OpenAIEngine(base_url=server.url)
    strategy = SelfConsistency(n=n, params=SamplingParams(max_tokens=32))
    solution = asyncio.run(
        solve(QUESTION, strategy, engine, trace=events.append, **options)
    )
    return solution, engine, [event for event in events if isinstance(event, Sampled)]


# One request for each sequence


@pytest.mark.parametrize("vllm", [True, False])
def test_each_sequence_is_a_request_with_its_own_seed(vllm: bool) -> None:
    with FakeServer(vllm=vllm, owner="someone", cached=4) as server:
        solution, _, sampled = voted(server, budget=Budget(tokens=9000))
        bodies = server.sent(RAW if vllm else CHAT)
    assert not [
        body for body in bodies if body.keys() & {"n", "stream", "stream_options"}
    ]
    assert {body["seed"] for body in bodies} == {one.seed for one in sampled}
    assert len({body["seed"] for body in bodies}) == len(bodies) == 8
    cost = solution.cost
    assert (cost.prompt_tokens, cost.cached_tokens) == (
        8 * (prompt_tokens() - 4),
        8 * 4,
    )
    assert (cost.generated_tokens, cost.requests, cost.samples) == (8 * 5, 8, 8)
    assert sorted(one.index for one in sampled) == [*range(8)]
    assert sampled[0].token_ids[:4] == ((500, 501, 502, 503) if vllm else ())
    assert solution.answer is not None
    assert solution.answer.text == "4"


@pytest.mark.parametrize(
    ("reported", "text", "ids", "usage"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 2}, "a", [1, 2, 3], Usage(7, 0, 3)),
        ({"prompt_tokens": 7, "completion_tokens": 6}, "abc", [], Usage(7, 0, 6)),
        (None, "abc", [], Usage(90, 0, 4)),
        (None, "x" * 99, [], Usage(90, 0, 10)),
    ],
)
def test_what_is_not_counted_is_what_was_sent_or_a_bound(
    reported: dict[str, int] | None, text: str, ids: list[int], usage: Usage
) -> None:
    request = SampleRequest(
        "q", ASKED, RenderedPrompt(None, 90), SamplingParams(max_tokens=10), 0, 1
    )
    choice = {"message": {"content": text}, "token_ids": ids, "finish_reason": "stop"}
    assert (
        parse_reply(
            json.dumps({"choices": [choice], "usage": reported}).encode(), request
        ).usage
        == usage
    )


# What is streamed


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        (SelfConsistency(n=2, stop=LockIn()), {}),
        (SelfConsistency(n=2), {"stop": LockIn()}),
        (SelfConsistency(n=2), {"budget": Budget(seconds=60)}),
        (SelfConsistency(n=2, params=SamplingParams(max_tokens=1025)), {}),
    ],
)
def test_what_can_be_interrupted_or_takes_long_is_streamed(
    strategy: Any, options: dict[str, Any]
) -> None:
    with text_only() as server:
        asyncio.run(
            solve(QUESTION, strategy, OpenAIEngine(base_url=server.url), **options)
        )
        assert {body["stream"] for body in server.sent(CHAT)} == {True}


# What goes wrong with a whole reply


async def several(
    engine: OpenAIEngine, meters: Sequence[UsageMeter], **params: Any
) -> list[Completion | BaseException]:
    await engine.start()
    rendered = await engine.render(ASKED)
    drawing = replace(SamplingParams(max_tokens=32), **params)
    requests = [
        SampleRequest(
            "q",
            ASKED,
            rendered,
            drawing,
            index,
            index,
            interruptible=False,
            meter=meter,
        )
        for index, meter in enumerate(meters)
    ]
    return await asyncio.gather(*map(engine.sample, requests), return_exceptions=True)


@pytest.mark.parametrize("fault", [Fault("close"), Fault("cut")])
@pytest.mark.parametrize("vllm", [True, False])
def test_nobody_can_tell_what_a_broken_whole_reply_cost(
    fault: Fault, vllm: bool
) -> None:
    with FakeServer(vllm=vllm, owner="someone", faults=[fault] * 2) as server:
        meters = [UsageMeter(), UsageMeter()]
        engine = OpenAIEngine(base_url=server.url)
        lost = asyncio.run(several(engine, meters))
        assert [type(one) for one in lost] == [RequestLost, RequestLost]
        assert [meter.usage for meter in meters] == [None, None]
        assert [type(one) for one in asyncio.run(several(engine, meters))] == [
            Completion,
            Completion,
        ]


@pytest.mark.parametrize(
    "body",
    [
        "",
        '{"choices": [{"message": {"content": 7}}]}',
        '{"choices": [{"message": {"content": "x"}, "finish_reason": 7}]}',
        "[" * 100_000,
        '{"error": {"message": "engine died"}}',
        '{"choices": [{"message": {"content": "x"}, "token_ids": ['
        + "1," * 200
        + "1]}]}",
    ],
)
def test_nonsense_in_place_of_a_whole_reply_is_lost(body: str) -> None:
    with text_only(faults=[Fault("send", body=body)]) as server:
        meter = UsageMeter()
        [lost] = asyncio.run(several(OpenAIEngine(base_url=server.url), [meter]))
        assert isinstance(lost, RequestLost)
        assert "\n" not in str(lost)
        assert len(str(lost)) < 200
        assert meter.usage is None


def test_a_proxy_that_gives_up_on_a_whole_reply_gets_streams_from_then_on() -> None:
    with text_only(
        faults=[Fault("status", 504, "<html>gateway timeout</html>")]
    ) as server:
        solution, engine, _ = voted(server, n=1)
        assert [body.get("stream") for body in server.sent(CHAT)] == [None, True]
        assert [note for note in engine.notes if "all replies are streamed" in note]
        # The proxy told nothing of what the server computed: the first try is booked at its bound.
        assert solution.cost.cancelled_tokens == 32
        assert solution.answer is not None


def test_a_server_that_counts_nothing_in_whole_replies_is_bounded_and_then_streamed() -> (
    None
):
    with text_only(reports_usage=False) as server:
        engine = OpenAIEngine(base_url=server.url)
        [first] = asyncio.run(several(engine, [UsageMeter()]))
        [second] = asyncio.run(several(engine, [UsageMeter()]))
        assert isinstance(first, Completion)
        assert isinstance(second, Completion)
        assert first.usage.generated_tokens == len("The answer is 4") + 1
        assert second.usage.generated_tokens == 4
        assert [note for note in engine.notes if "reports no usage" in note]


# Cancelling


# How many at once


@running
async def test_no_more_requests_than_allowed_are_in_flight_first_come_first_served() -> (
    None
):
    flying, peak, served = 0, 0, list[str]()
    arrived, let = asyncio.Queue[str](), asyncio.Semaphore(0)

    async def serve(
        body: dict[str, Any], _: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        nonlocal flying, peak
        flying, name = flying + 1, body["messages"][0]["content"]
        peak = max(peak, flying)
        arrived.put_nowait(name)
        await let.acquire()
        flying -= 1
        served.append(name)
        choice = {"message": {"content": "4"}, "finish_reason": "stop"}
        writer.write(
            whole(
                {
                    "choices": [choice],
                    "usage": {"prompt_tokens": 9, "completion_tokens": 1},
                }
            )
        )

    async with raw_server(serve) as url:
        engine = OpenAIEngine(base_url=url, max_concurrency=3)
        await engine.start()
        drawing = (
            draw(engine, Prompt.chat(f"{number:02}"), interruptible=False)
            for number in range(9)
        )
        tasks = [asyncio.ensure_future(each) for each in drawing]
        for _ in range(3):
            await arrived.get()
        for number in (1, 5):  # one in flight, one that waits
            tasks[number].cancel()
        await (
            arrived.get()
        )  # the one that was cancelled has left its place, though the server works on
        for _ in range(12):
            let.release()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert peak == 4
    assert served[4:] == sorted(served[4:])
    assert "05" not in served
