"""The simulated model that thinks: how often it is right at a thinking level is a closed form."""

import math
import random

import pytest

from reasoner import Question, solve_many_sync
from reasoner.engines.simulated import SimulatedEngine
from reasoner.strategy import Plan, Sample
from reasoner.types import Answer, Completion, Prompt, SamplingParams, ThinkingLevel
from tests.helpers import Planned
from tests.sweeps import widths

MEAN, ACCURACY, GUESS = 100.0, 0.9, 0.3


def drawn(level: ThinkingLevel | None, count: int, max_tokens: int = 100_000) -> list[Completion]:
    """As many samples of one question at a level."""
    completions = list[Completion]()

    def plan(question: Question) -> Plan[Answer | None]:
        prompt: Prompt = question.prompt.at_level(level)
        reply: tuple[Completion, ...] = yield Sample((prompt,), count, SamplingParams(max_tokens=max_tokens))
        completions.extend(reply)
        return None

    engine = SimulatedEngine(thinking=MEAN, accuracy=ACCURACY, guess=GUESS, tokens=5)
    solve_many_sync([Question.of("What is 3 + 4?", space="number")], Planned(plan), engine)
    return completions


def difficulty() -> float:
    prompt = Question.of("What is 3 + 4?", space="number").prompt
    return MEAN * random.Random(prompt.messages[-1].content).lognormvariate(0, 1)


@widths("count", 600, 6000)
@pytest.mark.parametrize("level", [20, 100, 400, "none", "low", "high", None])
def test_accuracy_and_length_follow_the_stated_law(level: ThinkingLevel | None, count: int) -> None:
    samples, mean = drawn(level, count), difficulty()
    shares = {"none": 0.0, "low": 0.25 * MEAN, "high": 4 * MEAN, None: math.inf}
    limit = level if isinstance(level, int) else shares[level]
    exact = GUESS + (ACCURACY - GUESS) * (1 - math.exp(-limit / mean))
    right = sum(completion.text.endswith(" 7") for completion in samples) / count
    assert abs(right - exact) < 3.5 * math.sqrt(exact * (1 - exact) / count)
    thought = [completion.usage.thinking_tokens for completion in samples]
    if level == "none":
        assert set(thought) == {0}
    else:
        assert max(thought) <= limit
        expected = mean * (1 - math.exp(-limit / mean))
        assert abs(sum(thought) / count - expected) < 4 * mean / math.sqrt(count) + 1


def test_thinking_that_is_cut_has_no_answer_and_is_unclosed() -> None:
    for completion in drawn(None, 50, max_tokens=10):
        assert completion.unclosed == (completion.usage.thinking_tokens == 10 and completion.token_ids[-1] != -3)
        assert completion.truncated == (completion.finish_reason == "length")
        assert (completion.text == "") == completion.truncated
