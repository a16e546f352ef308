"""Strategies in the simulator against closed forms."""

import math
import random
from statistics import NormalDist

import pytest

from reasoner import SamplingParams, solve_many_sync
from reasoner.engines.simulated import SimulatedEngine
from reasoner.types import Completion
from reasoner_strategies import BestOfN
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
