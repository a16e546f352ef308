"""Who draws next: the best bid against brute force, what a worth is made of, and what greed buys on known populations."""

import math
import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.errors import UsageError
from reasoner.execution.scheduler import DRIFT, Allocation, Bid, BidQueue, QuestionState
from reasoner.stopping.vote_posteriors import best_gain

MAX_WATCHED = 40


def state(
    lead: int, second: int = 0, *, samples: int = 0, remaining: int = MAX_WATCHED, each: float = 100.0
) -> QuestionState:
    """A question whose draws cost `each`; those that voted for none of the two had other answers."""
    samples = max(samples, lead + second)
    return QuestionState(lead, second, samples, remaining, each * samples, samples)


def worth(queue: BidQueue, told: QuestionState, mean: float) -> float:
    """The closed form, by the true mean."""
    tokens = (told.spent + 2 * mean) / (told.draws + 2)
    useful = (told.lead + told.second + 1) / (told.samples + 1)
    return best_gain(told.lead, told.second, told.remaining).rate * useful**2 * mean / tokens


# What a worth is made of


@pytest.mark.parametrize(
    ("lead", "second", "value"),
    [(0, 0, 0.25), (1, 1, 0.1875), (1, 0, 0.03125), (3, 1, 0.0065104), (2, 1, 0.03125)],
)
def test_at_mean_cost_with_two_answers_it_is_the_best_rate(lead: int, second: int, value: float) -> None:
    queue = BidQueue(Allocation())
    queue.update(0, state(lead, second))
    bid = queue.pop()
    assert bid is not None
    assert bid.value == pytest.approx(value, abs=1e-7)


def alone_in_a_crowd(told: QuestionState) -> float:
    """The worth of one question among so many that its cost does not move the mean, which is 100."""
    queue = BidQueue(Allocation())
    queue.update(1, QuestionState(9, 0, 10**6, 0, 1e8, 10**6))
    queue.update(0, told)
    bid = queue.pop()
    assert bid is not None
    return bid.value


def test_what_costs_twice_as_much_is_worth_half() -> None:
    dear, cheap = state(3, 2)._replace(spent=1200.0), state(3, 2)._replace(spent=500.0)
    # Two draws at the mean of 100 stand beside its own five: 1400 / 7 is twice 700 / 7.
    assert alone_in_a_crowd(dear) == pytest.approx(alone_in_a_crowd(cheap) / 2, rel=1e-3)


@given(st.integers(1, 20), st.integers(0, 20), st.integers(0, 30), st.floats(1, 1e4))
def test_it_falls_with_cost_and_with_samples_that_vote_for_others(a: int, b: int, others: int, each: float) -> None:
    told = state(a, b, samples=a + b + others)
    assert alone_in_a_crowd(told._replace(spent=told.spent + each)) <= alone_in_a_crowd(told)
    more = told._replace(samples=told.samples + 1, draws=told.draws + 1, spent=told.spent + 100)
    assert alone_in_a_crowd(more) <= alone_in_a_crowd(told)


def test_a_lead_that_nothing_can_overtake_is_worth_nothing() -> None:
    queue = BidQueue(Allocation())
    queue.update(0, state(9, 2, remaining=7))
    assert queue.pop() == Bid(0, 0.0, 1)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 40), st.integers(1, 8))
def test_a_wave_is_one_draw_or_more_and_within_its_limits(a: int, b: int, remaining: int, wave: int) -> None:
    queue = BidQueue(Allocation(wave=wave))
    queue.update(0, state(max(a, b), min(a, b), remaining=remaining))
    bid = queue.peek()
    assert bid is not None
    assert 1 <= bid.draws <= min(wave, remaining)
    assert bid.draws <= max(1, best_gain(a, b, remaining).draws / 2)


# Which bid is best

PLACES = st.integers(0, 7)
STATES = st.builds(
    lambda votes, others, silent, remaining, each: QuestionState(
        max(votes),
        min(votes),
        sum(votes) + others + silent,
        remaining,
        each,
        sum(votes) + others + silent,
    ),
    st.tuples(st.integers(0, 6), st.integers(0, 6)),
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(0, 20),
    st.floats(0, 1e5),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("tell"), PLACES, STATES),
        st.tuples(st.just("take"), PLACES, STATES),
        st.tuples(st.just("close"), PLACES, STATES),
    ),
    max_size=60,
)


