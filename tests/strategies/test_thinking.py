"""Strategies and verifiers with a model that thinks before it answers."""

from collections.abc import Callable
from dataclasses import fields, replace

import pytest

from reasoner import Solution, solve_sync
from reasoner.engine import SampleRequest
from reasoner.models.info import ModelInfo
from reasoner.models.thinking import ThinkingProfile
from reasoner.registry import build, entries, load
from reasoner.testing.scripted import THINKER, ScriptedEngine
from reasoner.testing.support import Judge, number_question
from reasoner.trace.events import Event, Prefilled, Sampled
from reasoner.trace.replies import completions_in
from reasoner_strategies.budget_forcing import BudgetForcing

QUESTION = number_question()
MUSING = "maybe the answer is 12? no. " + "hm " * 60


def thinker(
    script: Callable[[SampleRequest], str] = lambda _: "The answer is 7",
    **options: object,
) -> ScriptedEngine:
    """An engine whose thoughts are long and hold another answer."""
    return ScriptedEngine(
        script,
        **{"thoughts": lambda _: MUSING, "model": THINKER, **options},  # type: ignore[arg-type]
    )


def verdicts(request: SampleRequest) -> str:
    """A script that answers 7 or 8, and any request for a verdict in the form that it wants."""
    asked = request.prompt.messages[-1].content
    if "most consistent" in asked:
        return "The most consistent response is Response 1"
    if "Better:" in asked or "Best:" in asked:
        return (
            "They differ.\nBetter: A" if "Better:" in asked else "They differ.\nBest: 1"
        )
    if "Verdict:" in asked:
        return "Verdict: sure" if "sure" in asked else "Verdict: correct"
    return f"So we count.\n\nThe answer is {7 + request.index % 2}"


@pytest.mark.parametrize("name", sorted(entries("strategy")))
def test_every_strategy_answers_never_from_the_thinking_and_keeps_to_a_thinking_level(
    name: str,
) -> None:
    samples = "params" in {field.name for field in fields(load("strategy", name))}
    levelled = samples and name != "budget_forcing"
    strategy = build("strategy", f"{name}:thinking=low" if levelled else name)
    engine, events = thinker(verdicts), list[Event]()
    judge = Judge() if strategy.uses_verifier else None
    solution = solve_sync(
        QUESTION, strategy, engine, verifier=judge, trace=events.append
    )
    assert solution.error is None
    assert {vote.answer.key for vote in solution.vote_state.votes} <= {"7", "8"}
    assert solution.answer is not None
    assert "maybe" not in solution.text
    spent = sum(
        usage.prompt_tokens - usage.cached_tokens + usage.generated_tokens
        for usage in engine.usage
    )
    assert solution.cost.tokens == spent + solution.cost.verifier_tokens
    # Every completion finds its prompt.
    completions = [completion for _, completion in completions_in(events)]
    assert completions
    assert not levelled or {
        completion.prompt.thinking_level for completion in completions
    } <= {"low", "none"}


def forced(
    strategy: BudgetForcing, engine: ScriptedEngine
) -> tuple[Solution, list[Event]]:
    solution = solve_sync(
        QUESTION, strategy, engine, trace=(events := list[Event]()).append
    )
    return solution, events


def sampled(events: list[Event]) -> list[Sampled]:
    return [event for event in events if isinstance(event, Sampled)]


@pytest.mark.parametrize(
    ("answer_tokens", "answer", "cut"), [(8, "7", 0), (2, None, 1)]
)
def test_the_sentence_that_closes_thinking_is_no_part_of_the_answer(
    answer_tokens: int, answer: str | None, cut: int
) -> None:
    assert THINKER.thinking is not None
    profile = replace(
        THINKER.thinking,
        closing="\n\nConsidering the time, I answer now.\n</think>\n\n",
    )
    strategy = BudgetForcing(max_thinking=20, answer_tokens=answer_tokens)
    solution, events = forced(
        strategy, thinker(model=replace(THINKER, thinking=profile))
    )
    [only] = sampled(events)
    assert only.usage.thinking_tokens > 20
    assert not only.unclosed
    assert (solution.answer.key if solution.answer else None, solution.cut.cut) == (
        answer,
        cut,
    )
    assert not cut or solution.cut.line().endswith("raise answer_tokens")


@pytest.mark.parametrize("size", [1, 2])
def test_thinking_is_made_to_continue_at_the_models_own_marker(size: int) -> None:
    solution, events = forced(
        BudgetForcing(max_thinking=400, waits=2), thinker(model=with_marker_of(size))
    )
    first, second, third, answer = sampled(events)
    assert all(
        each.usage.thinking_tokens == each.usage.generated_tokens
        for each in (first, second, third)
    )
    assert answer.usage.thinking_tokens == 0
    waits = [event for event in events if isinstance(event, Prefilled)]
    assert [event.thinking for event in waits][:2] == ["Wait", "Wait"]
    assert solution.answer is not None
    assert solution.answer.key == "7"
    assert "Wait" not in solution.text


def with_marker_of(size: int) -> ModelInfo:
    """The thinking model, whose closing marker is followed by further ones where it has several tokens."""
    profile = THINKER.thinking
    assert profile is not None
    if size == 1:
        return THINKER
    start, end = profile.start_text, profile.end_text
    double = ThinkingProfile(
        "always",
        profile.start,
        profile.end * size,
        start,
        end * size,
        f"\n{end * size}\n",
        f"{start}{end * size}",
    )
    return replace(THINKER, thinking=double)


def test_the_judge_is_asked_without_thinking_and_sees_no_thinking() -> None:
    seen = list[SampleRequest]()

    def script(request: SampleRequest) -> str:
        if not request.watch:
            return verdicts(request)
        seen.append(request)
        return "Yes"

    strategy = build("strategy", "best_of_n:n=4")
    solution = solve_sync(
        QUESTION, strategy, thinker(script), verifier=build("verifier", "judge")
    )
    assert (solution.error, solution.unrated) == (None, "")
    assert {request.prompt.thinking_level for request in seen} == {"none"}
    assert all("maybe" not in request.prompt.messages[-1].content for request in seen)
