"""One budget for many questions: which bid is best, that none is starved, and that it ends at the budget or before."""

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Budget, Ledger, Question, Solution, solve_many_sync
from reasoner.engine import SampleRequest
from reasoner.errors import UsageError
from reasoner.execution.scheduler import DRIFT, Allocation, BidQueue, QuestionState
from reasoner.stopping.vote_posteriors import best_gain
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import books, jumbled, meter_of, number_question, says
from reasoner.trace.events import Event
from reasoner.trace.history import EMPTY, read_histories
from reasoner.types import Answer, SamplingParams
from reasoner_strategies import SelfConsistency
from tests.sweeps import widths

SHORT = SamplingParams(max_tokens=40)
EASY, HARD = 10, 10
VOTE = SelfConsistency(16, SHORT)


def asked(count: int = EASY + HARD) -> list[Question]:
    return [number_question(f"q{place}") for place in range(count)]


def mixed(request: SampleRequest) -> str:
    """Half of the questions have one answer, the others two that are nearly as frequent."""
    source = random.Random(request.seed)
    share = 1.0 if int(request.question_id[1:]) < EASY else 0.55
    return f"The answer is {7 if source.random() < share else 8}"


def solved(
    engine: ScriptedEngine | None = None,
    strategy: Any = VOTE,
    count: int = 20,
    **options: Any,
) -> list[Solution]:
    return solve_many_sync(
        asked(count), strategy, engine or ScriptedEngine(mixed), **options
    )


def samples(solutions: Sequence[Solution]) -> list[int]:
    return [solution.cost.samples for solution in solutions]


@pytest.mark.parametrize("tokens", [1, 50, 281, 900, 10**7])
@widths("seeds", 1, 3)
def test_no_budget_is_exceeded_and_none_is_starved(tokens: int, seeds: int) -> None:
    for seed in range(seeds):
        engine = ScriptedEngine(
            mixed, pause=jumbled(seed, lost=0.05, losses=2), block_size=seed
        )
        solutions = solved(
            engine, budget=Budget(tokens=tokens), allocation=Allocation(), seed=seed
        )
        assert all(solution.error is None for solution in solutions)
        spent = solutions[0].cost
        for one in solutions[1:]:
            spent += one.cost
        assert spent.tokens <= tokens
        assert books(spent) == meter_of(engine)
        # A sample costs up to 5 + 40, 14 in the mean: what is enough for a useful one of each serves all.
        if tokens >= 20 * (2 * (5 + 16)):
            assert min(samples(solutions)) >= 1
            assert all(solution.answer for solution in solutions)


@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 5))
def test_of_a_budget_of_samples_each_question_gets_one_before_any_gets_two(
    budget: int, many: int, wave: int
) -> None:
    solutions = solved(
        count=many, budget=Budget(samples=budget), allocation=Allocation(wave=wave)
    )
    drawn = samples(solutions)
    assert sum(drawn) <= budget
    if many > 1:
        assert min(drawn) == 0 or sum(drawn) >= many
        assert sum(one > 0 for one in drawn) == min(many, budget)


def tied(request: SampleRequest) -> str:
    """Three answers, as likely as the question's id and prompt make them, so that votes are often close."""
    shares = [
        random.Random(f"{request.question_id} {answer}").random() for answer in range(3)
    ]
    return f"The answer is {random.Random(request.seed).choices(range(3), shares)[0]}"


@given(
    st.integers(1, 12),
    st.integers(0, 10**6),
    st.floats(0, 1),
    st.sampled_from(["tokens=9M", "seconds=3600"]),
)
def test_a_budget_that_pays_for_all_samples_gives_the_vote_of_all_also_after_an_interruption(
    n: int, seed: int, cut: float, budget: str
) -> None:
    questions, vote, events = asked(8), SelfConsistency(n, SHORT), list[Event]()

    def answers(some: Sequence[Question], **options: Any) -> dict[str, Answer | None]:
        engine = ScriptedEngine(tied, pause=jumbled(seed))
        solutions = solve_many_sync(some, vote, engine, seed=seed, **options)
        return {solution.question_id: solution.answer for solution in solutions}

    of_all = answers(questions)
    assert answers(questions, budget=budget, trace=events.append) == of_all
    history = read_histories(events[: round(cut * len(events))])
    left = [
        question
        for question in questions
        if not history.get(question.id, EMPTY).finished
    ]
    assert answers(left, budget=budget, history=history).items() <= of_all.items()


def test_at_a_price_only_what_cannot_change_an_answer_is_said_to_change_none() -> None:
    """Four to none with four to come may end in a tie, which goes to the earlier launch: that has a gain of 0."""
    vote = SelfConsistency(8, SHORT)
    ended = solved(
        ScriptedEngine(says("7")), vote, allocation=Allocation(price=1e-9, wave=1)
    )
    assert {(one.cost.samples, one.reason) for one in ended} == {
        (4, "another sample would gain 0, but must gain 1e-09")
    }
    ended = solved(ScriptedEngine(says("7")), vote, allocation=Allocation(wave=1))
    assert {(one.cost.samples, one.reason) for one in ended} == {
        (5, "no remaining sample can change the answer")
    }


