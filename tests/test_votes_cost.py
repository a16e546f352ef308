"""What a vote is by definition, and what counting it may cost: comparisons, questions and memory."""

import itertools
import math
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Answer, VoteState
from reasoner.answers.maths import MathSpace
from reasoner.types import AnswerSpace, Blocks, Vote
from reasoner.voting import MAX_COMPARISONS, Tally
from tests.helpers import answer
from tests.test_votes import Near, Sample, Slow, rules, samples, streak, tally, votes


def naive(
    drawn: list[Sample], same: Callable[[int, int], bool], *, by: str
) -> VoteState:
    """The classes by comparing every pair, again and again until nothing more is joined."""
    found = [{one.answer.key} for one in drawn if one.answer]
    joined = True
    while joined:
        joined = False
        for a, b in itertools.combinations(found, 2):
            if a != b and any(
                same(int(x), int(y)) and same(int(y), int(x)) for x in a for y in b
            ):
                joined = True
            if a == b or joined:
                found = [one for one in found if one is not a and one is not b] + [
                    a | b
                ]
                joined = True
                break
    whole: list[tuple[float, int, Vote]] = []
    weightless = not any(one.weight for one in drawn if one.answer)
    for keys in found:
        members = [one for one in drawn if one.answer and one.answer.key in keys]
        best = min(members, key=lambda one: (-one.weight, one.index))
        weight, first = (
            math.fsum(one.weight for one in members),
            min(one.index for one in members),
        )
        if weightless:
            weight = float(len(members))
        elif by == "max":
            weight, first = best.weight, best.index
        assert best.answer
        whole.append((-weight, first, Vote(best.answer, weight, len(members))))
    votes = tuple(vote for _, _, vote in sorted(whole, key=lambda row: row[:2]))
    tied = len(votes) > 1 and votes[0].weight == votes[1].weight
    return VoteState(votes, len(drawn), tied)


def near(a: int, b: int) -> bool:
    return abs(a - b) <= 1


@dataclass(frozen=True)
class Unplaced(Slow):
    """Its blocks take slow work too."""

    def blocks(self, answer: Answer) -> Blocks | None:  # type: ignore[override]
        return None


@given(
    samples,
    rules,
    st.sampled_from([Near(), Slow(), Unplaced()]),
    st.randoms(use_true_random=False),
)
def test_a_tally_equals_the_naive_definition(
    drawn: list[Sample], by: str, space: AnswerSpace, source: random.Random
) -> None:
    """Whenever it is asked, and however much is found out in between."""
    counted = Tally(space, by=by)  # type: ignore[arg-type]
    for one in source.sample(drawn, len(drawn)):
        counted.add(one.answer, index=one.index, weight=one.weight)
        if source.random() < 0.3:
            find_out(counted, rounds=source.randrange(3))
        counted.vote_state()
    find_out(counted, rounds=99)
    assert counted.vote_state() == replace(
        naive(drawn, near, by=by), streak=streak(drawn, 1)
    )


def find_out(counted: Tally, *, rounds: int) -> int:
    """Give it what it asks for, at most `rounds` times; returns the number of pairs."""
    placed = counted.unplaced()
    counted.set_blocks(placed, [Near().blocks(one) for one in placed])
    asked = 0
    for _ in range(rounds):
        pairs = counted.undecided()
        asked += len(pairs)
        counted.decide(pairs, [near(int(a.key), int(b.key)) for a, b in pairs])
    return asked


@dataclass(frozen=True)
class Watched(Near):
    """Counts what it is asked."""

    asked: Counter[str] = field(default_factory=Counter)

    def same(self, a: Answer, b: Answer) -> bool:
        self.asked["same"] += 1
        return super().same(a, b)


@pytest.mark.parametrize("number", [500, 2000])
def test_answers_that_cannot_be_the_same_are_not_compared(number: int) -> None:
    space = Watched()
    counted = Tally(space)
    for index in range(number):
        counted.add(answer(str(5 * index)), index=index)
        assert counted.vote_state().leader == answer("0")
    assert len(counted.vote_state().votes) == number
    assert space.asked["same"] == 0
    counted.add(answer("6"), index=number)
    assert space.asked["same"] == 2


@pytest.mark.parametrize(("far", "asked"), [(0, 299), (5, 0)])
def test_slow_comparisons_stay_near_the_number_of_answers(far: int, asked: int) -> None:
    """All the same, or all in blocks of their own."""

    class Alike(Unplaced):
        """All in one block where they are alike."""

    counted = Tally(Alike())
    for index in range(300):
        counted.add(answer(str(index)), index=index)
    placed = counted.unplaced()
    counted.set_blocks(placed, [Blocks((f"{far * int(one.key)}",)) for one in placed])
    total = 0
    while pairs := counted.undecided():
        total += len(pairs)
        counted.decide(pairs, [True] * len(pairs))
    assert total == asked


def test_the_number_of_compared_pairs_is_limited() -> None:
    counted = Tally(Unplaced())
    for index in range(400):
        counted.add(answer(str(index)), index=index)
    placed = counted.unplaced()
    counted.set_blocks(placed, [Blocks(("one",))] * len(placed))
    total = 0
    while pairs := counted.undecided():
        total += len(pairs)
        counted.decide(pairs, [None] * len(pairs))
    assert total == MAX_COMPARISONS
    assert len(counted.vote_state().votes) == 400


def test_memory_grows_with_the_number_of_answers_and_not_with_that_of_pairs() -> None:
    def peak(number: int) -> int:
        space = MathSpace()
        answers = [one for index in range(number) if (one := space.answer(str(index)))]
        tracemalloc.start()
        counted = Tally(space)
        for index, one in enumerate(answers):
            counted.add(one, index=index)
        counted.vote_state()
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(2000) < 3 * peak(1000)


def test_a_proposal_lists_the_heaviest_classes_and_sums_up_the_others() -> None:
    whole = tally(votes("0", *map(str, range(0, 1000, 3))), Near())
    listed = whole.listed()
    assert len(whole.votes) == 334
    assert listed.votes == whole.votes[:64]
    assert listed.tail == (270, 270.0, 270)
    assert (listed.share, listed.cast, listed.leader) == (
        whole.share,
        whole.cast,
        whole.leader,
    )
    assert listed.listed() == listed
    assert tally(votes("1", "9")).listed() == tally(votes("1", "9"))
