"""Diverse verifier tree search: subtrees that never compete."""

import asyncio

from reasoner.engine import SampleRequest
from reasoner_strategies.dvts import Dvts
from tests.stepping import SEPARATOR, noisy
from tests.strategies.searching import Distinct, Rater, SearchTree, depth, search


def test_each_subtree_continues_from_its_own_best() -> None:
    run = search(Dvts(8, 4), Distinct(depth=5).engine(), Rater(noisy(0.1)))
    assert run.levels == dict.fromkeys(range(5), 8)
    first, rated = [chain for chain in run.judge.seen if SEPARATOR not in chain], run.judge.rated
    kept = {max(first[:4], key=rated.__getitem__) + SEPARATOR, max(first[4:], key=rated.__getitem__) + SEPARATOR}
    for level in range(1, 5):
        # The two kept ones stem from different parents, also where one parent has the two best children.
        assert {SEPARATOR.join(chain.split(SEPARATOR)[: level - 1]) for chain in run.parents(level)} == (
            {chain.removesuffix(SEPARATOR) for chain in run.parents(level - 1)} if level > 1 else {""}
        )
        assert list(run.parents(level).values()) == [4, 4]
    assert set(run.parents(1)) == kept


def drawn(run: SearchTree) -> set[tuple[str, int]]:
    return {(request.prompt.text, request.seed) for request in run.requests}


def test_without_one_subtree_the_others_do_the_same() -> None:
    judge = noisy(0.2)
    whole, fewer = (search(Dvts(n, 4), Distinct(depth=4).engine(), Rater(judge)) for n in (12, 8))
    assert drawn(fewer) < drawn(whole)
    assert len(drawn(whole)) - len(drawn(fewer)) == 4 * 4


def test_a_slow_subtree_holds_up_no_other() -> None:
    times: list[tuple[int, int]] = []

    async def pause(request: SampleRequest) -> None:
        # The first child of all takes longer than the whole of the other subtrees.
        for _ in range(200 if depth(request) == 0 and request.index == 0 else 1):
            await asyncio.sleep(0)
        times.append((depth(request), request.index))

    run = search(Dvts(6, 2), Distinct().engine(pause=pause), Rater(noisy(0.2)))
    late = times.index((0, 0))
    assert sum(level == 2 for level, _ in times[:late]) == 4
    assert run.solution.vote_state.samples == 6


def test_until_a_subtree_has_ended_a_sibling_counts() -> None:
    def say(request: SampleRequest) -> str:
        return "The answer is 3" if request.index == 0 and depth(request) == 0 else Distinct.say(Distinct(), request)

    engine = Distinct().engine()
    engine.script = say
    run = search(Dvts(2, 2), engine, Rater(lambda one: 0.1 if "3" in one.text[-1] else 0.9))
    keys = [proposal.answer.key for proposal in run.solution.proposals if proposal.answer]
    assert keys[0] == "3"
    assert keys[-1] == run.key != "3"
