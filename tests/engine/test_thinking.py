"""A model that thinks on real vLLM: parts by ids, levels, a limit on thinking, stop strings, ledger and replay."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reasoner import Prompt, Question, SamplingParams, solve_many_sync, solve_sync
from reasoner.engine import SampleRequest, TextPiece
from reasoner.engines.replay import ReplayEngine
from reasoner.engines.vllm import VllmEngine
from reasoner.models.thinking import split
from reasoner.trace.events import Event, Sampled
from reasoner.types import Completion, ThinkingLevel, TokenIds
from reasoner_strategies import SelfConsistency
from tests.engine.thinking_model import END, END_ID, NEWLINE_ID, START, START_ID
from tests.helpers import write_trace

STORY = Prompt.chat("Write a long story about a ship and a storm.")
GREEDY = SamplingParams(temperature=0.0, max_tokens=48)
LIVELY = SamplingParams(temperature=1.0, max_tokens=48)


@pytest.fixture(scope="module")
def thinker(thinking_folder: Path) -> Iterator[VllmEngine]:
    """The re-tokenised model, which begins inside thinking unless it is rendered without."""
    started = VllmEngine(model_id=str(thinking_folder), max_model_len=1024, kv_gib=0.5, dtype="float32")
    asyncio.run(started.start())
    yield started
    asyncio.run(started.close())


async def draw(
    engine: VllmEngine, prompt: Prompt, params: SamplingParams, count: int = 1, level: ThinkingLevel | None = None
) -> list[Completion]:
    prompt = prompt.at_level(level)
    rendered = await engine.render(prompt)
    requests = [SampleRequest("q", prompt, rendered, params, index, index) for index in range(count)]
    return list(await asyncio.gather(*(engine.sample(request) for request in requests)))


def drawn(engine: VllmEngine, prompt: Prompt, params: SamplingParams, level: ThinkingLevel | None = None) -> Completion:
    [one] = asyncio.run(draw(engine, prompt, params, level=level))
    return one


def ids_of(engine: VllmEngine, text: str) -> TokenIds:
    return asyncio.run(engine.encode(text)) or ()


def test_the_profile_is_found_from_the_tokenizer_and_the_template(thinker: VllmEngine) -> None:
    profile = thinker.model.thinking
    assert profile is not None
    assert (profile.when, profile.start, profile.end) == ("on_request", (START_ID,), (END_ID,))
    assert (profile.start_text, profile.end_text) == (START, END)
    assert profile.levels["none"] == {"enable_thinking": False}
    assert profile.closing.strip() == END
    assert thinker.limits_thinking


def test_the_parts_of_a_completion_are_split_by_ids(thinker: VllmEngine) -> None:
    completions = asyncio.run(draw(thinker, STORY, LIVELY, count=24))
    assert {one.unclosed for one in completions} == {True, False}
    profile = thinker.model.thinking
    assert profile is not None
    for one in completions:
        thinking, unclosed = split(one.token_ids, profile, opened=True)
        assert (one.usage.thinking_tokens, one.unclosed) == (thinking, unclosed)
        assert one.usage.generated_tokens == len(one.token_ids)
        assert unclosed == (END_ID not in one.token_ids)
        assert one.truncated or not one.unclosed
        assert START not in one.thinking
        assert END not in one.thinking
        final = one.final_token_ids[: len(one.continuation) - thinking]
        assert one.text == thinker._prompts.text.tokenizer.decode(final, skip_special_tokens=True)


def test_a_level_without_thinking_is_rendered_closed(thinker: VllmEngine) -> None:
    rendered = asyncio.run(thinker.render(STORY.at_level("none")))
    assert thinker._prompts.decode(rendered.token_ids or ()).endswith("assistant\n<think>\n\n</think>\n\n")
    one = drawn(thinker, STORY, GREEDY, level="none")
    assert (one.thinking, one.unclosed, one.usage.thinking_tokens) == ("", False, 0)
    high = asyncio.run(thinker.render(STORY.at_level("high")))
    assert high == asyncio.run(thinker.render(STORY))


@pytest.mark.parametrize("limit", [1, 2, 9])
def test_thinking_ends_at_its_limit_as_it_would_have_gone_on(thinker: VllmEngine, limit: int) -> None:
    few = replace(GREEDY, max_tokens=20)
    free = drawn(thinker, STORY, few)
    limited = drawn(thinker, STORY, few, level=limit)
    assert free.unclosed
    # The template's line break after the marker counts; a line break that is there already begins the closing text.
    own, closing = free.token_ids[: limit - 1], ids_of(thinker, f"\n{END}")
    there = (NEWLINE_ID, *own)[-1] == NEWLINE_ID
    expected = own + closing[1:] if there else own + closing
    assert limited.token_ids[: len(expected)] == expected
    assert not limited.unclosed
    assert limited.usage.thinking_tokens == len(expected)


def test_a_limit_holds_over_the_steps_of_a_chain(thinker: VllmEngine) -> None:
    whole = drawn(thinker, STORY, GREEDY, level=12)
    first = drawn(thinker, STORY, replace(GREEDY, max_tokens=5), level=12)
    second = drawn(thinker, first.prompt.then(first), replace(GREEDY, max_tokens=43), level=12)
    assert first.unclosed
    assert first.truncated
    assert first.token_ids + second.token_ids == whole.token_ids
    chain = first.prompt.then(first).then(second)
    assert (chain.thinking, chain.text) == (whole.thinking, whole.text)
    assert first.usage.thinking_tokens + second.usage.thinking_tokens == whole.usage.thinking_tokens


def test_a_stop_string_holds_outside_thinking(thinker: VllmEngine) -> None:
    params = replace(LIVELY, max_tokens=96, logprobs=2)
    whole = asyncio.run(draw(thinker, STORY, params, count=8, level=16))
    stopped = asyncio.run(draw(thinker, STORY, replace(params, stop=("\n",)), count=8, level=16))
    assert any("\n" in one.thinking for one in stopped)
    assert any(one.stop == "\n" for one in stopped)
    for one, other in zip(stopped, whole, strict=True):
        assert one.token_ids == other.token_ids[: len(one.token_ids)]
        assert one.text == other.text.partition("\n")[0]
        assert one.thinking == other.thinking
        assert (one.finish_reason, one.stop) == (("stop", "\n") if "\n" in other.text else (other.finish_reason, None))
        assert one.logprobs is not None
        assert other.logprobs is not None
        assert len(one.logprobs.sampled) == len(one.logprobs.top) == len(one.token_ids) <= one.usage.generated_tokens


def test_a_stop_string_holds_in_thinking_where_that_is_asked_for(thinker: VllmEngine) -> None:
    params = replace(LIVELY, stop=(" a",))
    whole = asyncio.run(draw(thinker, STORY, LIVELY, count=8))
    stopped = asyncio.run(draw(thinker, STORY, replace(params, stop_in_thinking=True), count=8))
    assert any(one.unclosed and one.stop == " a" for one in stopped)
    for one, other in zip(stopped, whole, strict=True):
        assert one.token_ids == other.token_ids[: len(one.token_ids)]
        assert " a" not in one.thinking + one.text
        if one.unclosed and one.stop:
            assert one.truncated
            assert one.thinking == other.thinking.partition(" a")[0]
            assert one.prompt.then(one).thinking == one.thinking + " a"


def test_every_token_of_thinking_is_in_ledger_trace_and_replay(thinker: VllmEngine, tmp_path: Path) -> None:
    events: list[Event] = []
    questions = [Question.of(f"What is {a} + {a + 1}?") for a in range(1, 4)]
    strategy = SelfConsistency(n=4, params=SamplingParams(temperature=1.0, max_tokens=48))
    solutions = solve_many_sync(questions, strategy, thinker, trace=events.append)
    samples = [event for event in events if isinstance(event, Sampled)]
    assert len(samples) == 12
    assert any(event.usage.thinking_tokens for event in samples)
    assert all(len(event.token_ids) == event.usage.generated_tokens for event in samples)
    assert sum(s.cost.generated_tokens for s in solutions) == sum(e.usage.generated_tokens for e in samples)
    again: list[Event] = []
    replay = ReplayEngine(str(write_trace(tmp_path / "trace.jsonl", events)))
    asyncio.run(replay.start())
    for question, solution in zip(questions, solutions, strict=True):
        replayed = solve_sync(question, strategy, replay, trace=again.append)
        assert replayed.answer == solution.answer
        assert replayed.cost.tokens == solution.cost.tokens
    copies = {(e.question_id, e.index): e for e in again if isinstance(e, Sampled)}
    for event in samples:
        copy = copies[event.question_id, event.index]
        assert (copy.text, copy.thinking, copy.unclosed) == (event.text, event.thinking, event.unclosed)
        assert (copy.token_ids, copy.usage) == (event.token_ids, event.usage)


def test_both_parts_are_passed_on_while_they_are_generated(thinker: VllmEngine) -> None:
    async def heard(seed: int) -> tuple[Completion, list[TextPiece]]:
        pieces: list[TextPiece] = []
        request = SampleRequest("q", STORY, await thinker.render(STORY), LIVELY, 0, seed, on_text=pieces.append)
        return await thinker.sample(request), pieces

    async def all_of_them() -> list[tuple[Completion, list[TextPiece]]]:
        return list(await asyncio.gather(*map(heard, range(12))))

    drawn = asyncio.run(all_of_them())
    assert {completion.unclosed for completion, _ in drawn} == {True, False}
    for completion, pieces in drawn:
        for thinking, whole in ((True, completion.thinking), (False, completion.text)):
            text = "".join(piece.text for piece in pieces if piece.thinking == thinking)
            assert whole.startswith(text)
            assert len(whole) - len(text) < 12


def test_a_json_schema_holds_for_the_final_part(thinker: VllmEngine) -> None:
    params = replace(LIVELY, max_tokens=96, json_schema='{"enum": [true, false]}')
    completions = asyncio.run(draw(thinker, STORY, params, count=12))
    final = [completion for completion in completions if completion.ended and not completion.unclosed]
    assert final
    assert {completion.text.strip() for completion in final} <= {"true", "false"}
    assert any(completion.thinking.strip() not in ("", "true", "false") for completion in final)
