"""Knockout, as a pure plan."""

import math
import random

import pytest

from reasoner import solve_sync
from reasoner.engine import SampleRequest
from reasoner.errors import BudgetExhausted, UsageError
from reasoner.strategy import Propose, Sample
from reasoner.types import SamplingParams
from reasoner_strategies.knockout import Knockout
from tests.helpers import completion
from tests.scripted import ScriptedEngine
from tests.strategies.judging import QUESTION, Judging, SearchTree, judged, key_of, pool, prefers, texts_in
from tests.sweeps import widths

PARAMS = SamplingParams(temperature=0.4, max_tokens=99)


def course(keys: list[str], judge: Judging, comparisons: int = 2) -> SearchTree:
    drawn = pool(*keys)
    return judged(Knockout(len(drawn), comparisons, PARAMS).plan(QUESTION), drawn, judge)


def by_votes(classes: int) -> list[str]:
    """A pool with so many classes, whose votes fall: 1 has the most."""
    return [str(seed) for seed in range(1, classes + 1) for _ in range(classes + 1 - seed)]


def test_the_best_seeds_meet_last_and_the_first_of_an_odd_number_goes_on_unopposed() -> None:
    won = course(by_votes(5), prefers("1", "2", "3", "4", "5"), comparisons=1)
    assert [[key_of(text) for text in texts] for texts in won.asked] == [["2", "5"], ["3", "4"], ["2", "3"], ["1", "2"]]
    assert won.rounds == [2, 1, 1]
    assert won.key == "1"
    assert [vote.answer.key for vote in won.vote_states[-1].votes] == ["1", "2", "3", "4", "5"]
    assert [int(vote.weight) for vote in won.vote_states[-1].votes] == [3, 2, 1, 0, 0]


@pytest.mark.parametrize("classes", range(1, 18))
def test_rounds_and_calls_are_bounded(classes: int) -> None:
    source = random.Random(classes)
    for comparisons in (1, 2, 3):
        drawn = by_votes(classes)
        played = course(drawn, lambda _: f"Better: {source.choice('AB')}", comparisons)
        assert len(played.rounds) == math.ceil(math.log2(classes))
        assert sum(played.rounds) == comparisons * (classes - 1)
        assert len(drawn) + sum(played.rounds) <= len(drawn) + comparisons * (len(drawn) - 1)
        assert [vote_state.samples for vote_state in played.vote_states] == [len(drawn)] * (len(played.rounds) + 1)


@pytest.mark.parametrize("classes", [2, 3, 8, 11])
def test_whoever_wins_every_comparison_wins(classes: int) -> None:
    for winner in range(1, classes + 1):
        others = [str(key) for key in range(1, classes + 1) if key != winner]
        assert course(by_votes(classes), prefers(str(winner), *others)).key == str(winner)


@pytest.mark.parametrize("reply", ["Better: A", "Better: B", "no idea"])
def test_a_judge_that_goes_by_place_or_says_nothing_leaves_the_majority(reply: str) -> None:
    played = course(by_votes(6), lambda _: reply)
    assert played.key == "1"
    pairs = [tuple(map(key_of, texts)) for texts in played.asked]
    assert sorted(pairs) == sorted((b, a) for a, b in pairs)


def test_with_one_class_nothing_is_compared() -> None:
    played = course(["7", "7", "7"], prefers())
    assert (played.key, played.asked, len(played.vote_states)) == ("7", [], 1)


def test_a_refused_round_leaves_the_best_of_the_last() -> None:
    drawn = pool(*by_votes(4))
    plan = Knockout(len(drawn)).plan(QUESTION)
    next(plan)
    plan.send(drawn)
    op = plan.send(None)
    assert isinstance(op, Sample)
    judge = prefers("3", "4", "2", "1")
    told = plan.send(tuple(completion(judge(texts_in(prompt)), prompt=prompt) for prompt in op.prompts))
    assert isinstance(told, Propose)
    # 3 and 4 are left, each with a round won, and 3 has more votes.
    assert [vote.answer.key for vote in told.vote_state.votes[:2]] == ["3", "4"]
    assert isinstance(plan.send(None), Sample)
    with pytest.raises(BudgetExhausted):
        plan.throw(BudgetExhausted("tokens", needed=9, free=0, limit=5))


def bound(n: int, p_gen: float, p_comp: float, comparisons: int) -> float:
    """The most that knockout fails: nothing right was drawn, or one of the rounds goes wrong (Hoeffding)."""
    return (1 - p_gen) ** n + math.ceil(math.log2(n)) * math.exp(-2 * comparisons * (p_comp - 0.5) ** 2)


def test_the_bound_of_the_paper() -> None:
    assert bound(16, 0.3, 0.65, 41) == pytest.approx(0.635, abs=5e-4)
    assert bound(16, 0.3, 0.65, 100) == pytest.approx(0.048, abs=5e-4)
    assert bound(16, 0.3, 0.65, 10) > 1


@pytest.mark.slow
@widths("runs", 12, 400)
def test_it_fails_no_more_often_than_the_bound(runs: int) -> None:
    source, failed = random.Random(0), 0

    def judge(texts: list[str]) -> str:
        right = next((at for at, text in enumerate(texts) if key_of(text) == "7"), None)
        at = source.randrange(2) if right is None else right if source.random() < 0.65 else 1 - right
        return f"Better: {'AB'[at]}"

    for _ in range(runs):
        keys = ["7" if source.random() < 0.3 else str(100 + wrong) for wrong in range(16)]
        failed += course(keys, judge, comparisons=100).key != "7"
    maximum = bound(16, 0.3, 0.65, 100)
    assert failed / runs <= maximum + 3 * math.sqrt(maximum * (1 - maximum) / runs)


def test_it_runs_on_an_engine() -> None:
    def script(request: SampleRequest) -> str:
        texts = texts_in(request.prompt)
        return prefers("7", "8", "9")(texts) if texts else f"The answer is {'889997'[request.index]}"

    solution = solve_sync(QUESTION, Knockout(6), ScriptedEngine(script))
    assert (solution.answer and solution.answer.key, solution.cost.samples) == ("7", 6 + 2 * 2)


@pytest.mark.parametrize("options", [{"n": 0}, {"comparisons": 0}])
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    [(name, value)] = options.items()
    with pytest.raises(UsageError, match=rf"{name} must be .* \(got {value}\)"):
        Knockout(**options)  # type: ignore[arg-type]
