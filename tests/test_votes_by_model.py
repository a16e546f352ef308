"""Votes over answers that a model compares: classes that no order of arrival changes, and few comparisons."""

import itertools
import random
from collections import Counter
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from reasoner import VoteState
from reasoner.answers.texts import TextSpace
from reasoner.voting import Tally
from tests.helpers import answer

SPACE = TextSpace(equal="model")
KEYS = [*"abcdef"]
PAIRS = [*map(frozenset, itertools.combinations(KEYS, 2))]
Verdicts = Mapping[frozenset[str], bool | None]
Votes = Sequence[tuple[int, str | None]]
verdicts = st.fixed_dictionaries(
    {pair: st.sampled_from([True, False, None]) for pair in PAIRS}
)
"""Any verdicts, also such as contradict each other."""
votes = st.lists(st.sampled_from([None, *KEYS]), max_size=10).map(
    lambda keys: [*enumerate(keys)]
)


class Counted:
    """A vote, counted after each of its samples or once at the end, and what was asked on the way."""

    def __init__(self, votes: Votes, verdicts: Verdicts, *, each: bool) -> None:
        self.tally, self.asked = Tally(SPACE), list[frozenset[str]]()
        for number, (index, key) in enumerate(votes):
            self.tally.add(None if key is None else answer(key), index=index)
            if each or number == len(votes) - 1:
                self._decide(verdicts)

    def _decide(self, verdicts: Verdicts) -> None:
        while pairs := self.tally.undecided():
            keys = [frozenset((a.key, b.key)) for a, b in pairs]
            self.asked += keys
            self.tally.decide(pairs, [verdicts[pair] for pair in keys])

    @property
    def outcome(self) -> tuple[VoteState, set[frozenset[str]]]:
        return self.tally.vote_state(), {
            frozenset(group.keys) for group in self.tally._classes.values()
        }


@given(votes, verdicts, st.randoms(use_true_random=False))
def test_classes_depend_on_launch_order_and_verdicts_alone(
    votes: Votes, verdicts: Verdicts, source: random.Random
) -> None:
    expected = Counted(votes, verdicts, each=True).outcome
    assert Counted(votes, verdicts, each=False).outcome == expected
    shuffled = source.sample(votes, len(votes))
    for each in (True, False):
        assert Counted(shuffled, verdicts, each=each).outcome == expected


@given(votes, verdicts, st.booleans())
def test_each_answer_is_compared_with_one_of_each_class_and_no_pair_twice(
    votes: Votes, verdicts: Verdicts, each: bool
) -> None:
    counted = Counted(votes, verdicts, each=each)
    assert max(Counter(counted.asked).values(), default=0) <= 1
    answers = {key for _, key in votes if key is not None}
    assert len(counted.asked) <= len(answers) * len(counted.outcome[1])


@given(votes, st.lists(st.integers(0, 2), min_size=len(KEYS), max_size=len(KEYS)))
def test_verdicts_that_agree_give_the_classes_that_they_describe(
    votes: Votes, groups: list[int]
) -> None:
    meaning = dict(zip(KEYS, groups, strict=True))
    state, classes = Counted(
        votes,
        {pair: len({meaning[key] for key in pair}) == 1 for pair in PAIRS},
        each=True,
    ).outcome
    expected = Counter(meaning[key] for _, key in votes if key is not None)
    assert sorted(vote.count for vote in state.votes) == sorted(expected.values())
    assert all(len({meaning[key] for key in group}) == 1 for group in classes)


def test_until_it_is_decided_answers_stand_apart_and_weights_follow_their_class() -> (
    None
):
    tally = Tally(SPACE)
    for index, (key, weight) in enumerate((("a", 0.5), ("b", 2.0), ("c", 1.0))):
        tally.add(answer(key), index=index, weight=weight)
    assert [(vote.answer.key, vote.weight) for vote in tally.vote_state().votes] == [
        ("b", 2.0),
        ("c", 1.0),
        ("a", 0.5),
    ]
    pairs = tally.undecided()
    assert [(a.key, b.key) for a, b in pairs] == [("a", "b"), ("a", "c")]
    tally.decide(pairs, [False, True])
    # Nothing is asked about `c`, which belongs to `a`.
    assert tally.undecided() == ()
    assert [(vote.answer.key, vote.weight) for vote in tally.vote_state().votes] == [
        ("b", 2.0),
        ("c", 1.5),
    ]


def test_numbers_are_compared_without_a_model() -> None:
    same = SPACE.same
    assert same(answer("1912"), answer("1913")) is False
    assert same(answer("1912"), answer("1912")) is True
    assert same(answer("07"), answer("7")) is None
    assert same(answer("twelve"), answer("12")) is None
    assert TextSpace().same(answer("twelve"), answer("12")) is False
