"""Strategies in the simulator against closed forms."""

import math
import random
from statistics import NormalDist

import pytest

from reasoner import Budget, SamplingParams, solve_many_sync
from reasoner.engines.simulated import SimulatedEngine
from reasoner.trace.events import Event, Sampled
from reasoner.types import Completion
from reasoner_strategies import BestOfN, SelfConsistency
from tests.helpers import Judge, number_question
from tests.sweeps import widths

QUESTIONS = [number_question(f"q{n}") for n in range(6000)]
questions = widths("count", 200, 6000)
LONG = SamplingParams(temperature=0.8, max_tokens=10_000)
NORMAL = NormalDist()


def binormal(auroc: float) -> Judge:
    """A verifier of known AUROC: scores are normal with unit spread, those of right candidates shifted."""
    shift = math.sqrt(2) * NORMAL.inv_cdf(auroc)

    def verdict(candidate: Completion) -> float:
        source = random.Random(candidate.seed + 1)
        return NORMAL.cdf((shift if "7" in candidate.text else 0.0) + source.gauss(0, 1))

    return Judge(verdict)


def best_is_right(n: int, p: float, auroc: float) -> float:
    """The chance that the best rated of n candidates is right, by integrating over its score."""
    shift = math.sqrt(2) * NORMAL.inv_cdf(auroc)
    step = 0.002
    grid = [-8 + step * at for at in range(int(20 / step))]
    return step * sum(
        n * p * NORMAL.pdf(x - shift) * (p * NORMAL.cdf(x - shift) + (1 - p) * NORMAL.cdf(x)) ** (n - 1) for x in grid
    )


@pytest.mark.slow
@pytest.mark.parametrize(("n", "auroc"), [(2, 0.8), (8, 0.8), (8, 0.5), (8, 0.95)])
@questions
def test_best_of_n_by_a_verifier_of_known_auroc(n: int, auroc: float, count: int) -> None:
    p = 0.4
    engine = SimulatedEngine(("7", "8", "9"), weights=(p, 0.3, 0.3), tokens=5)
    solutions = solve_many_sync(QUESTIONS[:count], BestOfN(n, params=LONG), engine, verifier=binormal(auroc))
    right = sum(one.answer is not None and one.answer.key == "7" for one in solutions) / len(solutions)
    expected = best_is_right(n, p, auroc)
    if auroc == 0.5:
        assert expected == pytest.approx(p, abs=1e-3)
    assert right == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / len(solutions)))


@pytest.mark.slow
@questions
def test_coverage_is_one_minus_the_chance_that_all_are_wrong(count: int) -> None:
    p, n = 0.2, 6
    events: list[Event] = []
    engine = SimulatedEngine(("7", "8"), weights=(p, 1 - p), tokens=5)
    solve_many_sync(QUESTIONS[:count], SelfConsistency(n, LONG), engine, trace=events.append)
    drawn = [event for event in events if isinstance(event, Sampled)]
    for k in (1, 3, 6):
        covered = {event.question_id for event in drawn if event.index < k and event.answer and event.answer.key == "7"}
        expected = 1 - (1 - p) ** k
        share = len(covered) / count
        assert share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / count))


@pytest.mark.slow
@widths("count", 60, 1000)
def test_more_budget_never_hurts_with_a_perfect_verifier(count: int) -> None:
    """The same questions at growing budgets: what was right stays right."""
    engine = SimulatedEngine(("7", "8"), weights=(0.3, 0.7), tokens=5)
    asked, perfect = QUESTIONS[:count], Judge(lambda candidate: float("7" in candidate.text))
    shares = []
    for samples in (1, 2, 4, 8):
        budget = Budget(samples=samples)
        solutions = solve_many_sync(asked, BestOfN(8, params=LONG), engine, verifier=perfect, each=budget)
        shares.append(sum(one.answer is not None and one.answer.key == "7" for one in solutions))
    assert shares == sorted(shares)
    assert shares[-1] > 2.5 * shares[0]
