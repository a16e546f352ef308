"""The laws of every search by levels of rated steps, in worlds with closed forms."""

import math
from statistics import fmean, stdev
from typing import Any

import pytest

from reasoner import Budget, SamplingParams
from reasoner.testing.scripted import ScriptedEngine
from reasoner_strategies import BeamSearch, Dvts, ParticleFilter, Rebase
from tests.stepping import SEPARATOR, StepJudge, StepWorld, noisy
from tests.strategies.searching import Distinct, Rater, SearchTree, Uneven, many, search
from tests.sweeps import widths

Search = BeamSearch | Dvts | ParticleFilter | Rebase
Kind = type[Search]
KINDS: list[Kind] = [BeamSearch, Dvts, ParticleFilter, Rebase]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "rate"),
    [
        (BeamSearch(8, 4), 0.98428),
        (BeamSearch(16, 4), 0.99989),
        (BeamSearch(4, 4), 0.82397),
        (Dvts(4, 4), 0.82397),
        (Dvts(8, 4), 0.96902),
        (Dvts(16, 4), 0.99904),
        (Dvts(4, 1), 1 - (1 - 0.5**3) ** 4),
    ],
    ids=str,
)
@widths("questions", 50, 800)
def test_published_success_rates_at_n_steps_per_level(
    strategy: Search, rate: float, questions: int
) -> None:
    solutions = many(strategy, Distinct().engine(), questions=questions)
    accuracy = fmean(bool(each.answer and each.answer.key == "7") for each in solutions)
    # Three standard errors of a frequency; of a rare event, those of a count of 1.
    error = 3 * math.sqrt(max(rate * (1 - rate), 1 / questions) / questions)
    assert accuracy == pytest.approx(rate, abs=error)
    assert {solution.cost.samples for solution in solutions} == {strategy.n * 3}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [BeamSearch, Dvts, ParticleFilter, Rebase])
@widths("questions", 75, 1600)
def test_constant_ratings_leave_the_accuracy_of_samples(
    kind: Kind, questions: int
) -> None:
    solutions = many(
        kind(n=8), Distinct().engine(), StepJudge(lambda _: 0.5), questions=questions
    )
    counts = [
        {vote.answer.key: vote.count for vote in each.vote_state.votes}
        for each in solutions
    ]
    shares = [count.get("7", 0) / sum(count.values()) for count in counts]
    assert fmean(shares) == pytest.approx(
        0.5**3, abs=3 * stdev(shares) / math.sqrt(questions)
    )
    assert {solution.cost.samples for solution in solutions} == {8 * 3}


@kinds
def test_one_chain_needs_no_ratings(kind: Kind) -> None:
    run = search(kind(n=1), Distinct().engine())
    assert (
        run.solution.cost.samples,
        run.judge.seen,
        run.solution.vote_state.samples,
    ) == (3, [], 1)
    assert run.key in ("7", "8")


@kinds
def test_unrated_steps_are_not_zeros(kind: Kind) -> None:
    """Only wrong steps can be rated, with 0: they continue, and right steps are left out."""
    options: dict[str, Any] = {"balance_temperature": 1000.0} if kind is Rebase else {}
    judge = Rater(lambda _: 0.0, fails=lambda candidate: "wrong" not in candidate.chain)
    run = search(kind(n=4, **options), Distinct().engine(), judge, seed=2)
    assert run.parents(1)
    assert all("wrong" in chain for chain in run.parents(1))


@kinds
def test_no_chain_is_rated_twice(kind: Kind) -> None:
    run = search(kind(n=6), Uneven().engine(), Rater(noisy(0.2)))
    assert len(run.judge.seen) == len(set(run.judge.seen))


@kinds
@pytest.mark.parametrize("tokens", [700, 1100])
def test_the_reserve_completes_the_best_path_when_the_budget_ends(
    kind: Kind, tokens: int
) -> None:
    def run(reserve: int) -> SearchTree:
        strategy = kind(n=4, reserve=reserve, params=SamplingParams(max_tokens=200))
        return search(
            strategy, Distinct(depth=12, words=6).engine(), budget=Budget(tokens=tokens)
        )

    kept, spent = run(100), run(0)
    assert (spent.solution.answer, spent.solution.ended_by) == (None, "budget")
    assert kept.solution.answer is not None
    assert kept.solution.cost.tokens <= tokens
    assert kept.solution.vote_state.samples == 1
    assert SEPARATOR not in kept.requests[-1].params.stop


def test_the_last_step_runs_to_the_end_of_the_chain() -> None:
    run = search(BeamSearch(4, 2, max_steps=2), Distinct(depth=6).engine())
    assert run.levels == {0: 4, 1: 4}
    assert [SEPARATOR in request.params.stop for request in run.requests] == [
        True
    ] * 4 + [False] * 4
    assert run.key in ("7", "8")


def test_a_step_ends_at_its_separator_or_after_its_tokens() -> None:
    steps = ["one", "two", "The answer is 7"]
    engine = ScriptedEngine(
        lambda request: "; ".join(steps[request.prompt.text.count("; ") :])
    )
    run = search(BeamSearch(4, 2, step="; "), engine)
    starts = {(request.prompt.text, request.params.stop) for request in run.requests}
    assert starts == {("", ("; ",)), ("one; ", ("; ",)), ("one; two; ", ("; ",))}
    assert run.key == "7"
    run = search(
        BeamSearch(4, 2, step="", step_tokens=3, max_steps=5), StepWorld().engine()
    )
    assert [request.params.max_tokens for request in run.requests[:16]] == [3] * 16
    assert max(request.params.limit for request in run.requests[16:]) > 3
    assert run.key in ("7", "8")


def test_max_tokens_limits_a_chain_as_a_whole() -> None:
    run = search(
        Rebase(4, params=SamplingParams(max_tokens=13)), Distinct(depth=6).engine()
    )
    # A step is four tokens.
    limits = {
        request.prompt.text.count(SEPARATOR): request.params.max_tokens
        for request in run.requests
    }
    assert limits == {0: 13, 1: 9, 2: 5, 3: 1}
    assert (run.solution.answer, run.solution.vote_state.samples) == (None, 4)
