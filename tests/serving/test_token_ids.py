"""Our own engine over HTTP in front of `reasoner serve`: prompts and replies as token ids."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from reasoner import SamplingParams
from reasoner.engine import SampleRequest, TextPiece, continuation
from reasoner.engines.openai import OpenAIEngine
from reasoner.engines.simulated import SimulatedEngine
from reasoner.testing.scripted import END, MODEL, THINKER, ScriptedEngine
from reasoner.testing.support import number_question
from reasoner.types import Completion, Prompt, ThinkingLevel
from tests.serving.running import Server, serving

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
PROMPT = number_question().prompt


assert THINKER.thinking
THINKS = replace(THINKER, thinking=replace(THINKER.thinking, parser="qwen3"))


def chain(request: SampleRequest) -> str:
    """The words after those that the prompt has by its ids."""
    return "".join(f" {word}" for word in WORDS[len(request.prompt.token_ids) :])


class Words(ScriptedEngine):
    """Its ids are those of a tokenizer, also at the end of a reply."""

    async def sample(self, request: SampleRequest) -> Completion:
        drawn = await ScriptedEngine.sample(self, request)
        ids = (0 if token == END else token for token in drawn.token_ids)
        return replace(drawn, token_ids=tuple(ids))


def scripted(**options: Any) -> Words:
    return Words(chain, continues="exact", certainty=lambda _: 0.5, **options)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(scripted()) as running:
        yield running


async def draw(
    engine: OpenAIEngine | ScriptedEngine, prompt: Prompt, **options: Any
) -> Completion:
    await engine.start()
    told = options.pop("on_text", None)
    params = SamplingParams(**{"max_tokens": 64, "temperature": 0.0, **options})
    request = SampleRequest(
        "q", prompt, await engine.render(prompt), params, 0, 7, on_text=told
    )
    return await engine.sample(request)


@pytest.mark.parametrize("streamed", [True, False])
def test_steps_equal_the_chain(server: Server, streamed: bool) -> None:
    pieces: list[TextPiece] = []
    told = {"on_text": pieces.append} if streamed else {}

    async def run() -> None:
        engine = OpenAIEngine(base_url=server.base_url)
        whole = await draw(engine, PROMPT, logprobs=2, **told)
        here = await draw(scripted(), PROMPT, logprobs=2)
        assert (whole.token_ids, whole.text) == (here.token_ids, here.text)
        assert (whole.logprobs, whole.usage) == (here.logprobs, here.usage)
        assert (whole.finish_reason, whole.stop) == (here.finish_reason, here.stop)
        grown, ids = PROMPT, tuple[int, ...]()
        while len(ids) < len(whole.token_ids):
            step = await draw(engine, grown, max_tokens=4, **told)
            grown, ids = grown.then(step), ids + step.token_ids
            assert step.usage.prompt_tokens == whole.usage.prompt_tokens + len(
                ids
            ) - len(step.token_ids)
        assert ids == whole.token_ids
        assert grown.text == whole.text
        rendered = await engine.render(grown)
        assert rendered == await scripted().render(grown)
        assert await engine.encode("The answer is") == await scripted().encode(
            "The answer is"
        )
        assert await engine.render(Prompt(raw="two words")) == await scripted().render(
            Prompt(raw="two words")
        )
        assert continuation(engine) == "text"
        assert engine.model.context == MODEL.context
        await engine.close()

    asyncio.run(run())
    assert "".join(piece.text for piece in pieces) == (
        "".join(f" {word}" for word in WORDS) * 2 if streamed else ""
    )


@pytest.mark.parametrize("level", ["none", "low", 3, None])
def test_thinking_is_told_apart_by_the_engine_that_serves(
    level: ThinkingLevel | None,
) -> None:
    prompt = PROMPT.at_level(level)

    async def run() -> None:
        there, here = OpenAIEngine(base_url=served.base_url), scripted(model=THINKS)
        one, other = await draw(there, prompt), await draw(here, prompt)
        assert one == other
        assert await there.render(prompt) == await here.render(prompt)
        cut = await draw(there, prompt, max_tokens=2)
        grown = prompt.then(cut)
        assert cut.unclosed is (level != "none")
        assert await there.render(grown) == await here.render(grown)
        await there.close()

    with serving(scripted(model=THINKS)) as served:
        asyncio.run(run())


def asked(server: Server, path: str, **body: Any) -> tuple[int, Any]:
    reply = httpx.post(f"{server.url}{path}", json={"model": "scripted", **body})
    return reply.status_code, json.loads(reply.content)


CHAT = {"messages": [{"role": "user", "content": "What is 3 + 4?"}]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"return_token_ids": True, "model": "scripted@vote8"}, "return_token_ids"),
        (
            {"continue_token_ids": [1], "reasoner": {"strategy": "best_of_n"}},
            "continue_token_ids",
        ),
        ({"continue_token_ids": [-1]}, "continue_token_ids[0]"),
        ({"logprobs": True, "top_logprobs": 2}, "top_logprobs"),
    ],
)
def test_what_has_no_token_ids_is_refused(
    server: Server, fields: dict[str, Any], param: str
) -> None:
    status, reply = asked(server, "/v1/chat/completions", **CHAT, **fields)
    assert (status, reply["error"]["param"]) == (400, param)


def test_an_engine_without_token_ids_is_asked_by_text() -> None:
    with serving(SimulatedEngine()) as server:
        model = {"model": "simulated"}
        assert asked(server, "/tokenize", **CHAT, **model)[0] == 404
        ids = {"return_token_ids": True}
        assert asked(server, "/v1/chat/completions", **CHAT, **model, **ids)[0] == 400

        async def run() -> None:
            engine = OpenAIEngine(base_url=server.base_url)
            assert (await draw(engine, PROMPT)).text
            assert continuation(engine) == "never"
            await engine.close()

        asyncio.run(run())
