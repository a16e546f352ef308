"""Votes: classes of equivalent answers, an outcome that no order changes."""

import itertools
import math
import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Answer, VoteState
from reasoner.answers.numbers import NumberSpace
from reasoner.types import AnswerSpace, Blocks
from reasoner.voting import Tally
from tests.helpers import answer


@dataclass(frozen=True)
class Sample:
    answer: Answer | None
    weight: float
    index: int


@dataclass(frozen=True)
class Near:
    """A toy space in which two numbers are one when they differ by at most 1: not transitive."""

    name: str = "near"
    instruction: str = ""
    version: int = 1

    def read(self, text: str) -> Answer | None:
        return Answer(text, text)

    def same(self, a: Answer, b: Answer) -> bool:
        return abs(int(a.key) - int(b.key)) <= 1

    def blocks(self, answer: Answer) -> Blocks:
        """Neighbours share one; every third number is a guest of its neighbours."""
        number = int(answer.key)
        names = (f"{number}", f"{number + 1}")
        return Blocks(guest=names) if number % 3 == 0 else Blocks(names)


@dataclass(frozen=True)
class OneWay(Near):
    """A toy space in which a reference accepts what is larger by at most 1, and not the other way about."""

    def same(self, a: Answer, b: Answer) -> bool:
        return 0 <= int(b.key) - int(a.key) <= 1


def tally(
    samples: list[Sample], space: AnswerSpace | None = None, *, by: str = "sum"
) -> VoteState:
    votes = Tally(space or NumberSpace(), by=by)  # type: ignore[arg-type]
    for one in samples:
        votes.add(one.answer, index=one.index, weight=one.weight)
    return votes.vote_state()


def votes(*keys: str | None) -> list[Sample]:
    return [
        Sample(None if key is None else answer(key), 1.0, index)
        for index, key in enumerate(keys)
    ]


def samples_of(answers: int, *weights: float) -> st.SearchStrategy[list[Sample]]:
    keys = st.sampled_from([None, *map(str, range(answers))])
    return st.lists(st.tuples(keys, st.sampled_from(weights)), max_size=12).map(
        lambda rows: [
            Sample(None if key is None else answer(key), w, index)
            for index, (key, w) in enumerate(rows)
        ]
    )


samples = samples_of(9, 0.0, 0.1, 0.2, 0.3, 1.0, 7.5)
rules = st.sampled_from(["sum", "max"])
spaces = st.sampled_from([NumberSpace(), Near(), OneWay()])


@given(samples, rules, spaces, st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_nothing(
    drawn: list[Sample], by: str, space: AnswerSpace, source: random.Random
) -> None:
    shuffled = source.sample(drawn, len(drawn))
    assert tally(shuffled, space, by=by) == tally(drawn, space, by=by)


def test_answers_are_one_only_where_the_space_says_so_in_both_directions() -> None:
    assert [vote.count for vote in tally(votes("1", "2"), OneWay()).votes] == [1, 1]


A, B, C = answer("1"), answer("2"), answer("3")
PUBLISHED = [Sample(A, 0.9, 0), Sample(B, 0.6, 1), Sample(B, 0.5, 2), Sample(C, 0.2, 3)]


def test_the_published_weights() -> None:
    weighted = tally(PUBLISHED)
    assert weighted.leader == B
    assert weighted.votes[0].weight == pytest.approx(1.1)
    assert tally(PUBLISHED, by="max").leader == A
    assert tally([replace(one, weight=1.0) for one in PUBLISHED]).leader == B


@pytest.mark.parametrize("weight", [-0.1, -math.inf, math.inf, math.nan])
def test_an_invalid_weight_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="the weight of a vote must be at least 0"):
        Tally(NumberSpace()).add(answer("1"), index=0, weight=weight)


def test_weights_add_up_exactly_whatever_their_sizes() -> None:
    drawn = [
        Sample(A, weight, index) for index, weight in enumerate([1e16, *[1.0] * 10])
    ]
    assert tally(drawn).votes[0].weight == 1e16 + 10


# What the latest samples say


@dataclass(frozen=True)
class Slow(Near):
    """A toy space that cannot tell at once whether two numbers are one."""

    def same(self, a: Answer, b: Answer) -> bool | None:  # type: ignore[override]
        return None


def streak(drawn: list[Sample], alike: int) -> int:
    """The run at the end in launch order, where classes are numbers that steps of at most `alike` lead to."""
    latest = [
        one.answer for one in sorted(drawn, key=lambda one: one.index, reverse=True)
    ]
    if not latest or latest[0] is None:
        return 0
    seen = sorted({int(one.key) for one in latest if one})
    breaks = [b for a, b in itertools.pairwise(seen) if b - a > alike]
    place = [
        None if one is None else sum(int(one.key) >= b for b in breaks)
        for one in latest
    ]
    return len(list(itertools.takewhile(lambda one: one == place[0], place)))


@given(samples, st.sampled_from([0, 1]), st.randoms(use_true_random=False))
def test_a_streak_is_the_samples_at_the_end_that_agree_whatever_came_first(
    drawn: list[Sample], alike: int, source: random.Random
) -> None:
    shuffled = source.sample(drawn, len(drawn))
    assert tally(shuffled, Near() if alike else NumberSpace()).streak == streak(
        drawn, alike
    )


def test_a_streak_is_counted_to_sixty_four() -> None:
    assert [tally(votes(*["7"] * n)).streak for n in (63, 64, 65, 500)] == [
        63,
        64,
        64,
        64,
    ]
    assert tally(votes("8", *["7"] * 63)).streak == 63
