"""A small context window: every strategy shows a model what it said before, and that may not fit."""

from dataclasses import replace

import pytest

from reasoner import Budget, solve_sync
from reasoner.engine import SampleRequest
from reasoner.errors import PromptTooLong
from reasoner.registry import build, entries
from reasoner.strategy import Strategy
from reasoner.testing.scripted import MODEL, ScriptedEngine
from reasoner.testing.support import Judge, number_question
from tests.sweeps import widths

NAMES = sorted(entries("strategy"))
QUESTION = number_question()
TOKENS = 9
ASKED = {"code_interpreter": 40}
"""Tokens that a strategy adds to the question itself."""


def talkative(request: SampleRequest) -> str:
    """Answers that differ, so that there is something to compare, at some length."""
    return "and so it goes on " * 6 + f"The answer is {7 + (request.seed % 3) // 2}"


@pytest.mark.parametrize("name", NAMES)
@widths("contexts", (TOKENS + 36, 80, 200), (TOKENS + 36, 60, 80, 120, 200))
def test_what_does_not_fit_is_left_out_and_the_answers_stand(
    name: str, contexts: tuple[int, ...]
) -> None:
    strategy: Strategy = build("strategy", name)
    verifier = Judge() if strategy.uses_verifier else None
    for context in (context + ASKED.get(name, 0) for context in contexts):
        engine = ScriptedEngine(talkative, model=replace(MODEL, context=context))
        solution = solve_sync(
            QUESTION, strategy, engine, verifier=verifier, budget=Budget(tokens=20_000)
        )
        assert solution.error is None, context
        assert solution.answer is not None, context
        assert all(
            usage.prompt_tokens + usage.generated_tokens <= context
            for usage in engine.usage
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_question_that_fills_the_window_is_an_error_that_says_so(name: str) -> None:
    strategy: Strategy = build("strategy", name)
    engine = ScriptedEngine(talkative, model=replace(MODEL, context=TOKENS))
    solution = solve_sync(
        QUESTION, strategy, engine, verifier=Judge() if strategy.uses_verifier else None
    )
    assert isinstance(solution.error, PromptTooLong)
    assert (solution.answer, engine.usage) == (None, [])
