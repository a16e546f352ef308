"""Who draws next: the best bid against brute force, what a worth is made of, and what greed buys on known populations."""

import math
import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.controller.allocation import DRIFT, LEAST, START, Allocation, Bid, Market, State, follow
from reasoner.controller.odds import best_gain
from reasoner.errors import UsageError

MOST = 40


def state(lead: int, second: int = 0, *, samples: int = 0, rest: int = MOST, each: float = 100.0) -> State:
    """A question whose draws cost `each`; those that voted for none of the two had other answers."""
    samples = max(samples, lead + second)
    return State(lead, second, samples, samples, rest, each * samples, samples)


def worth(market: Market, told: State, mean: float) -> float:
    """The closed form, by the true mean."""
    tokens = (told.spent + 2 * mean) / (told.draws + 2)
    useful = (told.lead + told.second + 1) / (told.samples + 1)
    return best_gain(told.lead, told.second, told.rest).rate * useful**2 * mean / tokens


# What a worth is made of


@pytest.mark.parametrize(
    ("lead", "second", "value"),
    [(0, 0, 0.25), (1, 1, 0.1875), (1, 0, 0.03125), (3, 1, 0.0065104), (2, 1, 0.03125)],
)
def test_at_mean_cost_with_two_answers_it_is_the_best_rate(lead: int, second: int, value: float) -> None:
    market = Market(Allocation(), 1)
    market.tell(0, state(lead, second))
    bid = market.take()
    assert bid is not None
    assert bid.worth == pytest.approx(value, abs=1e-7)


def alone_in_a_crowd(told: State) -> float:
    """The worth of one question among so many that its cost does not move the mean, which is 100."""
    market = Market(Allocation(), 2, None)
    market.tell(1, State(9, 0, 10**6, 10**6, 0, 1e8, 10**6))
    market.tell(0, told)
    bid = market.take()
    assert bid is not None
    return bid.worth


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


def test_trust_scales_it_but_where_nothing_voted() -> None:
    market, half = Market(Allocation(), 2), Market(Allocation(), 2, lambda told: 0.5)
    for told, factor in ((state(1, 1), 0.5), (State(0, 0, 1, 0, 9, 100.0, 1), 1.0)):
        bids = []
        for one in (market, half):
            one.tell(0, told)
            bids.append(one.take())
        assert bids[0] is not None
        assert bids[1] is not None
        assert bids[1].worth == pytest.approx(factor * bids[0].worth)


def test_a_lead_that_nothing_can_overtake_is_worth_nothing() -> None:
    market = Market(Allocation(), 1)
    market.tell(0, state(9, 2, rest=7))
    assert market.take() == Bid(0, 0.0, 1)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 40), st.integers(1, 8))
def test_a_wave_is_one_draw_or_more_and_within_its_limits(a: int, b: int, rest: int, wave: int) -> None:
    market = Market(Allocation(wave=wave), 1)
    market.tell(0, state(max(a, b), min(a, b), rest=rest))
    bid = market.peek()
    assert bid is not None
    assert 1 <= bid.draws <= min(wave, rest)
    assert bid.draws <= max(1, best_gain(a, b, rest).draws / 2)


# Which bid is best

