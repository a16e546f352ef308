"""Adaptive-Consistency: launched side by side, decided in launch order."""

import random
from collections.abc import Sequence

import pytest

from reasoner import Solution, solve_sync
from reasoner.errors import BudgetExhausted, UsageError
from reasoner.strategy import Cancel, Finished, Handle, Next, Note, Operation, Propose, Sample, Start
from reasoner.trace.events import Event, Noted
from reasoner.types import SamplingParams
from reasoner_strategies.adaptive_consistency import AdaptiveConsistency
from tests.helpers import completion, finish, jumbled, number_question, says, varied
from tests.scripted import ScriptedEngine
from tests.sweeps import cases

QUESTION = number_question()
PARAMS = SamplingParams(max_tokens=30)
REFUSED = BudgetExhausted("samples", needed=1, free=0, limit=5)


class SearchTree:
    """A plan whose samples arrive in an order of the test's choosing; what it launched, proposed and cancelled."""

    def __init__(self, strategy: AdaptiveConsistency, keys: Sequence[str | None]) -> None:
        self.plan = strategy.plan(QUESTION)
        self.keys = keys
        self.launched = 0
        self.proposed: list[tuple[str | None, int]] = []
        self.cancelled: list[int] = []
        self.notes: list[str] = []
        self.answer: str | None = None
        self.over = False
        self._until_it_waits(next(self.plan))

    def _until_it_waits(self, op: Operation) -> None:
        try:
            while op != Next():
                reply = None
                match op:
                    case Start():
                        assert op.op == Sample((QUESTION.prompt,), 1, PARAMS)
                        reply = Handle(self.launched)
                        self.launched += 1
                    case Propose():
                        self.proposed.append((op.answer.key if op.answer else None, op.vote_state.samples))
                    case Cancel():
                        self.cancelled.append(op.handle)
                    case Note():
                        self.notes.append(op.text)
                    case _:
                        raise AssertionError(op)
                op = self.plan.send(reply)
        except StopIteration as end:
            self.answer, self.over = end.value.key if end.value else None, True

    def arrives(self, *places: int) -> None:
        for place in places:
            key = self.keys[place]
            text = "no idea" if key is None else f"The answer is {key}"
            self._until_it_waits(self.plan.send(Finished(Handle(place), (completion(text, index=place),))))

    def refused(self) -> None:
        try:
            self._until_it_waits(self.plan.throw(REFUSED))
        except StopIteration as end:
            self.answer, self.over = end.value.key if end.value else None, True


def test_it_launches_no_more_than_it_takes_until_the_rule_may_stop() -> None:
    course = SearchTree(AdaptiveConsistency(window=9, params=PARAMS), ["7", "7", "7", "8", *["7"] * 9])
    assert course.launched == 4
    course.arrives(0, 1, 2)
    assert (course.launched, course.over) == (4, False)
    # At theta 0.95, 6 to 1 is the least that stops.
    course.arrives(3)
    assert (course.launched, course.over) == (7, False)
    course.arrives(4, 5, 6)
    assert (course.over, course.answer, course.launched, course.cancelled) == (True, "7", 7, [])
    assert course.proposed == [("7", number) for number in range(1, 8)]
    assert len(course.notes) == 1


def test_what_arrives_early_waits_for_those_before_it() -> None:
    """Three short replies that agree come first; the order of launch has another one before them."""
    course = SearchTree(AdaptiveConsistency(params=PARAMS), ["8", "7", "7", "7", "7", "7", "7"])
    course.arrives(1, 2, 3)
    assert (course.proposed, course.launched) == ([], 4)
    course.arrives(0)
    assert (course.proposed[-1], course.over, course.launched) == (("7", 4), False, 7)
    course.arrives(6, 5, 4)
    assert (course.over, course.answer, course.proposed[-1]) == (True, "7", ("7", 7))


def test_samples_without_an_answer_count_for_nobody() -> None:
    course = SearchTree(AdaptiveConsistency(n=8, params=PARAMS), [None, "7", None, "7", "7", "7"])
    course.arrives(0, 1, 2, 3, 4)
    assert not course.over
    course.arrives(5)
    assert (course.over, course.answer, course.proposed[-1]) == (True, "7", ("7", 6))


