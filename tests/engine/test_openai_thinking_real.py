"""A model that thinks on a real vLLM server."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reasoner import Question, SamplingParams, solve_sync
from reasoner.engine import SampleRequest
from reasoner.engines.openai import OpenAIEngine
from reasoner.engines.replay import ReplayEngine
from reasoner.trace.events import Event, Sampled, Thought
from reasoner.types import Completion, Prompt
from reasoner_strategies import SelfConsistency
from tests.engine.serving import counted, serving
from tests.engine.thinking_model import END, END_ID, START, START_ID
from tests.helpers import course, write_trace

ASKED = Prompt.chat("Count from one to ten in words.")


@pytest.fixture(scope="module")
def server(thinking_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server."""
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    with serving(thinking_folder, log, name="thinker", options=["--enable-prompt-tokens-details"]) as url:
        yield url


def thinker(url: str) -> OpenAIEngine:
    """An engine that knows how the model thinks, which its name does not say."""
    return OpenAIEngine(base_url=url, reasoning_parser="qwen3")


async def draw(engine: OpenAIEngine, prompt: Prompt = ASKED, **options: Any) -> Completion:
    await engine.start()
    params = SamplingParams(**{"temperature": 0.0, "max_tokens": 24, **options})
    request = SampleRequest("q", prompt, await engine.render(prompt), params, 0, 7, interruptible=False)
    return await engine.sample(request)


def test_the_markers_are_those_of_the_server_s_tokenizer(server: str) -> None:
    engine = thinker(server)
    asyncio.run(engine.start())
    profile = engine.model.thinking
    assert profile
    assert (profile.when, profile.start, profile.end) == ("on_request", (START_ID,), (END_ID,))
    assert profile.levels["none"] == {"enable_thinking": False}


def test_thinking_is_continued_exactly_and_split_by_its_ids(server: str) -> None:
    async def run(engine: OpenAIEngine) -> None:
        whole = await draw(engine, temperature=1.0, max_tokens=96)
        assert START not in whole.thinking + whole.text
        assert END not in whole.thinking
        assert whole.usage.generated_tokens == len(whole.token_ids)
        if not whole.unclosed:
            assert whole.token_ids[whole.usage.thinking_tokens - 1] == END_ID
        greedy = await draw(engine)
        first = await draw(engine, max_tokens=5)
        assert first.unclosed
        second = await draw(engine, ASKED.then(first), max_tokens=19)
        assert first.token_ids + second.token_ids == greedy.token_ids

    asyncio.run(run(thinker(server)))


def test_a_number_of_thinking_tokens_is_kept_and_booked_as_the_server_computes_it(server: str, tmp_path: Path) -> None:
    question = Question.of("What is 3 + 4?", space="number")
    question = replace(question, prompt=question.prompt.at_level(6))
    before, events = counted(server), list[Event]()
    engine, strategy = thinker(server), SelfConsistency(n=4, params=SamplingParams(max_tokens=80))
    solution = solve_sync(question, strategy, engine, trace=events.append)
    after = counted(server)
    assert solution.error is None
    assert solution.cost.prompt_tokens == after[0] - before[0]
    assert solution.cost.generated_tokens == after[1] - before[1]
    assert solution.cost.samples == 4
    drawn = [event for event in events if isinstance(event, Sampled)]
    closed = [event for event in drawn if not event.unclosed]
    assert closed
    assert all(event.token_ids[event.usage.thinking_tokens - 1] == END_ID for event in closed)
    # A model may end a sequence while it thinks, but no limit leaves thinking open.
    assert all(event.finish_reason == "stop" for event in drawn if event.unclosed)
    assert engine.model.thinking
    closing = asyncio.run(engine.encode(engine.model.thinking.closing)) or ()
    assert max(event.usage.thinking_tokens for event in drawn) <= 6 + len(closing)
    assert [event for event in events if isinstance(event, Thought)]
    trace = str(write_trace(tmp_path / "trace.jsonl", events))
    assert course(solve_sync(question, strategy, ReplayEngine(trace))) == course(solution)
