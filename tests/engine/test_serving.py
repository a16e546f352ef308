"""`reasoner serve` over real vLLM: a client that leaves, and one that continues by token ids."""

import asyncio
from collections.abc import Iterator

import openai
import pytest

from reasoner import SamplingParams
from reasoner.engine import Engine, SampleRequest
from reasoner.engines.openai import OpenAIEngine
from reasoner.engines.vllm.cores import InProcessCore
from reasoner.engines.vllm.engine import VllmEngine
from reasoner.types import Completion, Prompt
from tests.serving.running import Server, serving
from tests.waiting import until


@pytest.fixture
def server(engine: VllmEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server over the engine that all tests share, so it is not closed."""

    async def stays(_: VllmEngine) -> None:
        pass

    monkeypatch.setattr(VllmEngine, "close", stays)
    with serving(engine) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=server.base_url, api_key="none", max_retries=0
    ) as asking:
        yield asking


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("name", ["", "@vote8"])
def test_a_client_that_leaves_takes_its_sequences_out_of_the_engine(
    engine: VllmEngine, server: Server, client: openai.OpenAI, name: str
) -> None:
    model = client.models.list().data[0].id
    stream = client.chat.completions.create(
        model=f"{model}{name}",
        messages=asked("Write a long story."),
        max_tokens=400,
        stream=True,
    )
    next(iter(stream))
    stream.close()
    core = engine._core
    assert isinstance(core, InProcessCore)
    server.run(until(lambda: server.service.turns.running == 0 and not core._flights))
    spent = server.service.ledger
    assert spent.reserved.tokens == 0
    assert spent.settled.generated_tokens + spent.settled.cancelled_tokens < 400 * (
        8 if name else 1
    )


async def draw(engine: Engine, prompt: Prompt, max_tokens: int) -> Completion:
    params = SamplingParams(temperature=0, max_tokens=max_tokens, logprobs=2)
    rendered = await engine.render(prompt)
    return await engine.sample(SampleRequest("q", prompt, rendered, params, 0, 1))


def test_steps_by_our_own_engine_equal_the_chain_in_process(
    engine: VllmEngine, server: Server
) -> None:
    prompt = Prompt.chat("Count from one to ten in words.")

    async def run() -> None:
        here, there = engine, OpenAIEngine(base_url=server.base_url)
        await there.start()
        await here.reset_caches()
        whole, grown = await draw(here, prompt, 24), prompt
        assert len(whole.token_ids) == 24
        for size in (10, 7, 7):
            step = await draw(there, grown, size)
            assert len(step.token_ids) == size
            assert step.logprobs
            assert step.usage.prompt_tokens == (await here.render(grown)).tokens
            assert step.usage.cached_tokens > 0
            grown = grown.then(step)
            assert await there.render(grown) == await here.render(grown)
        assert (grown.token_ids, grown.text) == (whole.token_ids, whole.text)
        assert await there.encode(" The answer") == await here.encode(" The answer")
        assert there.model.context == here.model.context
        await there.close()

    asyncio.run(run())
