"""Plans side by side: each gets its own replies, whatever finishes first, and refusals reach all that wait."""

import asyncio
from collections.abc import Sequence

import pytest

from reasoner import Answer, Budget, SamplingParams, solve_sync
from reasoner.engine import SampleRequest
from reasoner.errors import BudgetExhausted
from reasoner.registry import build, spec_of
from reasoner.strategy import (
    BRANCH,
    Finished,
    Handle,
    Outcome,
    Plan,
    Sample,
    cancel,
    gather,
    next_finished,
    propose,
    sample,
    score,
    start,
)
from reasoner.trace.events import Dropped, Sampled
from reasoner.types import VoteState
from reasoner_strategies import BestOfN, SelfConsistency, Single
from tests.execution.one_question import PARAMS, PROMPT, QUESTION, Run
from tests.helpers import Judge, books, course, jumbled, meter_of, says, varied
from tests.scripted import ScriptedEngine


def chain(length: int) -> Plan[Answer | None]:
    """Samples one after the other, each continuing the last."""
    prompt = PROMPT
    for _ in range(length):
        [drawn] = yield from sample(prompt, params=PARAMS)
        prompt = prompt.then(drawn)
    return QUESTION.read(drawn)


def side_by_side(plans: Sequence[Plan[Answer | None]], ended: list[tuple[int, Outcome]]) -> Plan[Answer | None]:
    def told(place: int, outcome: Outcome) -> Plan[None]:
        ended.append((place, outcome))
        yield from propose(outcome.answer, outcome.vote_state)

    yield from gather(plans, QUESTION, told, among=len(plans))
    return ended[0][1].answer if ended else None


def test_a_short_plan_does_not_wait_for_a_long_one() -> None:
    ended: list[tuple[int, Outcome]] = []
    run = Run(lambda _: side_by_side([chain(4), chain(1), chain(2)], ended), ScriptedEngine(says("7")))
    assert run.error is None
    assert [place for place, _ in ended] == [1, 2, 0]
    assert run.solution.cost.samples == 7
    assert all(outcome.answer and outcome.answer.key == "7" for _, outcome in ended)
    assert all(outcome.evidence and QUESTION.read(outcome.evidence) == outcome.answer for _, outcome in ended)


def starting(n: int, wanted: int) -> Plan[Answer | None]:
    """Starts some, takes the first that arrive, cancels the rest."""
    handles: list[Handle] = []
    while len(handles) < n:
        handles += [(yield from start(Sample((PROMPT,), params=PARAMS)))]
    got: list[Finished] = []
    while len(got) < wanted:
        got += [(yield from next_finished())]
    assert {one.handle for one in got} <= set(handles)
    for handle in handles:
        yield from cancel(handle)
    return QUESTION.read(got[-1].completions[0])


@pytest.mark.parametrize("seed", range(8))
def test_each_is_sent_what_it_started_itself(seed: int) -> None:
    ended: list[tuple[int, Outcome]] = []
    engine = ScriptedEngine(says("7"), pause=jumbled(seed))
    run = Run(lambda _: side_by_side([starting(4, 2), chain(3), starting(3, 3), starting(2, 1)], ended), engine)
    assert run.error is None
    assert sorted(place for place, _ in ended) == [0, 1, 2, 3]
    assert books(run.solution.cost) == meter_of(engine)


def forgetful() -> Plan[Answer | None]:
    """Starts what it never waits for."""
    yield from start(Sample((PROMPT,), params=PARAMS))
    [drawn] = yield from sample(PROMPT, params=PARAMS)
    return QUESTION.read(drawn)


def test_what_a_plan_leaves_behind_is_cancelled_and_not_taken_for_another_s() -> None:
    async def pause(request: SampleRequest) -> None:
        for _ in range(50 if request.index % BRANCH == 0 else 1):
            await asyncio.sleep(0)

    ended: list[tuple[int, Outcome]] = []
    run = Run(lambda _: side_by_side([forgetful(), forgetful()], ended), ScriptedEngine(says("7"), pause=pause))
    assert run.error is None
    assert len(run.seen(Dropped)) == 2
    assert [place for place, _ in ended] == [0, 1]


def bounded(kept: list[str]) -> Plan[Answer | None]:
    """Goes on until it is refused, and then returns what it has."""
    found: Answer | None = None
    prompt = PROMPT
    while True:
        try:
            [drawn] = yield from sample(prompt, params=PARAMS)
        except BudgetExhausted:
            kept.append("refused")
            return found
        found, prompt = QUESTION.read(drawn), prompt.then(drawn)


