"""Stop rules: the published table, exact integrals, and how often they really stop on the wrong answer."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Cost, Solution, solve_many_sync, solve_sync
from reasoner.controller.stopping import BetaRule, DirichletRule, beta_lead, dirichlet_lead
from reasoner.engines.simulated import SimulatedEngine
from reasoner.errors import UsageError
from reasoner.trace import Event, Noted, Sampled
from reasoner.types import SamplingParams, Standing, Vote
from reasoner_strategies.adaptive_consistency import AdaptiveConsistency
from reasoner_strategies.self_consistency import SelfConsistency
from tests.helpers import answer, number_question

PARAMS = SamplingParams(max_tokens=10_000)


def standing(*counts: int, weights: Sequence[float] = ()) -> Standing:
    votes = tuple(
        Vote(answer(str(place)), weights[place] if weights else count, count) for place, count in enumerate(counts)
    )
    return Standing(votes, sum(counts))


# The closed form


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [
        (1, 0, 0.75),
        (2, 0, 0.875),
        (3, 0, 0.9375),
        (4, 0, 0.96875),
        (4, 1, 0.890625),
        (5, 1, 0.9375),
        (6, 1, 0.964844),
        (7, 2, 0.945312),
        (8, 2, 0.967285),
    ],
)
def test_the_published_values(a: int, b: int, value: float) -> None:
    assert round(beta_lead(a, b), 6) == value


@pytest.mark.parametrize(
    ("theta", "least"),
    [
        (0.90, [3, 5, 6, 8, 9, 11, 12, 13]),
        (0.95, [4, 6, 8, 9, 11, 12, 14, 15]),
        (0.99, [6, 9, 11, 13, 14, 16, 18, 19]),
    ],
)
def test_the_least_lead_that_stops(theta: float, least: list[int]) -> None:
    rule = BetaRule(theta)
    for b, a in enumerate(least):
        assert rule.stop(standing(a, b) if b else standing(a), Cost())
        assert rule.stop(standing(a - 1, b) if b else standing(a - 1), Cost()) is None


COUNTS = st.integers(0, 300)


@given(COUNTS, COUNTS)
def test_more_votes_for_the_leader_make_it_surer(a: int, b: int) -> None:
    assert beta_lead(a, b) <= beta_lead(a + 1, b)
    assert beta_lead(a, b) >= beta_lead(a, b + 1)
    assert beta_lead(a, b) == pytest.approx(1 - beta_lead(b, a), abs=1e-15)
    assert beta_lead(a, a) == 0.5


def test_it_is_the_integral_it_claims_to_be() -> None:
    """Riemann sums over the posterior's density."""
    for a, b in ((4, 0), (5, 3), (12, 9), (2, 6)):
        norm = math.comb(a + b, a) * (a + b + 1)
        cells = 200_000
        upper = sum((x := 0.5 + (at + 0.5) / (2 * cells)) ** a * (1 - x) ** b for at in range(cells)) / (2 * cells)
        assert beta_lead(a, b) == pytest.approx(norm * upper, abs=1e-9)


@pytest.mark.parametrize("counts", [(-1, 2), (2, -1)])
def test_fewer_votes_than_none_are_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="0 or more"):
        beta_lead(*counts)
    with pytest.raises(ValueError, match="0 votes or more"):
        dirichlet_lead(counts)


# The Dirichlet


def exact_lead(counts: Sequence[int]) -> float:
    """The same integral in fractions: each gamma distribution function is a polynomial times a power of e^-x."""
    first, *others = counts
    terms = {(0, 0): Fraction(1)}
    for votes in others:
        product: dict[tuple[int, int], Fraction] = defaultdict(Fraction)
        for (power, degree), factor in terms.items():
            product[power, degree] += factor
            for k in range(votes + 1):
                product[power + 1, degree + k] -= factor / math.factorial(k)
        terms = product
    return float(
        sum(
            factor
            * Fraction(math.factorial(first + degree), math.factorial(first) * (1 + power) ** (first + degree + 1))
            for (power, degree), factor in terms.items()
        )
    )


@given(COUNTS, COUNTS)
def test_of_two_classes_it_is_the_beta(a: int, b: int) -> None:
    assert dirichlet_lead((a, b)) == pytest.approx(beta_lead(a, b), abs=1e-9)


