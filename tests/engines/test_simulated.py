"""The simulated engine draws from known laws: its statistics are compared with their exact values."""

import itertools
import math
import random

import pytest

from reasoner import Question, solve_many_sync, solve_sync
from reasoner.engines.simulated import Law, SimulatedEngine, arithmetic
from reasoner.errors import UsageError
from reasoner.strategy import Plan, Sample
from reasoner.trace.events import Event, Sampled
from reasoner.types import Answer, Completion, Prompt, SamplingParams, ThinkingLevel
from reasoner_strategies import SelfConsistency
from tests.helpers import Planned, number_question
from tests.sweeps import widths

questions = widths("count", 300, 4000)


def majority_is_right(weights: tuple[float, ...], n: int) -> float:
    """P(the first answer wins a vote of n), ties going to the earliest of the tied: by enumeration, with the last
    weight that of no answer at all."""
    total = 0.0
    for draws in itertools.product(range(len(weights)), repeat=n):
        votes = [draw for draw in draws if draw < len(weights) - 1]
        if votes and max(votes, key=lambda vote: (votes.count(vote), -votes.index(vote))) == 0:
            total += math.prod(weights[draw] for draw in draws)
    return total


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 5])
@questions
def test_a_majority_is_right_as_often_as_it_should_be(n: int, count: int) -> None:
    silent = 0.2
    law = Law(("7", "8", "9"), (0.5, 0.3, 0.2), silent=silent, tokens=10)
    engine = SimulatedEngine(laws={f"q{place}": law for place in range(count)})
    strategy = SelfConsistency(n=n, params=SamplingParams(max_tokens=10_000))
    solutions = solve_many_sync([number_question(f"q{place}") for place in range(count)], strategy, engine)
    right = sum(solution.answer is not None and solution.answer.key == "7" for solution in solutions) / count
    exact = majority_is_right((0.4, 0.24, 0.16, silent), n)
    assert abs(right - exact) < 3 * math.sqrt(exact * (1 - exact) / count)


@questions
def test_lengths_average_as_the_law_says_and_the_cut_share_is_exponential(count: int) -> None:
    events: list[Event] = []
    engine = SimulatedEngine(answers=("7",), weights=(), tokens=50)
    strategy = SelfConsistency(n=count, params=SamplingParams(max_tokens=10_000))
    solution = solve_sync(number_question(), strategy, engine)
    assert abs(solution.cost.generated_tokens / count - 50) < 3 * 50 / math.sqrt(count)
    cut = SelfConsistency(n=count, params=SamplingParams(max_tokens=50))
    solve_sync(number_question(), cut, engine, trace=events.append)
    share = sum(isinstance(e, Sampled) and e.finish_reason == "length" for e in events) / count
    exact = math.exp(-50.5 / 50)
    assert abs(share - exact) < 3 * math.sqrt(exact * (1 - exact) / count)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"accuracy": 1.5}, "accuracy must be from 0 to 1 .got 1.5"),
        ({"answers": ("1", "2"), "weights": (1.0,)}, "1 weights for 2 answers"),
        ({"weights": (1.0, -1.0, 1.0)}, "weights must be at least 0"),
        ({"weights": (0.0, 0.0, 0.0)}, "weights must be at least 0"),
        ({"silent": 1.5}, "silent must be from 0 to 1 .got 1.5"),
        ({"tokens": 0.5}, "tokens must be at least 1 .got 0.5"),
    ],
)
def test_a_law_that_is_none_is_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match="answers must not be empty"):
        Law(())
    with pytest.raises(UsageError, match=complaint):
        SimulatedEngine(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("What is 3 + 4?", "7"),
        ("what is 7 x 8", "56"),
        ("3+4=?", "7"),
        ("Compute (2 + 3) * 4 - 1.", "19"),
        ("How much is 10 divided by 4?", "5/2"),
        ("A document.\n\nWhat is 12 times 3?\n\nGive the answer as a number.", "36"),
        ("What is \u22125 \u00d7 3?", "-15"),
        ("What is 1 / 0?", None),
        ("How many?", None),
        ("What is 7?", None),
        ("A box holds 3 apples and 4 more are added. How many are in it?", None),
        ("Is this right? What is 3 + 4? The answer is 8", None),
        ("What is 3 + x?", None),
        ("What is 9" + " * 9" * 5000 + "?", None),
    ],
)
def test_only_what_is_arithmetic_and_nothing_else_is_computed(text: str, value: str | None) -> None:
    found = arithmetic(text)
    assert (None if found is None else str(found)) == value


@pytest.mark.parametrize("accuracy", [0.0, 0.75, 1.0])
@questions
def test_arithmetic_is_right_as_often_as_it_is_said(accuracy: float, count: int) -> None:
    engine, strategy = (
        SimulatedEngine(accuracy=accuracy),
        SelfConsistency(n=1, params=SamplingParams(max_tokens=10_000)),
    )
    asked = [Question.of("What is 2 / 8?", space="number", id=f"q{place}") for place in range(count)]
    solutions = solve_many_sync(asked, strategy, engine)
    right = sum(solution.answer is not None and solution.answer.text == "0.25" for solution in solutions) / count
    assert abs(right - accuracy) <= 3 * math.sqrt(accuracy * (1 - accuracy) / count)
    assert f"arithmetic is right in {accuracy:.0%} of samples" in engine.notes[0]


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
