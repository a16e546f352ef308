"""The scripted engine: tests elsewhere trust what it counts, so its counting is tested here."""

import asyncio
import math

import pytest

from reasoner.engine import SampleRequest
from reasoner.errors import RequestLost
from reasoner.types import Completion, Logprobs, Prompt, SamplingParams, Usage
from tests.helpers import PROMPT, says
from tests.scripted import END, ScriptedEngine


async def draw(engine: ScriptedEngine, prompt: Prompt = PROMPT, **options: object) -> Completion:
    params = SamplingParams(**options)  # type: ignore[arg-type]
    return await engine.sample(SampleRequest("q", prompt, await engine.render(prompt), params, index=2, seed=5))


def drawn(text: str, **options: object) -> Completion:
    return asyncio.run(draw(ScriptedEngine(lambda _: text), **options))  # type: ignore[arg-type]


def test_a_reply_is_one_token_a_word_and_one_for_its_end() -> None:
    one = drawn("one two three")
    assert (one.text, one.finish_reason, one.stop, one.ended) == ("one two three", "stop", None, True)
    assert (len(one.token_ids), one.token_ids[-1]) == (4, END)
    assert one.usage == Usage(3, 0, 4)
    assert (one.index, one.seed, one.prompt) == (2, 5, PROMPT)


@pytest.mark.parametrize(
    ("maximum", "text", "finish", "tokens"),
    [(1, "one", "length", 1), (3, "one two three", "length", 3), (4, "one two three", "stop", 4)],
)
def test_a_reply_is_cut_at_the_limit(maximum: int, text: str, finish: str, tokens: int) -> None:
    one = drawn("one two three", max_tokens=maximum)
    assert (one.text, one.finish_reason, len(one.token_ids), one.usage.generated_tokens) == (
        text,
        finish,
        tokens,
        tokens,
    )


def test_a_reply_ends_at_the_first_stop_string() -> None:
    one = drawn("one\n\ntwo END three", stop=("END", "\n\n"))
    assert (one.text, one.stop, one.finish_reason, one.ended) == ("one", "\n\n", "stop", False)
    assert one.usage.generated_tokens == len(one.token_ids) == 1
    assert drawn("one two", stop=("three",)).stop is None


def test_a_continuation_is_rendered_token_by_token() -> None:
    async def test() -> None:
        engine = ScriptedEngine(says("7"))
        first = await draw(engine)
        head, grown = await engine.render(PROMPT), await engine.render(PROMPT.then(first))
        assert head.token_ids is not None
        assert grown.token_ids == head.token_ids + first.token_ids[:-1]
        assert grown.tokens == head.tokens + 4

    asyncio.run(test())


def test_the_prefix_cache_holds_whole_blocks_and_never_the_whole_prompt() -> None:
    async def test() -> None:
        engine = ScriptedEngine(says("7"), block_size=2)
        prompts = [Prompt(raw=text) for text in ("a b c d e", "a b c d e", "a b c d f", "a b c d", "a x c d e")]
        assert [(await draw(engine, prompt)).usage.cached_tokens for prompt in prompts] == [0, 4, 4, 2, 0]
        plain = ScriptedEngine(says("7"))
        assert [(await draw(plain, prompt)).usage.cached_tokens for prompt in prompts] == [0] * 5

    asyncio.run(test())


def test_log_probabilities_are_those_of_the_given_certainty() -> None:
    engine = ScriptedEngine(says("7"), certainty=lambda request: 0.5 + request.index / 10)
    assert asyncio.run(draw(engine)).logprobs is None
    bare = asyncio.run(draw(engine, logprobs=0)).logprobs
    assert bare == Logprobs((math.log(0.7),) * 5, ())
    best = asyncio.run(draw(engine, logprobs=4)).logprobs
    assert best is not None
    assert len(best.sampled) == len(best.top) == 5
    assert [round(math.exp(p), 3) for p in best.top[0]] == [0.7, 0.1, 0.1, 0.1]


def test_what_a_pause_says_was_computed_is_kept_when_the_request_is_cut() -> None:
    async def test() -> None:
        async def lose(request: SampleRequest) -> None:
            request.meter.usage = Usage(3, 0, 2)
            raise RequestLost("gone")

        async def hang(request: SampleRequest) -> None:
            await asyncio.get_running_loop().create_future()

        losing, hanging = ScriptedEngine(says("7"), pause=lose), ScriptedEngine(says("7"), pause=hang)
        with pytest.raises(RequestLost):
            await draw(losing)
        assert losing.usage == [Usage(3, 0, 2)]
        task = asyncio.ensure_future(draw(hanging))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert hanging.usage == [Usage(3, 0, 0)]

    asyncio.run(test())