@given(STEPS, st.booleans())
def test_what_is_taken_is_the_best_of_what_stands(steps: list[tuple[str, int, QuestionState]], even: bool) -> None:
    """Against a list of all bids: exactly where draws cost the same, and within the drift of the mean elsewhere."""
    queue = BidQueue(Allocation())
    told: dict[int, QuestionState] = {}
    bids: dict[int, QuestionState] = {}
    closed: set[int] = set()
    for what, place, now in steps:
        given_state = now._replace(spent=100.0 * now.draws) if even else now
        if what == "tell":
            queue.update(place, given_state)
            if place not in closed:
                told[place] = given_state
                bids.pop(place, None)
                if given_state.remaining:
                    bids[place] = given_state
        elif what == "close":
            queue.close(place)
            closed.add(place)
            bids.pop(place, None)
        else:
            peeked, bid = queue.peek(), queue.pop()
            assert peeked == bid
            assert (bid is None) == (not bids)
            if bid is None:
                continue
            mean = queue.mean
            values = {at: worth(queue, one, mean) if mean else math.nan for at, one in bids.items()}
            del bids[bid.question]
            if mean and even:
                best = max(values.values())
                assert values[bid.question] == pytest.approx(best, rel=1e-9)
                assert bid.question == min(at for at, value in values.items() if value == pytest.approx(best, rel=1e-9))
            elif mean and any(one.draws for one in told.values()):
                assert bid.value <= values[bid.question] * DRIFT + 1e-12
                assert bid.value * DRIFT + 1e-12 >= values[bid.question]
                assert values[bid.question] * DRIFT**2 + 1e-12 >= max(values.values())


def test_equal_bids_are_taken_by_place() -> None:
    queue = BidQueue(Allocation())
    for place in (3, 1, 4, 0, 2):
        queue.update(place, state(1))
    assert [bid.question for bid in iter(queue.pop, None)] == [0, 1, 2, 3, 4]


def test_a_question_that_is_over_is_not_heard_any_more() -> None:
    queue = BidQueue(Allocation())
    queue.update(0, state(1, 1))
    queue.close(0)
    queue.update(0, state(1, 1))
    assert queue.peek() is None


def test_what_is_told_again_and_again_leaves_nothing_behind() -> None:
    queue = BidQueue(Allocation())
    queue.update(1, state(1, 1))
    for turn in range(10_000):
        queue.update(0, state(3, turn % 4))
    assert len(queue._heap) < 200
    assert [bid.question for bid in iter(queue.pop, None)] == [1, 0]


@pytest.mark.parametrize("options", [{"price": -0.1}, {"price": math.nan}, {"wave": 0}, {"abreast": 0}])
def test_what_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    name = next(iter(options))
    with pytest.raises(UsageError, match=name):
        Allocation(**options)  # type: ignore[arg-type]


# What it buys


def population(questions: int, seed: int, silent: int = 0) -> list[list[int]]:
    """Answers of 40 samples each, 0 the right one and -1 none: half sure, half a close race that 0 wins in the end."""
    source = random.Random(seed)
    rows = []
    for at in range(questions):
        right = 0.98 if at % 2 else 0.65
        rows.append([0 if source.random() < right else 1 for _ in range(MAX_WATCHED)])
    return rows + [[-1] * MAX_WATCHED for _ in range(silent)]


def right_by(rows: Sequence[Sequence[int]], drawn: Sequence[int]) -> float:
    outcomes = []
    for row, n in zip(rows, drawn, strict=True):
        votes = Counter(answer for answer in row[:n] if answer >= 0)
        outcomes.append((votes[0] > votes[1]) + (0 < votes[0] == votes[1]) / 2)
    return sum(outcomes) / len(rows)


def shared_out(rows: Sequence[Sequence[int]], budget: int, allocation: Allocation) -> list[int]:
    """How many samples each question got of `budget`, in a loop that could hardly be simpler; each costs 1."""
    queue, drawn = BidQueue(allocation), [0] * len(rows)

    def update(at: int) -> None:
        (_, lead), (_, second) = (Counter(a for a in rows[at][: drawn[at]] if a >= 0).most_common(2) + [(0, 0)] * 2)[:2]
        queue.update(at, QuestionState(lead, second, drawn[at], MAX_WATCHED - drawn[at], drawn[at], drawn[at]))

    for at in range(len(rows)):
        update(at)
    while (bid := queue.pop()) is not None:
        fits = sum(drawn) + bid.draws <= budget
        if bid.value > allocation.price and fits:
            drawn[bid.question] += bid.draws
            update(bid.question)
        if bid.value <= allocation.price or not fits or drawn[bid.question] == MAX_WATCHED:
            queue.close(bid.question)
    return drawn


def test_greed_needs_less_than_half_of_what_equal_shares_need() -> None:
    rows = population(400, seed=1)
    drawn = shared_out(rows, 5 * len(rows), Allocation())
    assert sum(drawn) <= 5 * len(rows)
    assert right_by(rows, drawn) > right_by(rows, [11] * len(rows))
    assert shared_out(rows, 5 * len(rows), Allocation()) == drawn


def test_each_question_draws_before_any_draws_at_length() -> None:
    rows = population(100, seed=2)
    assert shared_out(rows, 100, Allocation()) == [1] * 100


def test_questions_that_are_never_answered_do_not_soak_up_the_budget() -> None:
    rows = population(200, seed=3, silent=40)
    drawn = shared_out(rows, 5 * 200 + 40, Allocation())
    assert max(drawn[200:]) <= 6
