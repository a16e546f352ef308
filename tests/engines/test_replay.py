"""Replay takes the same course from a trace alone, whatever happened when it was recorded."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reasoner import Answer, Budget, Question, solve, solve_many
from reasoner.engine import SampleRequest
from reasoner.engines.replay import ReplayEngine
from reasoner.errors import BudgetExhausted
from reasoner.strategy import Cancel, Next, Plan, Propose, Sample, Score, Start, Strategy
from reasoner.trace.events import Dropped, Event, Sampled, Scored
from reasoner.types import Usage
from reasoner.voting import Tally
from reasoner_strategies import BestOfN, SelfConsistency, Single
from tests.engines.replaying import SHORT, Slow, twice
from tests.helpers import DEADLINE, Judge, Planned, course, jumbled, number_question, says, varied, write_trace
from tests.scripted import ScriptedEngine


def race(question: Question) -> Plan[Answer | None]:
    """Start eight, take the first two that agree, cancel the rest: the order of completion decides."""
    handles = []
    for _ in range(8):
        handle = yield Start(Sample((question.prompt,), params=SHORT))
        handles.append(handle)
    tally = Tally(question.space)
    while handles:
        try:
            finished = yield Next()
        except BudgetExhausted:
            break
        handles.remove(finished.handle)
        for one in finished.completions:
            tally.add(question.read(one), index=one.index)
        vote_state = tally.vote_state()
        yield Propose(vote_state.leader, vote_state)
        if vote_state.votes and vote_state.votes[0].count > 1:
            for handle in handles:
                yield Cancel(handle)
            return vote_state.leader
    return tally.vote_state().leader


BUDGETS = [None, Budget(samples=5), Budget(tokens=150), Budget(tokens=90, samples=4), Budget(flops=200_000)]


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
@pytest.mark.parametrize(
    "strategy",
    [Single(SHORT), SelfConsistency(8, SHORT), BestOfN(6, params=SHORT), BestOfN(6, "weighted", SHORT), Planned(race)],
    ids=["single", "self_consistency", "argmax", "weighted", "race"],
)
def test_a_run_repeats_itself_from_its_trace(tmp_path: Path, strategy: Strategy, budget: Budget | None) -> None:
    for seed in range(8):
        engine = ScriptedEngine(varied, pause=jumbled(seed, lost=0.15, minimum=1), block_size=seed % 3)
        judge = Judge() if strategy.uses_verifier else None
        twice(tmp_path / f"{seed}.jsonl", engine, strategy, verifier=judge, budget=budget, seed=seed)


def test_the_recorded_runs_did_cancel_lose_and_refuse(tmp_path: Path) -> None:
    fates: set[str] = set()
    for seed in range(16):
        engine = ScriptedEngine(varied, pause=jumbled(seed, lost=0.15, minimum=1))
        budget = Budget(samples=3 if seed % 2 else 8)
        first, live = twice(tmp_path / "t.jsonl", engine, Planned(race), budget=budget, seed=seed)
        fates.update(event.why for event in live if isinstance(event, Dropped))
        fates.add(first.ended_by)
    assert fates == {"cancelled", "lost", "strategy", "budget"}


def test_a_deadline_falls_again_and_costs_the_same(tmp_path: Path) -> None:
    async def hang(request: SampleRequest) -> None:
        if request.index:
            request.meter.usage = replace(request.meter.usage or Usage(), generated_tokens=2)
            await asyncio.get_running_loop().create_future()

    # Two are in flight at once: the first ends, the others are cut at the deadline, and the rest never starts.
    budget = Budget(seconds=DEADLINE, samples=3)
    first, live = twice(
        tmp_path / "t.jsonl", ScriptedEngine(says("7"), pause=hang), SelfConsistency(5, SHORT), budget=budget
    )
    assert [event.why for event in live if isinstance(event, Dropped)] == ["deadline", "deadline"]
    assert (first.ended_by, first.cost.samples, first.cost.cancelled_tokens) == ("budget", 3, 4)
    assert first.answer is not None


def chain(question: Question) -> Plan[Answer | None]:
    """Three steps of a chain, the first of which is empty text that cost a token."""
    prompt, drawn = question.prompt, None
    for stop in ("thinking", "\n\n", ""):
        [drawn] = yield Sample((prompt,), params=replace(SHORT, stop=(stop,) if stop else ()))
        prompt = prompt.then(drawn)
    answer = question.read(drawn) if drawn else None
    tally = Tally(question.space)
    tally.add(answer, index=0)
    yield Propose(answer, tally.vote_state())
    return answer


class EmptyStep(ScriptedEngine):
    """Its first reply is a token without text, as a stop string within a token leaves it."""

    async def sample(self, request: SampleRequest) -> Any:
        one = await ScriptedEngine.sample(self, request)
        return one if request.prompt.token_ids else replace(one, text="", token_ids=(5,), stop="x")


def test_a_chain_is_continued_from_the_trace_also_after_a_step_without_text(tmp_path: Path) -> None:
    first, live = twice(tmp_path / "t.jsonl", EmptyStep(lambda request: "so\n\nThe answer is 7"), Planned(chain))
    assert first.answer is not None
    assert len({event.prompt for event in live if isinstance(event, Sampled)}) == 3
    prompted = [event for event in live if event.event == "prompted"]
    assert len(prompted) == 1


def test_a_rating_that_was_cancelled_is_cancelled_again(tmp_path: Path) -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        drawn = yield Sample((question.prompt,), 2, SHORT)
        slow = yield Start(Score(question, drawn[:1]))
        quick = yield Start(Score(question, drawn[1:]))
        finished = yield Next()
        assert finished.handle == quick
        yield Cancel(slow)
        return question.read(drawn[1])

    first, live = twice(
        tmp_path / "t.jsonl", ScriptedEngine(says("7")), Planned(plan, uses_verifier=True), verifier=Slow()
    )
    assert first.error is None
    assert sorted(event.error for event in live if isinstance(event, Scored)) == ["", "cancelled"]
    assert first.cost.verifier_tokens > 10


def test_many_questions_are_replayed_together(tmp_path: Path) -> None:
    async def test() -> None:
        questions = [number_question(f"q{place}") for place in range(12)]
        live: list[Event] = []
        engine = ScriptedEngine(varied, pause=jumbled(5, lost=0.1, minimum=1), block_size=2)
        first = await solve_many(questions, Planned(race), engine, trace=live.append)
        path = write_trace(tmp_path / "t.jsonl", live)
        second = await solve_many(questions, Planned(race), ReplayEngine(str(path)))
        assert [course(one) for one in second] == [course(one) for one in first]
        # One question of the trace can be replayed alone.
        alone = await solve(questions[3], Planned(race), ReplayEngine(str(path)))
        assert course(alone) == course(first[3])

    asyncio.run(test())
