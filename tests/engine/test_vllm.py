"""The vLLM engine on the embedded model: tokens, seeds, prefixes, cancellation, death."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from reasoner import Prompt, Question, SamplingParams, solve_many_sync, solve_sync
from reasoner.budget import Cost
from reasoner.engine import SampleRequest, TokenIds
from reasoner.engines.vllm.engine import VllmEngine
from reasoner.errors import EngineDied
from reasoner.trace.events import AnswerExtracted, Dropped, Event, Sampled
from reasoner.types import Completion
from reasoner_strategies import SelfConsistency
from tests.engine.tiny_model import tiny_llama

ADD = "What is 3 + 4?"
ESSAY = Prompt.chat("Write a long story about a ship and a storm.")


async def draw(
    engine: VllmEngine, prompt: Prompt, params: SamplingParams, seeds: Sequence[int]
) -> list[Completion]:
    rendered = await engine.render(prompt)
    requests = [
        SampleRequest("q", prompt, rendered, params, index, seed)
        for index, seed in enumerate(seeds)
    ]
    return list(await asyncio.gather(*(engine.sample(request) for request in requests)))


def test_every_token_of_the_engine_is_in_the_ledger(engine: VllmEngine) -> None:
    events: list[Event] = []
    questions = [Question.of(f"What is {a} + {a + 1}?") for a in range(1, 7)]
    solutions = solve_many_sync(
        questions,
        SelfConsistency(n=4, params=SamplingParams(max_tokens=64)),
        engine,
        trace=events.append,
    )
    drawn = [event for event in events if isinstance(event, Sampled)]
    probed = sum(
        (event.cost for event in events if isinstance(event, AnswerExtracted)), Cost()
    )
    assert len(drawn) == 24
    assert all(len(event.token_ids) == event.usage.generated_tokens for event in drawn)
    total = sum((solution.cost for solution in solutions), Cost())
    assert (
        total.generated_tokens
        == sum(e.usage.generated_tokens for e in drawn) + probed.generated_tokens
    )
    assert (
        total.cached_tokens
        == sum(e.usage.cached_tokens for e in drawn) + probed.cached_tokens
    )
    computed = sum(e.usage.prompt_tokens - e.usage.cached_tokens for e in drawn)
    assert total.prompt_tokens == computed + probed.prompt_tokens


def test_siblings_share_their_prompt_in_whole_blocks(engine: VllmEngine) -> None:
    prompt = Prompt.chat(
        "A sentence that no other test uses, for its blocks to be new. " * 12 + ADD
    )
    params = SamplingParams(max_tokens=1)
    drawn = asyncio.run(draw(engine, prompt, params, range(8)))
    tokens = drawn[0].usage.prompt_tokens
    whole = (tokens - 1) // 32 * 32
    assert sorted(one.usage.cached_tokens for one in drawn) == [0] + [whole] * 7


def test_a_continuation_is_the_same_tokens(engine: VllmEngine) -> None:
    prompt = Prompt.chat("Count from one to ten in words.")
    greedy = SamplingParams(temperature=0.0, max_tokens=24)

    async def both() -> tuple[Completion, Completion, Completion]:
        [whole] = await draw(engine, prompt, greedy, [0])
        [first] = await draw(engine, prompt, replace(greedy, max_tokens=9), [0])
        [second] = await draw(
            engine, prompt.then(first), replace(greedy, max_tokens=15), [0]
        )
        return whole, first, second

    whole, first, second = asyncio.run(both())
    assert first.finish_reason == "length"
    assert first.token_ids + second.token_ids == whole.token_ids
    rendered = asyncio.run(engine.render(prompt.then(first)))
    head = asyncio.run(engine.render(prompt))
    assert rendered.token_ids == (head.token_ids or ()) + first.token_ids


def test_a_step_continues_after_its_stop_string(engine: VllmEngine) -> None:
    """Steps drawn one by one are the chain drawn at once: the stop string stays in the ids, and in the text."""
    greedy = SamplingParams(temperature=0.0, max_tokens=60)
    prompt = Prompt.chat("Count from one to five in words, each on a line of its own.")

    async def both() -> tuple[Completion, Prompt, int]:
        [whole] = await draw(engine, prompt, greedy, [0])
        grown, steps = prompt, 0
        while len(grown.token_ids) < len(whole.continuation):
            left = len(whole.token_ids) - len(grown.token_ids)
            [one] = await draw(
                engine, grown, replace(greedy, stop=("\n",), max_tokens=left), [0]
            )
            grown, steps = grown.then(one), steps + 1
            if one.ended:
                break
        return whole, grown, steps

    whole, grown, steps = asyncio.run(both())
    assert steps > 2
    assert grown.token_ids == whole.continuation
    assert grown.text == whole.text


def test_a_request_that_watches_tokens_takes_nothing_from_those_beside_it(
    engine: VllmEngine,
) -> None:
    asyncio.run(check_watching_beside_alternatives(engine))


async def check_watching_beside_alternatives(engine: VllmEngine) -> None:
    """Each request of a mixed batch reads what it reads alone: some watch tokens, some keep 0, 3 or 20 alternatives.

    The core sends these with the end of a reply, and with each token where the reply streams.
    """
    prompt = Prompt.chat(ADD)
    rendered = await engine.render(prompt)
    spelled = [await engine.encode(word) for word in ("Yes", " No", "7")]
    watch = tuple(token for ids in spelled for token in ids or ())
    greedy = SamplingParams(temperature=0.0, max_tokens=6)
    plain = [replace(greedy, logprobs=kept) for kept in (0, 3, 20)]
    asked = [
        SampleRequest("q", prompt, rendered, params, index, 0)
        for index, params in enumerate(plain)
    ]
    asked += [SampleRequest("q", prompt, rendered, greedy, 3, 0, watch=watch[:1])]
    asked += [
        SampleRequest(
            "q", prompt, rendered, replace(greedy, max_tokens=3), 4, 0, watch=watch
        )
    ]
    alone = [await engine.sample(request) for request in asked]
    streamed = [replace(request, on_text=lambda _: None) for request in asked[:3]]
    beside = await asyncio.gather(
        *(engine.sample(request) for request in (*asked, *streamed))
    )
    for one, other in zip([*alone, *alone[:3]], beside, strict=True):
        assert one.logprobs is not None
        assert other.logprobs is not None
        assert one.token_ids == other.token_ids
        assert other.logprobs.sampled == pytest.approx(one.logprobs.sampled, abs=1e-2)
        for mine, theirs in zip(one.logprobs.top, other.logprobs.top, strict=True):
            assert theirs == pytest.approx(mine, abs=1e-2)
        for mine, theirs in zip(
            one.logprobs.watched, other.logprobs.watched, strict=True
        ):
            assert theirs == pytest.approx(mine, abs=1e-2)
    assert [len(one.logprobs.top[0]) for one in beside[1:3] if one.logprobs] == [3, 20]
    assert [len(one.logprobs.watched[0]) for one in beside[3:5] if one.logprobs] == [
        1,
        len(watch),
    ]


def test_two_engines_of_one_process_draw_together_what_each_draws_alone(
    engine: VllmEngine, embedded_model: Path, tmp_path: Path
) -> None:
    folder = str(tiny_llama(tmp_path / "tiny", embedded_model))
    tiny = VllmEngine(folder, max_model_len=2048, kv_gib=0.25, dtype="float32")
    asyncio.run(check_two_engines(engine, tiny))


async def check_two_engines(engine: VllmEngine, tiny: VllmEngine) -> None:
    params = SamplingParams(temperature=0.0, max_tokens=40)
    prompts = [Prompt.chat(ADD * (1 + 7 * times)) for times in range(8)]

    async def drawn(engine: VllmEngine) -> list[TokenIds]:
        asked = [
            SampleRequest("q", prompt, await engine.render(prompt), params, 0, 0)
            for prompt in prompts
        ]
        replies = await asyncio.gather(*map(engine.sample, asked))
        return [reply.token_ids for reply in replies]

    await tiny.start()
    try:
        alone = (await drawn(engine), await drawn(tiny))
        for _ in range(3):
            together = await asyncio.gather(drawn(engine), drawn(tiny))
            assert tuple(together) == alone
    finally:
        await tiny.close()


def test_death_is_survived_once_and_told_the_second_time(
    engine: VllmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs last in this file: it leaves the shared engine restarted, with its one restart used up."""
    told: list[str] = []
    monkeypatch.setattr(engine, "notify", told.append)
    first = engine._core
    assert first is not None

    def die() -> None:
        raise RuntimeError("the core was made to fail")

    monkeypatch.setattr(first._engine, "step", die)
    events: list[Event] = []
    strategy = SelfConsistency(n=3, params=SamplingParams(max_tokens=48))
    solution = solve_sync(Question.of(ADD), strategy, engine, trace=events.append)
    assert solution.error is None
    assert engine.restarts == 1
    assert "the core was made to fail" in told[0]
    lost = [event for event in events if isinstance(event, Dropped)]
    assert [event.why for event in lost] == ["lost"] * 3
    assert len([event for event in events if isinstance(event, Sampled)]) == 3
    assert solution.cost.requests == 6 + len(
        [event for event in events if isinstance(event, AnswerExtracted)]
    )

    second = engine._core
    monkeypatch.setattr(second._engine, "step", die)  # type: ignore[union-attr]
    solution = solve_sync(Question.of(ADD), strategy, engine)
    assert isinstance(solution.error, EngineDied)
    monkeypatch.undo()