def test_at_the_cap_the_majority_decides() -> None:
    course = SearchTree(AdaptiveConsistency(n=5, params=PARAMS), ["7", "8", "8", "7", "9"])
    course.arrives(0, 1, 2, 3, 4)
    assert (course.over, course.answer, course.launched, course.notes) == (True, "7", 5, [])


@pytest.mark.parametrize("refused", [{1}, {0, 2}, {3}, {0, 1, 2, 3}])
def test_what_the_budget_refused_is_passed_over(refused: set[int]) -> None:
    course = SearchTree(AdaptiveConsistency(n=4, params=PARAMS), ["7", "8", "8", "9"])
    here = [place for place in range(4) if place not in refused]
    course.arrives(*reversed(here))
    course.refused()
    assert (course.over, course.launched) == (True, 4)
    assert [samples for _, samples in course.proposed] == list(range(1, len(here) + 1))
    assert course.answer == {(0, 2, 3): "7", (1, 3): "8", (0, 1, 2): "8", (): None}[tuple(here)]


def test_a_refusal_while_starting_is_no_crash() -> None:
    plan = AdaptiveConsistency(params=PARAMS).plan(QUESTION)
    next(plan)
    with pytest.raises(BudgetExhausted):
        finish(plan, REFUSED)


# Through the runner


def solved(strategy: AdaptiveConsistency, order: int = 0, seed: int = 0) -> Solution:
    return solve_sync(QUESTION, strategy, ScriptedEngine(varied, pause=jumbled(order)), seed=seed)


@cases("seed", range(5), thin=range(2))
def test_neither_the_order_of_completion_nor_the_window_changes_the_answer(seed: int) -> None:
    outcomes = {
        (one.answer, one.vote_state)
        for window in (1, 3, 16)
        for order in range(8)
        for one in [solved(AdaptiveConsistency(window=window), order, seed)]
    }
    assert len(outcomes) == 1


@pytest.mark.parametrize("window", [1, 4, 12])
def test_a_wider_window_pays_for_nothing_more(window: int) -> None:
    for order in range(10):
        solution = solved(AdaptiveConsistency(window=window), order, order)
        assert solution.cost.samples == solution.vote_state.samples
        assert solution.cost.cancelled_tokens == 0


def test_a_higher_theta_takes_longer() -> None:
    looked_at = [solved(AdaptiveConsistency(theta=theta)).vote_state.samples for theta in (0.5, 0.9, 0.999)]
    assert looked_at == sorted(set(looked_at))


def test_the_dirichlet_waits_for_the_answers_behind_the_runner_up() -> None:
    keys = ["7", "8", "9", "5", "7", "7", "7", "7", "7", "7", "7", "7", "7"]
    samples = {}
    for rule in ("beta", "dirichlet"):
        events: list[Event] = []
        strategy = AdaptiveConsistency(n=len(keys), rule=rule)
        solution = solve_sync(QUESTION, strategy, ScriptedEngine(says(*keys)), trace=events.append)
        samples[rule] = solution.vote_state.samples
        [reason] = [event.text for event in events if isinstance(event, Noted)]
        assert "0.95" in reason
    assert samples["beta"] == 9
    assert samples["dirichlet"] > 9


def test_arrivals_in_any_order_are_looked_at_in_launch_order() -> None:
    source = random.Random(1)
    keys = [source.choice(["7", "8", None]) for _ in range(12)]
    search_trees = []
    for _ in range(20):
        course = SearchTree(AdaptiveConsistency(n=12, window=12, theta=0.99, params=PARAMS), keys)
        left = set(range(12))
        while left and not course.over:
            course.arrives(place := source.choice(sorted(left & set(range(course.launched)))))
            left.remove(place)
        search_trees.append((course.proposed, course.answer))
    assert all(course == search_trees[0] for course in search_trees)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"n": 0}, "n must be .*got 0"),
        ({"window": 0}, "window must be .*got 0"),
        ({"theta": 1.0}, "theta must be .*got 1.0"),
        ({"rule": "gamma"}, "must be beta or dirichlet .got"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        AdaptiveConsistency(**options)  # type: ignore[arg-type]
