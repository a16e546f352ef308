"""Votes: classes of equivalent answers, an outcome that no order changes."""

import itertools
import math
import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Answer, VoteState
from reasoner.answers import NumberSpace
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


def tally(samples: list[Sample], space: AnswerSpace | None = None, *, by: str = "sum") -> VoteState:
    votes = Tally(space or NumberSpace(), by=by)  # type: ignore[arg-type]
    for one in samples:
        votes.add(one.answer, index=one.index, weight=one.weight)
    return votes.vote_state()


def votes(*keys: str | None) -> list[Sample]:
    return [Sample(None if key is None else answer(key), 1.0, index) for index, key in enumerate(keys)]


def groups(counted: Tally) -> set[frozenset[str]]:
    """The keys of each class."""
    return {frozenset(one.keys) for one in counted._classes.values()}


keys = st.sampled_from([None, *(str(n) for n in range(9))])
samples = st.lists(st.tuples(keys, st.sampled_from([0.0, 0.1, 0.2, 0.3, 1.0, 7.5])), max_size=12).map(
    lambda rows: [Sample(None if key is None else answer(key), w, index) for index, (key, w) in enumerate(rows)]
)
rules = st.sampled_from(["sum", "max"])
spaces = st.sampled_from([NumberSpace(), Near(), OneWay()])


@given(samples, rules, spaces, st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_nothing(
    drawn: list[Sample], by: str, space: AnswerSpace, source: random.Random
) -> None:
    shuffled = source.sample(drawn, len(drawn))
    assert tally(shuffled, space, by=by) == tally(drawn, space, by=by)


@given(samples, rules, spaces, st.randoms(use_true_random=False))
def test_launching_in_another_order_never_changes_an_untied_winner(
    drawn: list[Sample], by: str, space: AnswerSpace, source: random.Random
) -> None:
    before = tally(drawn, space, by=by)
    shuffled = source.sample(drawn, len(drawn))
    after = tally([replace(one, index=index) for index, one in enumerate(shuffled)], space, by=by)
    assert (after.tied, after.samples) == (before.tied, before.samples)
    if before.votes and not before.tied:
        assert (after.votes[0].weight, after.votes[0].count) == (before.votes[0].weight, before.votes[0].count)
        heaviest = [one.answer for one in drawn if one.answer and one.answer.key in members(before, drawn, space)]
        assert after.leader in heaviest


def members(vote_state: VoteState, drawn: list[Sample], space: AnswerSpace) -> set[str]:
    """The keys of the winner's class, by repeated widening."""
    assert vote_state.leader is not None
    found = {vote_state.leader.key}
    while True:
        wider = found | {
            one.answer.key
            for one in drawn
            if one.answer
            for key in found
            if space.same(one.answer, answer(key)) and space.same(answer(key), one.answer)
        }
        if wider == found:
            return found
        found = wider


@given(samples, keys, spaces)
def test_another_sample_never_splits_a_class(drawn: list[Sample], key: str | None, space: AnswerSpace) -> None:
    counted = Tally(space)
    for one in drawn:
        counted.add(one.answer, index=one.index)
    before, classes = counted.vote_state(), groups(counted)
    counted.add(None if key is None else answer(key), index=len(drawn))
    after = counted.vote_state()
    assert all(any(group <= wider for wider in groups(counted)) for group in classes)
    assert after.samples == before.samples + 1
    assert sum(vote.count for vote in after.votes) == sum(vote.count for vote in before.votes) + (key is not None)


@pytest.mark.parametrize("order", itertools.permutations(["1", "2", "3", "9"]))
def test_classes_are_closed_under_transitivity_whatever_the_order(order: tuple[str, ...]) -> None:
    vote_state = tally(votes(*order), Near())
    assert sorted(vote.count for vote in vote_state.votes) == [1, 3]


def test_answers_are_one_only_where_the_space_says_so_in_both_directions() -> None:
    assert [vote.count for vote in tally(votes("1", "2"), OneWay()).votes] == [1, 1]


def test_equal_keys_are_one_class_without_asking_the_space() -> None:
    half = NumberSpace().read("1/2")
    written = [NumberSpace().read(text) for text in ("1/2", "0.5", "2")]
    vote_state = tally([Sample(one, 1.0, index) for index, one in enumerate(written)])
    assert (vote_state.leader, vote_state.votes[0].count, vote_state.samples) == (half, 2, 3)
    assert vote_state.share == pytest.approx(2 / 3)


def test_no_answer_is_counted_and_never_votes() -> None:
    vote_state = tally(votes("4", None, None))
    assert vote_state.leader == answer("4")
    assert (vote_state.samples, vote_state.share, vote_state.tied) == (3, 1.0, False)


@pytest.mark.parametrize("nothing", [[], votes(None, None)])
def test_without_any_answer_there_is_no_leader(nothing: list[Sample]) -> None:
    vote_state = tally(nothing)
    assert (vote_state.leader, vote_state.share, vote_state.votes, vote_state.samples) == (None, 0.0, (), len(nothing))


def test_a_tie_goes_to_the_earliest_launch_and_says_so() -> None:
    vote_state = tally([Sample(answer("8"), 1, 2), Sample(answer("7"), 1, 1), Sample(None, 1, 0)])
    assert (vote_state.leader, vote_state.tied) == (answer("7"), True)
    assert not tally(votes("7", "7", "8")).tied


A, B, C = answer("1"), answer("2"), answer("3")
PUBLISHED = [Sample(A, 0.9, 0), Sample(B, 0.6, 1), Sample(B, 0.5, 2), Sample(C, 0.2, 3)]


def test_the_published_weights() -> None:
    weighted = tally(PUBLISHED)
    assert weighted.leader == B
    assert weighted.votes[0].weight == pytest.approx(1.1)
    assert tally(PUBLISHED, by="max").leader == A
    assert tally([replace(one, weight=1.0) for one in PUBLISHED]).leader == B


def test_constant_weights_are_the_majority() -> None:
    assert tally([replace(one, weight=0.3) for one in votes("1", "2", "2", "3")]).leader == B


@pytest.mark.parametrize("by", ["sum", "max"])
def test_where_all_weights_are_zero_the_majority_decides(by: str) -> None:
    vote_state = tally([replace(one, weight=0.0) for one in votes("1", "2", "2")], by=by)
    assert (vote_state.leader, vote_state.votes[0].weight) == (B, 2.0)


def test_the_heaviest_member_speaks_for_its_class_and_the_earliest_among_equals() -> None:
    rows = [("1.0", 0.2), ("1", 0.6), ("1.00", 0.6), ("2", 0.1)]
    drawn = [Sample(NumberSpace().read(text), weight, index) for index, (text, weight) in enumerate(rows)]
    leader = tally(drawn).leader
    assert leader is not None
    assert leader.text == "1"


def test_by_the_best_a_tie_goes_to_the_earliest_of_the_best() -> None:
    drawn = [Sample(A, 0.1, 0), Sample(B, 0.9, 1), Sample(A, 0.9, 2)]
    vote_state = tally(drawn, by="max")
    assert (vote_state.leader, vote_state.tied) == (B, True)


@pytest.mark.parametrize("weight", [-0.1, -math.inf, math.inf, math.nan])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="the weight of a vote must be at least 0"):
        Tally(NumberSpace()).add(answer("1"), index=0, weight=weight)