@given(st.floats(0.0001, 0.2))
def test_a_question_draws_until_its_next_samples_are_worth_less_than_the_price(
    price: float,
) -> None:
    """In closed form where all answers are equal and cost the same: the value is the best rate."""
    allocation = Allocation(price=price, wave=1)
    [solution] = solved(ScriptedEngine(says("7")), count=1, allocation=allocation)
    rates = (best_gain(votes, 0, 16 - votes).rate for votes in range(1, 17))
    assert solution.cost.samples == next(
        votes for votes, rate in enumerate(rates, 1) if rate < price
    )


@pytest.mark.parametrize("cut", [41, 150])
def test_an_interrupted_run_resumes_within_the_same_budget(cut: int) -> None:
    events: list[Event] = []
    solved(budget=Budget(tokens=1500), trace=events.append)
    history = read_histories(events[:cut])
    before = sum(one.spent.tokens for one in history.values())
    engine = ScriptedEngine(mixed)
    solutions = solved(engine, budget=Budget(tokens=1500), history=history)
    assert sum(one.cost.tokens for one in solutions) <= 1500
    drawn = meter_of(engine)
    assert before > 0
    assert drawn[0] + drawn[2] <= 1500 - before
    assert all(isinstance(one.answer, Answer) for one in solutions)


def test_a_deadline_that_passes_at_any_moment_ends_questions_and_not_the_call() -> None:
    """The clock jumps when it is read for the nth time, which it is between any two steps."""
    for last in range(1, 80):
        clock = Clock(last)
        with pytest.MonkeyPatch.context() as patch:
            defaults = Ledger.__init__.__kwdefaults__
            assert defaults
            patch.setitem(defaults, "clock", clock)
            solutions = solved(
                ScriptedEngine(says("7")),
                SelfConsistency(2, SHORT),
                4,
                budget=Budget(seconds=60),
            )
        assert [one.error for one in solutions] == [None] * 4
        assert {one.ended_by for one in solutions} <= {"budget", "strategy"}


class Clock:
    """A clock that jumps once."""

    def __init__(self, last: int) -> None:
        self.last, self.readings = last, 0

    def __call__(self) -> float:
        self.readings += 1
        return 1000.0 if self.readings >= self.last else 0.0


MAX_WATCHED = 40


def state(
    lead: int,
    second: int = 0,
    *,
    samples: int = 0,
    remaining: int = MAX_WATCHED,
    each: float = 100.0,
) -> QuestionState:
    """A question whose draws cost `each`; those that voted for none of the two had other answers."""
    samples = max(samples, lead + second)
    return QuestionState(lead, second, samples, remaining, each * samples, samples)


def worth(queue: BidQueue, told: QuestionState, mean: float) -> float:
    """The closed form, by the true mean."""
    tokens = (told.spent + 2 * mean) / (told.draws + 2)
    useful = (told.lead + told.second + 1) / (told.samples + 1)
    return (
        best_gain(told.lead, told.second, told.remaining).rate
        * useful**2
        * mean
        / tokens
    )


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
def test_the_best_bid_is_taken(
    steps: list[tuple[str, int, QuestionState]], even: bool
) -> None:
    """Against a list of all bids: exactly where draws cost the same, and within the drift of the mean elsewhere."""
    queue = BidQueue(Allocation())
    told: dict[int, QuestionState] = {}
    bids: dict[int, QuestionState] = {}
    closed: set[int] = set()
    for what, place, now in steps:
        given_state = now._replace(spent=100.0 * now.draws) if even else now
        if what == "tell" and place not in closed:
            queue.update(place, given_state)
            told[place] = given_state
            bids.pop(place, None)
            if given_state.remaining:
                bids[place] = given_state
        elif what == "close":
            queue.close(place)
            closed.add(place)
            bids.pop(place, None)
        elif what != "tell":
            peeked, bid = queue.peek(), queue.pop()
            assert peeked == bid
            assert (bid is None) == (not bids)
            if bid is None:
                continue
            mean = queue.mean
            values = {
                at: worth(queue, one, mean) if mean else math.nan
                for at, one in bids.items()
            }
            del bids[bid.question]
            if mean and even:
                best = max(values.values())
                assert values[bid.question] == pytest.approx(best, rel=1e-9)
                assert bid.question == min(
                    at
                    for at, value in values.items()
                    if value == pytest.approx(best, rel=1e-9)
                )
            elif mean and any(one.draws for one in told.values()):
                assert bid.value <= values[bid.question] * DRIFT + 1e-12
                assert bid.value * DRIFT + 1e-12 >= values[bid.question]
                assert values[bid.question] * DRIFT**2 + 1e-12 >= max(values.values())


def test_repeated_updates_keep_the_heap_small() -> None:
    queue = BidQueue(Allocation())
    queue.update(1, state(1, 1))
    for turn in range(10_000):
        queue.update(0, state(3, turn % 4))
    assert len(queue._heap) < 200
    assert [bid.question for bid in iter(queue.pop, None)] == [1, 0]


@pytest.mark.parametrize(
    "options", [{"price": -0.1}, {"price": math.nan}, {"wave": 0}, {"abreast": 0}]
)
def test_what_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    name = next(iter(options))
    with pytest.raises(UsageError, match=name):
        Allocation(**options)  # type: ignore[arg-type]