@pytest.mark.parametrize("samples", [0, 1, 2, 3, 7])
def test_a_refusal_reaches_every_plan_that_waits(samples: int) -> None:
    ended: list[tuple[int, Outcome]] = []
    kept: list[str] = []
    plans = [bounded(kept), bounded(kept), bounded(kept)]
    run = Run(lambda _: side_by_side(plans, ended), budget=Budget(samples=samples))
    assert run.error is None
    assert len(kept) == len(ended) == 3
    assert run.solution.cost.samples == samples
    assert run.solution.ended_by == "budget"
    assert sum(outcome.answer is not None for _, outcome in ended) == min(samples, 3)


def proposing() -> Plan[Answer | None]:
    yield from propose(Answer("8", "8"), VoteState())
    yield from sample(PROMPT, n=2, params=PARAMS)
    yield from sample(PROMPT, n=2, params=PARAMS)
    return None


def test_the_last_proposal_is_the_outcome_of_a_plan_that_is_refused() -> None:
    ended: list[tuple[int, Outcome]] = []
    run = Run(lambda _: side_by_side([proposing()], ended), budget=Budget(samples=2))
    [(_, outcome)] = ended
    assert (outcome.answer and outcome.answer.key, outcome.evidence) == ("8", None)
    assert [proposal.answer and proposal.answer.key for proposal in run.solution.proposals] == ["8"]


def test_scores_go_to_who_asked() -> None:
    def rated(n: int) -> Plan[Answer | None]:
        drawn = yield from sample(PROMPT, n=n, params=PARAMS)
        ratings = yield from score(QUESTION, drawn)
        assert len(ratings) == n
        return QUESTION.read(drawn[0])

    ended: list[tuple[int, Outcome]] = []
    run = Run(
        lambda _: side_by_side([rated(1), rated(3), rated(2)], ended),
        ScriptedEngine(varied, pause=jumbled(1)),
        uses_verifier=True,
        verifier=Judge(),
    )
    assert run.error is None
    assert len(ended) == 3


# Strategies that hold another


def test_a_vote_over_votes_draws_what_both_ask_for() -> None:
    inner = SelfConsistency(3, SamplingParams(max_tokens=40))
    solution = solve_sync(QUESTION, SelfConsistency(5, of=inner), ScriptedEngine(varied))
    assert solution.error is None
    assert (solution.cost.samples, solution.vote_state.samples) == (15, 5)
    assert len(solution.proposals) == 5


def test_best_of_n_rates_the_sequence_that_an_answer_comes_from() -> None:
    inner = SelfConsistency(3, SamplingParams(max_tokens=40))
    judge = Judge(lambda candidate: 0.9 if "8" in candidate.text else 0.1)
    run = solve_sync(QUESTION, BestOfN(3, of=inner), ScriptedEngine(says("7", "8", "9")), verifier=judge)
    # Each inner vote is tied between 7, 8 and 9, which the earliest wins: nine samples, three runs, ratings of 7, 7, 7.
    assert (run.answer and run.answer.key) == "7"
    assert (run.cost.samples, len(judge.spent)) == (9, 3)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_completion_changes_nothing(seed: int) -> None:
    def once(order: int) -> tuple[object, ...]:
        strategy = SelfConsistency(4, of=Single(SamplingParams(temperature=0.7, max_tokens=40)))
        return course(solve_sync(QUESTION, strategy, ScriptedEngine(varied, pause=jumbled(order)), seed=seed))[:3]

    assert once(0) == once(seed + 1)


def test_a_nested_strategy_is_written_and_read_as_a_spec() -> None:
    nested = build("strategy", "best_of_n:n=2,of=self_consistency(n=3,temperature=0.5)")
    assert nested == BestOfN(2, of=SelfConsistency(3, SamplingParams(temperature=0.5)))
    assert build("strategy", spec_of(nested)) == nested
    assert build("strategy", "self_consistency:of=none") == SelfConsistency()
    with pytest.raises(Exception, match="set them there"):
        build("strategy", "self_consistency:of=single,temperature=0.2")


def test_every_sample_of_nested_runs_has_a_seed_of_its_own() -> None:
    run_events: list[Sampled] = []
    solve_sync(
        QUESTION,
        SelfConsistency(4, of=SelfConsistency(4, SamplingParams(max_tokens=40))),
        ScriptedEngine(varied),
        trace=lambda event: run_events.append(event) if isinstance(event, Sampled) else None,
    )
    assert len({event.seed for event in run_events}) == 16
