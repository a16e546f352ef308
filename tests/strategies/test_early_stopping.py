"""Early-stopping self-consistency against its closed form, and what a window may decide."""

import math

import pytest

from reasoner import Budget, Solution, solve_many_sync, solve_sync
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import BudgetExhausted, UsageError
from reasoner.strategy import Propose, Sample
from reasoner.types import SamplingParams
from reasoner_strategies.early_stopping import EarlyStopping
from tests.helpers import completion, finish, number_question, says
from tests.scripted import ScriptedEngine
from tests.sweeps import widths

QUESTION = number_question()


def mean_samples(law: tuple[float, ...], n: int, window: int) -> float:
    """The expected number of samples, from the published formula; `n` is whole windows."""
    agree, windows = math.fsum(p**window for p in law), n // window
    early = math.fsum(agree * (1 - agree) ** at * (at + 1) for at in range(windows - 1))
    return window * (early + (1 - agree) ** (windows - 1) * windows)


@pytest.mark.parametrize(
    ("law", "mean"), [((1.0,), 5), ((0.9, 0.1), 8.4607), ((0.8, 0.2), 14.6100), ((0.5, 0.5), 32.2624)]
)
def test_the_published_means(law: tuple[float, ...], mean: float) -> None:
    assert mean_samples(law, 40, 5) == pytest.approx(mean, abs=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "n", "window"), [((1.0,), 40, 5), ((0.9, 0.1), 40, 5), ((0.5, 0.5), 40, 5), ((0.6, 0.3, 0.1), 12, 3)]
)
@widths("count", 75, 1200)
def test_runs_draw_as_many_as_the_formula_says(law: tuple[float, ...], n: int, window: int, count: int) -> None:
    engine = SimulatedEngine(answers=("7", "8", "9")[: len(law)], weights=law, tokens=5)
    strategy = EarlyStopping(n=n, window=window, params=SamplingParams(max_tokens=10_000))
    solutions = solve_many_sync([number_question(f"q{place}") for place in range(count)], strategy, engine)
    drawn = [solution.cost.samples for solution in solutions]
    mean = sum(drawn) / count
    spread = math.sqrt(sum((one - mean) ** 2 for one in drawn) / count)
    assert abs(mean - mean_samples(law, n, window)) <= 3 * spread / math.sqrt(count)


def solved(*keys: str, n: int, window: int, budget: Budget | None = None) -> Solution:
    return solve_sync(QUESTION, EarlyStopping(n, window), ScriptedEngine(says(*keys)), budget=budget)


def key(solution: Solution) -> str | None:
    return solution.answer.key if solution.answer else None


def test_a_window_of_one_mind_outvotes_the_majority_before_it() -> None:
    """Twelve 7s in windows that do not agree, then five 8s."""
    keys = ["7", "7", "7", "7", "9"] * 3 + ["8"] * 5
    solution = solved(*keys, n=40, window=5)
    assert (key(solution), solution.cost.samples, solution.vote_state.samples) == ("8", 20, 20)
    assert solution.vote_state.leader is not None
    assert solution.vote_state.leader.key == "7"


def test_without_agreement_the_majority_of_all_decides() -> None:
    solution = solved("7", "8", "8", "9", n=8, window=4)
    assert (key(solution), solution.cost.samples) == ("8", 8)


@pytest.mark.parametrize("odd", ["no idea", "cut"])
def test_a_window_with_an_abstention_does_not_agree(odd: str) -> None:
    """Nor does one in which nobody answers: nothing is what all of them would agree on."""
    plan = EarlyStopping(n=6, window=3).plan(QUESTION)
    assert next(plan) == Sample((QUESTION.prompt,), 3, SamplingParams())
    blank = completion("no idea") if odd == "no idea" else completion("The answer is 7", finish="length")
    silent = plan.send((blank, blank, blank))
    assert isinstance(silent, Propose)
    assert (silent.answer, silent.vote_state.samples) == (None, 3)
    assert plan.send(None) == Sample((QUESTION.prompt,), 3, SamplingParams())
    proposed = plan.send((completion("The answer is 7"), blank, completion("The answer is 7")))
    assert isinstance(proposed, Propose)
    assert (proposed.answer and proposed.answer.key, proposed.vote_state.samples) == ("7", 6)


def test_a_smaller_window_stops_sooner() -> None:
    assert solved("7", n=40, window=3).cost.samples == 3
    assert solved("7", n=40, window=5).cost.samples == 5


def test_the_remainder_is_drawn_and_joins_the_vote() -> None:
    """7 and 8 are level after the whole windows; what is left decides, and is no window by itself."""
    solution = solved("8", "7", "7", "8", "7", n=5, window=2)
    assert (key(solution), solution.cost.samples) == ("7", 5)
    lonely = solved("7", "8", "7", "8", "9", n=5, window=2)
    assert (key(lonely), lonely.cost.samples) == ("7", 5)


def test_fewer_samples_than_a_window_are_a_majority_vote() -> None:
    solution = solved("7", "8", "8", n=3, window=5)
    assert (key(solution), solution.cost.samples) == ("8", 3)


def test_a_window_that_the_budget_cut_short_is_none() -> None:
    """Two of the second window of three agree, against the majority."""
    solution = solved("7", "7", "8", "8", "8", n=9, window=3, budget=Budget(samples=5))
    assert (key(solution), solution.cost.samples, solution.ended_by) == ("8", 5, "budget")
    alone = solved("7", "7", "8", "8", "8", n=9, window=3, budget=Budget(samples=4))
    assert (key(alone), alone.vote_state.samples) == ("7", 4)


def test_a_refused_window_leaves_the_majority() -> None:
    plan = EarlyStopping(n=4, window=2).plan(QUESTION)
    next(plan)
    proposed = plan.send((completion("The answer is 7"), completion("The answer is 8")))
    assert isinstance(proposed, Propose)
    plan.send(None)
    assert finish(plan, BudgetExhausted("samples", needed=1, free=0, limit=2)) == proposed.answer


@pytest.mark.parametrize(
    ("options", "complaint"), [({"n": 0}, "n must be .*got 0"), ({"window": 0}, "window must be .*got 0")]
)
def test_options_out_of_range_are_refused(options: dict[str, int], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        EarlyStopping(**options)  # type: ignore[arg-type]