PLACES = st.integers(0, 7)
STATES = st.builds(
    lambda votes, others, silent, rest, each: State(
        max(votes),
        min(votes),
        sum(votes) + others + silent,
        sum(votes) + others,
        rest,
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
def test_what_is_taken_is_the_best_of_what_stands(steps: list[tuple[str, int, State]], even: bool) -> None:
    """Against a list of all bids: exactly where draws cost the same, and within the drift of the mean elsewhere."""
    market = Market(Allocation(), 8)
    told: dict[int, State] = {}
    bids: dict[int, State] = {}
    closed: set[int] = set()
    for what, place, now in steps:
        given_state = now._replace(spent=100.0 * now.draws) if even else now
        if what == "tell":
            market.tell(place, given_state)
            if place not in closed:
                told[place] = given_state
                bids.pop(place, None)
                if given_state.rest:
                    bids[place] = given_state
        elif what == "close":
            market.close(place, given_state.spent, 1000.0)
            closed.add(place)
            bids.pop(place, None)
        else:
            peeked, bid = market.peek(), market.take()
            assert peeked == bid
            assert (bid is None) == (not bids)
            if bid is None:
                continue
            mean = market.mean
            values = {at: worth(market, one, mean) if mean else math.nan for at, one in bids.items()}
            del bids[bid.place]
            if mean and even:
                best = max(values.values())
                assert values[bid.place] == pytest.approx(best, rel=1e-9)
                assert bid.place == min(at for at, value in values.items() if value == pytest.approx(best, rel=1e-9))
            elif mean and any(one.draws for one in told.values()):
                assert bid.worth <= values[bid.place] * DRIFT + 1e-12
                assert bid.worth * DRIFT + 1e-12 >= values[bid.place]
                assert values[bid.place] * DRIFT**2 + 1e-12 >= max(values.values())


def test_equal_bids_are_taken_by_place() -> None:
    market = Market(Allocation(), 5)
    for place in (3, 1, 4, 0, 2):
        market.tell(place, state(1))
    assert [bid.place for bid in iter(market.take, None)] == [0, 1, 2, 3, 4]


def test_a_question_that_is_over_is_not_heard_any_more() -> None:
    market = Market(Allocation(), 2)
    market.tell(0, state(1, 1))
    market.close(0, 200.0, 1000.0)
    market.tell(0, state(1, 1))
    assert market.peek() is None


def test_what_is_told_again_and_again_leaves_nothing_behind() -> None:
    market = Market(Allocation(), 2)
    market.tell(1, state(1, 1))
    for turn in range(10_000):
        market.tell(0, state(3, turn % 4))
    assert len(market._heap) < 200
    assert [bid.place for bid in iter(market.take, None)] == [1, 0]


# The price of a stream


def test_the_published_steps_of_the_price() -> None:
    after = follow(0, eta=0.1, spend=5, share=2)
    assert after == pytest.approx(0.3)
    assert follow(after, eta=0.1, spend=0, share=2) == pytest.approx(0.1)
    assert follow(0.1, eta=0.1, spend=0, share=2) == 0.0


def test_the_price_follows_what_is_spent_in_mean_draws() -> None:
    """Two questions of 4 draws in all: one took 3 of them, its share was 2."""
    for unit in (1.0, 1000.0):
        market = Market(Allocation("stream", eta=0.01), 2)
        market.tell(0, state(3, each=unit))
        market.close(0, 3 * unit, 1 * unit)
        assert market.price == pytest.approx(START + 0.01 * (3 - 2))
        market.tell(1, state(1, each=unit))
        market.close(1, 1 * unit, 0.0)
        assert market.price == pytest.approx(START + 0.01)


def test_what_open_questions_have_spent_is_of_their_shares() -> None:
    market = Market(Allocation("stream", eta=0.001), 3)
    market.tell(0, state(4))
    market.tell(1, state(2))
    market.close(1, 200.0, 300.0)
    assert market.price == pytest.approx(START + 0.001 * (2 - (3 + 2 + 4) / 3))


def test_a_batch_keeps_its_price_and_a_stream_its_least() -> None:
    batch, stream = Market(Allocation(price=0.002), 2), Market(Allocation("stream", price=0.02, eta=1.0), 2)
    for market in (batch, stream):
        market.tell(0, state(1))
        market.close(0, 100.0, math.inf)
    assert (batch.price, stream.price) == (0.002, 0.02)


def test_a_stream_with_more_than_it_can_use_keeps_a_price() -> None:
    """Else those that come first would draw all they may, and the price would swing."""
    market = Market(Allocation("stream"), 1000)
    for place in range(200):
        market.tell(place, state(2))
        market.close(place, 200.0, 1e6)
    assert market.price == LEAST


@pytest.mark.parametrize(
    "options", [{"price": -0.1}, {"price": math.nan}, {"wave": 0}, {"abreast": 0}, {"eta": 0.0}, {"mode": "both"}]
)
def test_what_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    name = next(iter(options))
    with pytest.raises(UsageError, match=f"{name} must be"):
        Allocation(**options)  # type: ignore[arg-type]


# What it buys


def population(questions: int, seed: int, silent: int = 0) -> list[list[int]]:
    """Answers of 40 samples each, 0 the right one and -1 none: half sure, half a close race that 0 wins in the end."""
    source = random.Random(seed)
    rows = []
    for at in range(questions):
        right = 0.98 if at % 2 else 0.65
        rows.append([0 if source.random() < right else 1 for _ in range(MOST)])
    return rows + [[-1] * MOST for _ in range(silent)]


def right_by(rows: Sequence[Sequence[int]], drawn: Sequence[int]) -> float:
    outcomes = []
    for row, n in zip(rows, drawn, strict=True):
        votes = Counter(answer for answer in row[:n] if answer >= 0)
        outcomes.append((votes[0] > votes[1]) + (0 < votes[0] == votes[1]) / 2)
    return sum(outcomes) / len(rows)


def shared_out(rows: Sequence[Sequence[int]], budget: int, allocation: Allocation) -> list[int]:
    """How many samples each question got of `budget`, in a loop that could hardly be simpler; each costs 1."""
    market, drawn, queue = Market(allocation, len(rows)), [0] * len(rows), iter(range(len(rows)))
    batch = allocation.mode == "batch"

    def tell(at: int) -> None:
        (_, lead), (_, second) = (Counter(a for a in rows[at][: drawn[at]] if a >= 0).most_common(2) + [(0, 0)] * 2)[:2]
        votes = sum(answer >= 0 for answer in rows[at][: drawn[at]])
        market.tell(at, State(lead, second, drawn[at], votes, MOST - drawn[at], drawn[at], drawn[at]))

    for _, at in zip(range(len(rows) if batch else allocation.abreast), queue, strict=False):
        tell(at)
    while (bid := market.take()) is not None:
        # In a stream, a sample is held back for each question that has none.
        free = budget - sum(drawn) - (0 if batch else sum(n == 0 for n in drawn) - (drawn[bid.place] == 0))
        if bid.worth > market.price and free >= bid.draws:
            drawn[bid.place] += bid.draws
            tell(bid.place)
        if bid.worth <= market.price or free < bid.draws or drawn[bid.place] == MOST:
            market.close(bid.place, drawn[bid.place], budget - sum(drawn))
            if (following := next(queue, None)) is not None:
                tell(following)
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


@pytest.mark.parametrize("mean", [2, 4, 8])
def test_a_stream_stays_within_its_budget_spends_most_of_it_and_serves_everybody(mean: int) -> None:
    rows = population(600, seed=4)
    random.Random(5).shuffle(rows)
    drawn = shared_out(rows, mean * len(rows), Allocation("stream", abreast=16))
    assert 0.8 * mean * len(rows) <= sum(drawn) <= mean * len(rows)
    assert min(drawn) >= 1
    assert sum(drawn[-150:]) >= 0.5 * sum(drawn[:150])