@pytest.mark.parametrize(
    "counts",
    [
        (3, 2, 1),
        (4, 0, 0),
        (0, 0, 0),
        (1,) * 40,
        (20, 10, 5, 5),
        (12, 11, 10, 9),
        (2, *(1,) * 20),
        (5, 6, 7),
        (60, 55, 50),
    ],
    ids=str,
)
def test_of_more_classes_it_is_the_exact_integral(counts: tuple[int, ...]) -> None:
    assert dirichlet_lead(counts) == pytest.approx(exact_lead(counts), abs=1e-9)
    assert dirichlet_lead(counts) == dirichlet_lead((counts[0], *reversed(counts[1:])))


@given(st.lists(st.integers(0, 40), min_size=2, max_size=6))
def test_the_chances_of_all_classes_are_one(counts: list[int]) -> None:
    each = [dirichlet_lead((votes, *counts[:at], *counts[at + 1 :])) for at, votes in enumerate(counts)]
    assert sum(each) == pytest.approx(1, abs=1e-9)


def test_a_mode_of_one_class_is_no_question() -> None:
    with pytest.raises(ValueError, match="two classes or more"):
        dirichlet_lead((3,))


# The rules


@pytest.mark.parametrize("rule", [BetaRule(), DirichletRule()])
def test_a_rule_says_why_in_numbers(rule: BetaRule | DirichletRule) -> None:
    assert rule.stop(Standing((), 9), Cost()) is None
    assert rule.stop(standing(3), Cost()) is None
    reason = rule.stop(standing(4), Cost())
    assert reason is not None
    assert all(number in reason for number in ("4", "0.968", "0.95"))


def test_more_contenders_make_the_dirichlet_wait_longer() -> None:
    assert BetaRule().stop(standing(6, 1, 1, 1), Cost())
    assert DirichletRule().stop(standing(6, 1, 1, 1), Cost()) is None
    assert DirichletRule().stop(standing(6, 1), Cost())


@pytest.mark.parametrize("rule", [BetaRule(), DirichletRule()])
def test_members_count_and_not_their_weight(rule: BetaRule | DirichletRule) -> None:
    """A leader by weight that has fewer votes is not ahead."""
    assert rule.stop(standing(2, 9, weights=(5.0, 1.0)), Cost()) is None
    assert rule.stop(standing(9, 2, weights=(0.2, 0.1)), Cost())


@pytest.mark.parametrize("theta", [0.0, 1.0, -0.1, math.nan])
def test_a_theta_that_is_no_probability_is_refused(theta: float) -> None:
    for rule in (BetaRule, DirichletRule):
        with pytest.raises(UsageError, match=r"theta=.* is out of range"):
            rule(theta)


# How often they are wrong

Stops = Callable[[tuple[int, ...]], bool]
States = dict[tuple[tuple[int, ...], tuple[int, ...]], float]


@cache
def _beta(counts: tuple[int, ...]) -> bool:
    return BetaRule().stop(standing(*counts), Cost()) is not None


@cache
def _dirichlet(counts: tuple[int, ...]) -> bool:
    return DirichletRule().stop(standing(*counts), Cost()) is not None


class Course:
    """What one-by-one draws from a law come to, exactly: the probability of each state, draw by draw.

    A state is the counts of the classes and the order in which they came, which decides ties. The first is right.
    """

    def __init__(self, law: tuple[float, ...], cap: int, stops: Stops) -> None:
        self.stopped_wrong = self.right = self.samples = 0.0
        states: States = {((0,) * len(law), ()): 1.0}
        for drawn in range(1, cap + 1):
            states = self._look(drawn, cap, stops, _drawn(states, law))

    def _look(self, drawn: int, cap: int, stops: Stops, states: States) -> States:
        going_on = {}
        for (counts, order), chance in states.items():
            stop = stops(tuple(sorted((count for count in counts if count), reverse=True)))
            if not stop and drawn < cap:
                going_on[counts, order] = chance
                continue
            leader = max(order, key=lambda one: (counts[one], -order.index(one)))
            self.samples += drawn * chance
            self.right += chance * (leader == 0)
            self.stopped_wrong += chance * (stop and leader != 0)
        return going_on


def _drawn(states: States, law: tuple[float, ...]) -> States:
    after: States = defaultdict(float)
    for (counts, order), chance in states.items():
        for one, probability in enumerate(law):
            more = (*counts[:one], counts[one] + 1, *counts[one + 1 :])
            after[more, order if one in order else (*order, one)] += chance * probability
    return after


