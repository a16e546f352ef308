"""The engine over HTTP against a real vLLM server with the embedded model."""

import asyncio
from typing import Any

import httpx
import pytest

from reasoner import Question, solve_sync
from reasoner.engine import Engine, SampleRequest, UsageMeter
from reasoner.engines.openai import OpenAIEngine
from reasoner.engines.vllm import VllmEngine
from reasoner.testing.support import completion
from reasoner.types import Completion, Prompt, Rating, SamplingParams, Usage
from reasoner.verifier import CostMeter
from reasoner_strategies import SelfConsistency
from reasoner_verifiers import Judge
from tests.engine.serving import BLOCK, Launched, counted
from tests.waiting import wait_until


def count(manner: str) -> Prompt:
    """A prompt that shares no block with one of another `manner`, so that the tests may run in any order."""
    system = (
        f"You are a {manner} counting assistant who answers at length and with care."
    )
    return Prompt.chat(
        "Count from one to twenty in words, one per line.", system=system
    )


@pytest.fixture
def server(first_server: Launched) -> str:
    first_server.wait_until_ready()
    return first_server.url


def _idle(server: str) -> bool:
    """Whether the server has nothing left to run."""
    lines = httpx.get(server.removesuffix("/v1") + "/metrics").text.splitlines()
    running = [line for line in lines if line.startswith("vllm:num_requests_running")]
    return float(running[0].split()[-1]) == 0


class ToldAt(UsageMeter):
    """A meter that sets `reached` when this many tokens were generated."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens
        self.reached = asyncio.Event()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if isinstance(value, Usage) and value.generated_tokens >= self._tokens:
            self.reached.set()


async def draw(
    engine: OpenAIEngine,
    prompt: Prompt,
    meter: UsageMeter | None = None,
    **options: Any,
) -> Completion:
    await engine.start()
    params = SamplingParams(**{"temperature": 0.0, "max_tokens": 12, **options})
    rendered = await engine.render(prompt)
    return await engine.sample(
        SampleRequest("q", prompt, rendered, params, 0, 7, meter=meter or UsageMeter())
    )


def test_a_continuation_is_exact_to_the_token_and_its_prefix_is_cached(
    server: str,
) -> None:
    # A series that no model ends.
    prompt = Prompt(
        raw="Numbers in order: "
        + ", ".join(str(number) for number in range(1, 21))
        + ","
    )

    async def run(engine: OpenAIEngine) -> None:
        first = await draw(engine, prompt)
        assert first.finish_reason == "length"
        assert first.usage == Usage((await engine.render(prompt)).tokens, 0, 12)
        second = await draw(engine, prompt.then(first))
        whole = await draw(engine, prompt, max_tokens=24)
        assert whole.token_ids == first.token_ids + second.token_ids
        assert second.usage.prompt_tokens == first.usage.prompt_tokens + 12
        assert (
            whole.usage.cached_tokens
            == (whole.usage.prompt_tokens - 1) // BLOCK * BLOCK
            > 0
        )
        assert second.usage.cached_tokens >= whole.usage.cached_tokens

    engine = OpenAIEngine(base_url=server)
    asyncio.run(run(engine))
    assert (engine.model.name, engine.model.context) == ("embedded", 2048)
    assert not [
        note for note in engine.notes if "token-exact" in note or "cached" in note
    ]


def test_a_judge_reads_the_same_probabilities_off_a_server_as_off_the_model(
    server: str, engine: VllmEngine
) -> None:
    async def judged(policy: Engine) -> Rating:
        judge = Judge(min_mass=0.0)
        await judge.start(policy)
        try:
            return await judge.score(
                Question.of("What is 3 + 4?"),
                completion("It is 7"),
                policy,
                CostMeter(),
            )
        finally:
            await judge.close()

    async def both() -> tuple[Rating, Rating]:
        await engine.start()
        remote = OpenAIEngine(base_url=server)
        return await judged(remote), await judged(engine)

    there, here = asyncio.run(both())
    assert there.value == pytest.approx(here.value, abs=1e-3)
    assert there.parts == pytest.approx(here.parts, abs=1e-3)
    assert there.cost.requests == 1


def test_what_a_vote_is_booked_at_is_what_the_server_computed(server: str) -> None:
    question = Question.of(
        "What is 3 + 4? Think about it for a while, then answer as a careful teacher would."
    )
    before = counted(server)
    events: list[Any] = []
    vote = SelfConsistency(n=6, params=SamplingParams(max_tokens=24))
    solution = solve_sync(
        question, vote, OpenAIEngine(base_url=server), trace=events.append
    )
    after = counted(server)
    assert solution.cost.prompt_tokens == after[0] - before[0]
    assert solution.cost.generated_tokens == after[1] - before[1]
    probes = [event for event in events if event.event == "answer_extracted"]
    assert (solution.cost.requests, solution.cost.samples) == (6 + len(probes), 6)
    assert len({event.seed for event in events if event.event == "sampled"}) == 6


def test_a_cancelled_sequence_is_aborted_and_the_server_serves_on(server: str) -> None:
    prompt = count("patient")

    async def run(engine: OpenAIEngine) -> None:
        meter = ToldAt(3)
        task = asyncio.create_task(
            draw(engine, prompt, meter, temperature=1.0, max_tokens=1900)
        )
        await meter.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert meter.usage is not None
        assert 3 <= meter.usage.generated_tokens < 1900
        assert (await draw(engine, prompt)).text

    before = counted(server)
    asyncio.run(run(OpenAIEngine(base_url=server)))
    wait_until(lambda: _idle(server))
    assert 3 <= counted(server)[1] - before[1] < 1900
