"""Selectors: who of several candidates gives the answer, and who the candidates of a search are, as published."""

from typing import Any

import pytest

from reasoner.engine import SampleRequest
from reasoner.registry import build, entries, options_of
from reasoner.strategy import Propose
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge, completion
from reasoner.trace.events import Sampled
from reasoner_strategies import BeamSearch, Dvts
from reasoner_strategies._voting.pool import RunningVote, Selector, rated_vote
from tests.contracts.test_strategies import QUESTION
from tests.stepping import SEPARATOR, noisy
from tests.strategies.searching import Rater, SearchTree, Uneven, search

RATED = (("7", 0.9), ("8", 0.6), ("8", 0.5), ("9", 0.2))
CHOSEN: dict[Selector, str] = {
    "argmax": "7",
    "weighted": "8",
    "majority": "8",
    "last": "9",
}
SEARCHES = sorted(
    name
    for name in entries("strategy")
    if "selector" in options_of(type(build("strategy", name)))
)


@pytest.mark.parametrize(("selector", "key"), CHOSEN.items())
def test_each_selects_as_published_at_once_and_as_candidates_arrive(
    selector: Selector, key: str
) -> None:
    pool = [
        completion(f"The answer is {said}", index=at)
        for at, (said, _) in enumerate(RATED)
    ]
    plan = rated_vote(QUESTION, pool, [value for _, value in RATED], selector=selector)
    with pytest.raises(StopIteration) as end:
        next(plan)
    assert end.value.value.leader.key == key
    votes = RunningVote(QUESTION.space, selector)
    for at, (one, (_, value)) in enumerate(zip(pool, RATED, strict=True)):
        answer = QUESTION.read(one)
        assert answer
        votes.count(answer, order=at)
        votes.rate(answer, value, order=at)
    proposed = next(votes.publish())
    assert isinstance(proposed, Propose)
    assert proposed.vote_state.votes == end.value.value.votes


def test_every_strategy_that_ends_with_several_candidates_has_them() -> None:
    assert SEARCHES == [
        "ab_mcts",
        "beam_search",
        "best_of_n",
        "dvts",
        "mcts",
        "particle_filter",
        "rebase",
        "tree_of_thoughts",
    ]


def test_consensus_without_parts_is_the_weighted_vote() -> None:
    engine = ScriptedEngine(
        lambda request: f"{request.index}: The answer is {RATED[request.index][0]}"
    )
    judge = Rater(lambda one: RATED[int(one.text[0])][1])
    assert (
        search(build("strategy", "best_of_n:n=4,selector=consensus"), engine, judge).key
        == CHOSEN["weighted"]
    )


@pytest.mark.parametrize(("selector", "key"), CHOSEN.items())
def test_a_pool_of_samples_is_selected_from(selector: Selector, key: str) -> None:
    def says(request: SampleRequest) -> str:
        return f"{request.index}: The answer is {RATED[request.index][0]}"

    strategy = build("strategy", f"best_of_n:n=4,selector={selector}")
    judge = Rater(lambda one: RATED[int(one.text[0])][1])
    run = search(strategy, ScriptedEngine(says), judge)
    assert run.key == key
    assert bool(judge.seen) == strategy.uses_verifier


def finished(run: SearchTree) -> list[tuple[int, str]]:
    """The chains that finished, by level and launch order, with their answers."""
    texts = {
        event.child: event.text for event in run.events if isinstance(event, Sampled)
    }
    done = [
        event
        for event in run.events
        if isinstance(event, Sampled) and event.stop is None and event.answer
    ]
    levels = {
        request.prompt.digest: request.prompt.text.count(SEPARATOR)
        for request in run.requests
    }
    assert texts
    return [(levels[event.prompt], event.answer.key) for event in done if event.answer]


@pytest.mark.parametrize("seed", range(8))
def test_the_first_n_that_finish_are_the_candidates_of_beam_search(seed: int) -> None:
    """As in search-and-learn, which asks for 16 and ends with 16; by level and launch order."""
    run = search(
        BeamSearch(6, 2, selector="majority"),
        Uneven().engine(),
        Rater(noisy(0.2)),
        seed=seed,
    )
    assert run.solution.vote_state.cast == 6
    ended = sorted(finished(run), key=lambda one: one[0])
    assert len(ended) >= 6
    last = ended[5][0]
    sure = [key for level, key in ended if level < last]
    voted = [
        vote.answer.key
        for vote in run.solution.vote_state.votes
        for _ in range(vote.count)
    ]
    assert all(voted.count(key) >= sure.count(key) for key in sure)
    assert {*voted} <= {key for level, key in ended if level <= last}


@pytest.mark.parametrize(("candidates", "cast"), [("best", 2), ("siblings", 5)])
def test_the_candidates_of_subtrees(candidates: Any, cast: int) -> None:
    """Three of four siblings finish beside the best of one subtree, and one beside that of the other; one is open."""

    def says(request: SampleRequest) -> str:
        place = request.index % (1 << 20) + 4 * (request.index >> 20)
        ends = place in (0, 1, 3, 4, 5)
        return f"{place}: The answer is {place}" if ends else f"{place}: so{SEPARATOR}"

    judge = Judge(lambda one: 0.9 if one.text[0] in "04" else 0.2)
    strategy = Dvts(8, 4, candidates=candidates, max_steps=3)
    run = search(strategy, ScriptedEngine(says), Rater(judge.verdict))
    assert run.solution.vote_state.cast == cast
    assert run.key in ("0", "4")