@pytest.mark.parametrize(
    ("law", "cap", "wrong"),
    [
        ((0.55, 0.45), 40, 0.109),
        ((0.55, 0.45), 200, 0.122),
        ((0.6, 0.4), 40, 0.054),
        ((0.6, 0.4), 200, 0.055),
        ((0.7, 0.3), 40, 0.012),
        ((0.4, 0.35, 0.25), 40, 0.084),
    ],
)
def test_the_published_shares_of_wrong_stops(law: tuple[float, ...], cap: int, wrong: float) -> None:
    assert round(Course(law, cap, _beta).stopped_wrong, 3) == wrong


def test_the_dirichlet_is_wrong_less_often_for_more_samples() -> None:
    law = (0.4, 0.35, 0.25)
    beta, dirichlet = Course(law, 40, _beta), Course(law, 40, _dirichlet)
    assert dirichlet.stopped_wrong < 0.75 * beta.stopped_wrong
    assert dirichlet.samples > beta.samples


QUESTIONS = 300


def solved(law: tuple[float, ...], strategy: object) -> tuple[list[Solution], list[Event]]:
    events: list[Event] = []
    engine = SimulatedEngine(answers=("7", "8", "9")[: len(law)], weights=law, tokens=5)
    questions = [number_question(f"q{place}") for place in range(QUESTIONS)]
    return solve_many_sync(questions, strategy, engine, trace=events.append), events  # type: ignore[arg-type]


def near(found: float, exact: float, spread: float) -> bool:
    return abs(found - exact) < 3 * spread / math.sqrt(QUESTIONS)


@pytest.mark.parametrize(
    ("law", "rule"), [((0.6, 0.4), "beta"), ((0.4, 0.35, 0.25), "beta"), ((0.4, 0.35, 0.25), "dirichlet")]
)
def test_runs_are_wrong_and_long_as_often_as_the_exact_course_says(
    law: tuple[float, ...], rule: Literal["beta", "dirichlet"]
) -> None:
    exact = Course(law, 40, _beta if rule == "beta" else _dirichlet)
    solutions, events = solved(law, AdaptiveConsistency(n=40, rule=rule, params=PARAMS))
    stopped = {event.question_id for event in events if isinstance(event, Noted)}
    right = {one.question_id for one in solutions if one.answer and one.answer.key == "7"}
    wrong = len(stopped - right) / QUESTIONS
    assert near(wrong, exact.stopped_wrong, math.sqrt(exact.stopped_wrong * (1 - exact.stopped_wrong)))
    assert near(len(right) / QUESTIONS, exact.right, math.sqrt(exact.right * (1 - exact.right)))
    assert near(sum(one.standing.samples for one in solutions) / QUESTIONS, exact.samples, 20)


def test_a_rule_from_outside_stops_a_majority_vote_at_the_same_samples() -> None:
    engine = SimulatedEngine(answers=("7", "8"), weights=(0.8, 0.2), tokens=5)
    for place in range(30):
        question = number_question(f"q{place}")
        inside = solve_sync(question, AdaptiveConsistency(window=1, params=PARAMS), engine)
        outside = solve_sync(question, SelfConsistency(n=40, params=PARAMS), engine, stop=BetaRule())
        assert (outside.answer, outside.standing) == (inside.answer, inside.standing)
        assert (outside.ended_by == "rule") == (inside.standing.samples < 40)


def test_the_share_of_questions_with_a_right_sample_is_pass_at_k() -> None:
    """Of 8 samples, without bias from any k of them (Chen 2021, 2107.03374), and by its law 1 - (1 - p)^k."""
    p, n = 0.3, 8
    _, events = solved((p, 0.5, 0.2), SelfConsistency(n=n, params=PARAMS))
    right: dict[str, int] = {}
    for event in events:
        if isinstance(event, Sampled):
            right[event.question_id] = right.get(event.question_id, 0) + event.text.endswith(" 7")
    for k in (1, 3, 8):
        estimate = sum(1 - math.comb(n - c, k) / math.comb(n, k) for c in right.values()) / QUESTIONS
        exact = 1 - (1 - p) ** k
        assert near(estimate, exact, math.sqrt(exact * (1 - exact)))
