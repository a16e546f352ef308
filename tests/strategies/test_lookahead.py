"""Lookahead: a beam search that rates a step by where it leads."""

import pytest

from reasoner import SamplingParams
from reasoner_strategies.beam_search import BeamSearch
from reasoner_strategies.lookahead import Lookahead
from tests.helpers import course
from tests.stepping import SEPARATOR, noisy
from tests.strategies.searching import Distinct, Rater, Uneven, depth, search

LONG = SamplingParams(temperature=0.8, max_tokens=2000)


@pytest.mark.parametrize("seed", range(4))
def test_without_looking_ahead_it_is_beam_search(seed: int) -> None:
    runs = [
        search(strategy, Uneven().engine(), Rater(noisy(0.2)), seed=seed)
        for strategy in (BeamSearch(6, 2), Lookahead(6, 2, k=0))
    ]
    assert course(runs[0].solution) == course(runs[1].solution)
    assert runs[0].seeds == runs[1].seeds


def test_two_steps_ahead_cost_three_times_as_much() -> None:
    world = Distinct(depth=30)
    spent = [search(Lookahead(4, 2, k=k, params=LONG), world.engine()).solution.cost for k in (0, 1, 2)]
    # The last steps of a chain leave less to look ahead to: 30 + 29 (+ 28) steps a chain.
    assert [cost.samples for cost in spent] == [4 * 30, 4 * (30 + 29), 4 * (30 + 29 + 28)]
    assert spent[2].generated_tokens / spent[0].generated_tokens == pytest.approx(3, abs=0.15)


def test_the_verifier_is_shown_the_step_and_what_follows_it() -> None:
    run = search(Lookahead(4, 2, k=2), Distinct(depth=5).engine(), Rater(noisy(0.2)))
    steps, rollouts = ([one for one in run.requests if (one.params.temperature == 0) == greedy] for greedy in (0, 1))
    assert {request.params.temperature for request in steps} == {0.8}
    # Open children after 1, 2 and 3 steps are seen two steps on, after 4 at the end, and finished ones as they are.
    assert sorted(chain.count(SEPARATOR) for chain in run.judge.seen) == [2] * 4 + [3] * 4 + [4] * 12
    assert len(rollouts) == 4 * (2 + 2 + 2 + 1)
    # A rollout continues a child that was drawn, and is dropped: children grow from children.
    drawn = {request.prompt.text for request in steps}
    for request in steps:
        if depth(request):
            assert any(chain.startswith(request.prompt.text) for chain in run.judge.seen)
            assert request.prompt.text.rsplit(SEPARATOR, 2)[0] + SEPARATOR in drawn or depth(request) == 1
