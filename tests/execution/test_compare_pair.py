"""Comparing candidates in pairs: what is asked, recorded, paid and replayed."""

from dataclasses import dataclass
from pathlib import Path

from reasoner import Answer, Cost, Question, solve_sync
from reasoner.engine import Engine
from reasoner.engines.replay import ReplayEngine
from reasoner.errors import UsageError, VerifierError
from reasoner.strategy import ComparePair, Finished, Plan, compare_pair, next_finished, sample, start
from reasoner.trace.events import Scored
from reasoner.types import Completion, Rating
from reasoner.verifier import CostMeter
from tests.execution.one_question import PARAMS, PROMPT, QUESTION, Run
from tests.helpers import Judge, Planned, says, write_trace
from tests.scripted import ScriptedEngine


@dataclass(slots=True)
class Comparing(Judge):
    """A verifier that prefers the smaller answer, and can compare no nines."""

    async def bound_pair(self, question: Question, a: Completion, b: Completion, policy: Engine) -> Cost:
        return Cost(verifier_tokens=20, requests=2)

    async def compare_pair(
        self, question: Question, a: Completion, b: Completion, policy: Engine, cost_meter: CostMeter
    ) -> Rating:
        cost_meter.cost = Cost(verifier_tokens=7, requests=1)
        if "9" in a.text + b.text:
            raise VerifierError("no nines")
        self.spent.append(14)
        return Rating(0.8 if a.text < b.text else 0.2, Cost(verifier_tokens=14, requests=2))


def all_pairs(values: list[float | None]) -> Plan[Answer | None]:
    drawn = yield from sample(PROMPT, n=3, params=PARAMS)
    pairs = [(drawn[0], drawn[1]), (drawn[1], drawn[0]), (drawn[0], drawn[2])]
    ratings = yield from compare_pair(QUESTION, pairs)
    values += [rating.value for rating in ratings]
    return QUESTION.read(drawn[0])


def test_each_pair_has_a_probability_or_an_error_and_all_is_paid() -> None:
    values: list[float | None] = []
    run = Run(
        lambda _: all_pairs(values), ScriptedEngine(says("7", "8", "9")), uses_verifier=True, verifier=Comparing()
    )
    assert run.error is None
    assert values == [0.8, 0.2, None]
    assert run.solution.cost.verifier_tokens == 14 + 14 + 7
    told = [(event.index, event.against and event.against[1], event.value) for event in run.seen(Scored)]
    assert sorted(told, key=str) == [(0, 1, 0.8), (0, 2, None), (1, 0, 0.2)]


def test_comparisons_are_replayed(tmp_path: Path) -> None:
    live: list[float | None] = []
    run = Run(lambda _: all_pairs(live), ScriptedEngine(says("7", "8", "9")), uses_verifier=True, verifier=Comparing())
    replay = ReplayEngine(str(write_trace(tmp_path / "t.jsonl", run.events)))
    again: list[float | None] = []
    strategy = Planned(lambda _: all_pairs(again), uses_verifier=True)
    solution = solve_sync(QUESTION, strategy, replay, verifier=replay.verifier())
    assert (solution.error, again) == (None, live)
    assert solution.cost.taking(0) == run.solution.cost.taking(0)


def test_they_may_run_behind() -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        drawn = yield from sample(PROMPT, n=2, params=PARAMS)
        handle = yield from start(ComparePair(question, ((drawn[1], drawn[0]),)))
        finished: Finished = yield from next_finished()
        assert finished.handle == handle
        assert [rating.value for rating in finished.ratings] == [0.2]
        return question.read(drawn[0])

    run = Run(plan, ScriptedEngine(says("7", "8")), uses_verifier=True, verifier=Comparing())
    assert (run.error, run.solution.answer and run.solution.answer.key) == (None, "7")


def test_a_verifier_that_compares_nothing_is_named() -> None:
    run = Run(lambda _: all_pairs([]), uses_verifier=True, verifier=Judge())
    assert isinstance(run.error, UsageError)
    assert "does not compare pairs: use one such as judge" in str(run.error)