def test_weights_add_up_exactly_whatever_their_sizes() -> None:
    drawn = [Sample(A, weight, index) for index, weight in enumerate([1e16, *[1.0] * 10])]
    assert tally(drawn).votes[0].weight == 1e16 + 10


# What the latest samples say


@dataclass(frozen=True)
class Slow(Near):
    """A toy space that cannot tell at once whether two numbers are one."""

    def same(self, a: Answer, b: Answer) -> bool | None:  # type: ignore[override]
        return None


def streak(drawn: list[Sample], alike: int) -> int:
    """The run at the end in launch order, where classes are numbers that steps of at most `alike` lead to."""
    latest = [one.answer for one in sorted(drawn, key=lambda one: one.index, reverse=True)]
    if not latest or latest[0] is None:
        return 0
    seen = sorted({int(one.key) for one in latest if one})
    breaks = [b for a, b in itertools.pairwise(seen) if b - a > alike]
    place = [None if one is None else sum(int(one.key) >= b for b in breaks) for one in latest]
    return len(list(itertools.takewhile(lambda one: one == place[0], place)))


@given(samples, st.sampled_from([0, 1]), st.randoms(use_true_random=False))
def test_a_streak_is_the_samples_at_the_end_that_agree_whatever_came_first(
    drawn: list[Sample], alike: int, source: random.Random
) -> None:
    shuffled = source.sample(drawn, len(drawn))
    assert tally(shuffled, Near() if alike else NumberSpace()).streak == streak(drawn, alike)


@given(samples, st.randoms(use_true_random=False))
def test_a_streak_knows_what_was_decided_to_be_one(drawn: list[Sample], source: random.Random) -> None:
    """Verdicts come at any time, before and after the samples that they are about."""
    counted = Tally(Slow())
    for one in source.sample(drawn, len(drawn)):
        counted.add(one.answer, index=one.index)
        if source.random() < 0.3:
            pairs = counted.undecided()
            counted.decide(pairs, [abs(int(a.key) - int(b.key)) <= 1 for a, b in pairs])
    while pairs := counted.undecided():
        counted.decide(pairs, [abs(int(a.key) - int(b.key)) <= 1 for a, b in pairs])
    assert counted.vote_state().streak == streak(drawn, 1)


def test_a_streak_grows_by_a_verdict_and_ends_with_a_sample_without_an_answer() -> None:
    counted = Tally(Slow(), max_samples=9)
    for index, key in enumerate(("5", None, "1", "2", "1")):
        counted.add(None if key is None else answer(key), index=index)
    assert (counted.vote_state().streak, counted.vote_state().max_samples) == (1, 9)
    pairs = counted.undecided()
    counted.decide(pairs, [{one.key for one in pair} == {"1", "2"} for pair in pairs])
    pairs = counted.undecided()
    counted.decide(pairs, [{one.key for one in pair} == {"1", "2"} for pair in pairs])
    assert counted.vote_state().streak == 3
    counted.add(None, index=5)
    assert counted.vote_state().streak == 0


def test_an_empty_answer_is_an_answer() -> None:
    counted = Tally(NumberSpace())
    for index, one in enumerate((None, answer(""), answer(""))):
        counted.add(one, index=index)
    assert counted.vote_state().streak == 2
    counted.add(None, index=3)
    assert counted.vote_state().streak == 0


def test_a_streak_is_counted_to_sixty_four() -> None:
    assert [tally(votes(*["7"] * n)).streak for n in (63, 64, 65, 500)] == [63, 64, 64, 64]
    assert tally(votes("8", *["7"] * 63)).streak == 63
