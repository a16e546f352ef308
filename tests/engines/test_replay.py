"""Replay: the same course from a trace alone, whatever happened when it was recorded, and never a hang."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reasoner import Answer, Budget, Question, SamplingParams, Solution, Standing, solve, solve_many
from reasoner.engines.replay import ReplayEngine
from reasoner.engines.scripted import CARD, ScriptedEngine
from reasoner.errors import BudgetExhausted, EngineDied, RequestLost, TraceError
from reasoner.plan import Cancel, Next, Plan, Propose, Sample, Score, Start
from reasoner.protocols import SampleRequest, StopRule, Strategy, Verifier
from reasoner.trace import Dropped, Event, Sampled, read_trace
from reasoner.types import Rating
from reasoner.votes import Tally
from reasoner_strategies import BestOfN, SelfConsistency, Single
from tests.helpers import Judge, Planned, course, jumbled, number_question, says, turns, varied, write_trace

SHORT = SamplingParams(max_tokens=40)


async def _twice(
    path: Path, engine: ScriptedEngine, strategy: Strategy, verifier: Verifier | None, options: dict[str, Any]
) -> tuple[Solution, Solution, list[Event], list[Event]]:
    live: list[Event] = []
    again: list[Event] = []
    first = await solve(number_question(), strategy, engine, verifier=verifier, trace=live.append, **options)
    replay = ReplayEngine(str(write_trace(path, live)))
    await replay.start()
    judge = replay.verifier() if verifier else None
    second = await asyncio.wait_for(
        solve(number_question(), strategy, replay, verifier=judge, trace=again.append, **options), timeout=30
    )
    return first, second, live, again


def twice(
    path: Path, engine: ScriptedEngine, strategy: Strategy, *, verifier: Verifier | None = None, **options: Any
) -> tuple[Solution, list[Event]]:
    """Run live, then replay the trace of it; both must take the same course. The live solution and its events."""
    first, second, live, again = asyncio.run(_twice(path, engine, strategy, verifier, options))
    assert course(second) == course(first)
    assert type(second.error) is type(first.error)
    assert [drawn(event) for event in again if isinstance(event, Sampled)] == [
        drawn(event) for event in live if isinstance(event, Sampled)
    ]
    return first, live


def drawn(event: Sampled) -> tuple[object, ...]:
    return event.prompt, event.index, event.text, event.token_ids, event.usage, event.child, event.seed


def race(question: Question) -> Plan[Answer | None]:
    """Start eight, take the first two that agree, cancel the rest: the order of completion decides."""
    handles = []
    for _ in range(8):
        handles.append((yield Start(Sample((question.prompt,), params=SHORT))))
    tally = Tally(question.space)
    while handles:
        try:
            finished = yield Next()
        except BudgetExhausted:
            break
        handles.remove(finished.handle)
        for one in finished.completions:
            tally.add(question.read(one), index=one.index)
        standing = tally.standing()
        yield Propose(standing.leader, standing)
        if standing.votes and standing.votes[0].count > 1:
            for handle in handles:
                yield Cancel(handle)
            return standing.leader
    return tally.standing().leader


BUDGETS = [None, Budget(samples=5), Budget(tokens=150), Budget(tokens=90, samples=4), Budget(flops=200_000)]


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
@pytest.mark.parametrize(
    "strategy",
    [Single(SHORT), SelfConsistency(8, SHORT), BestOfN(6, params=SHORT), BestOfN(6, "weighted", SHORT), Planned(race)],
    ids=["single", "self_consistency", "argmax", "weighted", "race"],
)
def test_a_run_repeats_itself_from_its_trace(tmp_path: Path, strategy: Strategy, budget: Budget | None) -> None:
    for seed in range(8):
        engine = ScriptedEngine(varied, pause=jumbled(seed, lost=0.15, least=1), block_size=seed % 3)
        judge = Judge() if strategy.uses_verifier else None
        twice(tmp_path / f"{seed}.jsonl", engine, strategy, verifier=judge, budget=budget, seed=seed)


def test_the_recorded_runs_did_cancel_lose_and_refuse(tmp_path: Path) -> None:
    fates: set[str] = set()
    for seed in range(16):
        engine = ScriptedEngine(varied, pause=jumbled(seed, lost=0.15, least=1))
        budget = Budget(samples=3 if seed % 2 else 8)
        first, live = twice(tmp_path / "t.jsonl", engine, Planned(race), budget=budget, seed=seed)
        fates.update(event.why for event in live if isinstance(event, Dropped))
        fates.add(first.ended_by)
    assert fates == {"cancelled", "lost", "strategy", "budget"}


def test_a_replay_of_a_replay_is_the_same_trace(tmp_path: Path) -> None:
    engine = ScriptedEngine(varied, pause=jumbled(3, lost=0.15, least=1))
    _, _, live, again = asyncio.run(_twice(tmp_path / "t.jsonl", engine, BestOfN(6, params=SHORT), Judge(), {}))

    def bare(event: Event) -> Event:
        cost = {"cost": event.cost.taking(0)} if hasattr(event, "cost") else {}
        return event.model_copy(update={"t": 0, "engine": "", "verifier": "", "notes": (), **cost})

    assert [bare(event) for event in again] == [bare(event) for event in live]


def test_ratings_that_the_ledger_refused_are_refused_again(tmp_path: Path) -> None:
    samples_only = Budget(tokens=100)
    first, _ = twice(
        tmp_path / "t.jsonl", ScriptedEngine(says("7", "8", "8")), BestOfN(3, params=SHORT), verifier=Judge(bound_tokens=99),
        budget=samples_only,
    )  # fmt: skip
    assert (first.ended_by, first.answer and first.answer.key) == ("budget", "8")


def test_ratings_that_failed_fail_again(tmp_path: Path) -> None:
    def verdict(candidate: object) -> float:
        raise OSError("the judge is out")

    first, live = twice(
        tmp_path / "t.jsonl", ScriptedEngine(says("7", "8", "8")), BestOfN(3, params=SHORT), verifier=Judge(verdict)
    )
    assert first.answer is not None
    assert first.answer.key == "8"
    assert first.cost.verifier_tokens == 30


def test_a_deadline_falls_again_and_costs_the_same(tmp_path: Path) -> None:
    async def hang(request: SampleRequest) -> None:
        if request.index:
            request.meter.usage = replace(request.meter.usage or pytest.fail(), generated_tokens=2)
            await asyncio.get_running_loop().create_future()

    # Two are in flight at once: the first ends, the others are cut at the deadline, and the rest never starts.
    budget = Budget(seconds=0.05, samples=3)
    first, live = twice(tmp_path / "t.jsonl", ScriptedEngine(says("7"), pause=hang), SelfConsistency(5, SHORT), budget=budget)
    assert [event.why for event in live if isinstance(event, Dropped)] == ["deadline", "deadline"]
    assert (first.ended_by, first.cost.samples, first.cost.cancelled_tokens) == ("budget", 3, 4)
    assert first.answer is not None


def test_an_engine_that_died_ends_the_replay_with_the_same_answer(tmp_path: Path) -> None:
    async def die(request: SampleRequest) -> None:
        await turns(3 * request.index)
        if request.index == 2:
            raise EngineDied("it died again")

    engine = ScriptedEngine(says("7"), pause=die)
    first, second, _, _ = asyncio.run(_twice(tmp_path / "t.jsonl", engine, SelfConsistency(5, SHORT), None, {}))
    assert isinstance(first.error, EngineDied)
    assert isinstance(second.error, TraceError)
    assert first.answer is not None
    assert second.answer == first.answer


def chain(question: Question) -> Plan[Answer | None]:
    """Three steps of a chain, the first of which is empty text that cost a token."""
    prompt, drawn = question.prompt, None
    for stop in ("thinking", "\n\n", ""):
        [drawn] = yield Sample((prompt,), params=replace(SHORT, stop=(stop,) if stop else ()))
        prompt = prompt.then(drawn)
    answer = question.read(drawn) if drawn else None
    tally = Tally(question.space)
    tally.add(answer, index=0)
    yield Propose(answer, tally.standing())
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


def started_scores(question: Question) -> Plan[Answer | None]:
    drawn = yield Sample((question.prompt,), 3, SHORT)
    for one in drawn:
        yield Start(Score(question, (one,)))
    best: tuple[float, Answer | None] = (-1.0, None)
    for _ in drawn:
        finished = yield Next()
        [rating] = finished.ratings
        best = max(best, (rating.value or 0.0, None))
    answer = question.read(drawn[0])
    yield Propose(answer, Standing())
    return answer


def test_scores_started_on_their_own_are_replayed(tmp_path: Path) -> None:
    first, _ = twice(
        tmp_path / "t.jsonl", ScriptedEngine(says("7")), Planned(started_scores, uses_verifier=True), verifier=Judge()
    )
    assert first.cost.verifier_tokens > 0


def test_log_probabilities_are_replayed(tmp_path: Path) -> None:
    seen = []

    def plan(question: Question) -> Plan[Answer | None]:
        [one] = yield Sample((question.prompt,), params=replace(SHORT, logprobs=2))
        seen.append(one.logprobs)
        return question.read(one)

    twice(tmp_path / "t.jsonl", ScriptedEngine(says("7"), certainty=lambda _: 0.6), Planned(plan))
    assert seen[0] is not None
    assert seen[0].sampled[0] == pytest.approx(math.log(0.6))
    assert seen[1] == seen[0]


def test_many_questions_are_replayed_together(tmp_path: Path) -> None:
    async def test() -> None:
        questions = [number_question(f"q{place}") for place in range(12)]
        live: list[Event] = []
        engine = ScriptedEngine(varied, pause=jumbled(5, lost=0.1, least=1), block_size=2)
        first = await solve_many(questions, Planned(race), engine, trace=live.append)
        path = write_trace(tmp_path / "t.jsonl", live)
        second = await solve_many(questions, Planned(race), ReplayEngine(str(path)))
        assert [course(one) for one in second] == [course(one) for one in first]
        # One question of the trace can be replayed alone.
        alone = await solve(questions[3], Planned(race), ReplayEngine(str(path)))
        assert course(alone) == course(first[3])

    asyncio.run(test())


# What a trace cannot give


def record(path: Path, strategy: Strategy, *, pause: Callable[[SampleRequest], Awaitable[None]] | None = None) -> Path:
    async def go() -> list[Event]:
        events: list[Event] = []
        engine = ScriptedEngine(says("7", "8"), **({"pause": pause} if pause else {}))
        await solve(number_question(), strategy, engine, trace=events.append)
        return events

    return write_trace(path, asyncio.run(go()))


def replayed(path: Path, strategy: Strategy, *, stop: StopRule | None = None, seed: int = 0) -> Solution:
    async def go() -> Solution:
        return await asyncio.wait_for(
            solve(number_question(), strategy, ReplayEngine(str(path)), stop=stop, seed=seed), timeout=30
        )

    return asyncio.run(go())


def test_a_sample_that_the_trace_does_not_hold_is_named(tmp_path: Path) -> None:
    path = record(tmp_path / "t.jsonl", SelfConsistency(3, SHORT))
    solution = replayed(path, SelfConsistency(5, SHORT))
    assert isinstance(solution.error, TraceError)
    assert "holds no sample 3 of this prompt of question q" in str(solution.error)
    assert solution.cost.samples <= 3


def test_another_question_is_not_in_the_trace(tmp_path: Path) -> None:
    path = record(tmp_path / "t.jsonl", Single(SHORT))
    other = asyncio.run(solve(replace(number_question(), prompt=_other_prompt()), Single(SHORT), ReplayEngine(str(path))))
    assert isinstance(other.error, TraceError)
    assert "does not hold this prompt: it is of 'How many?'" in str(other.error)


def _other_prompt() -> Any:
    from reasoner import Prompt

    return Prompt.chat("How few?")


def test_an_interrupted_run_replays_up_to_where_it_was_cut(tmp_path: Path) -> None:
    async def interrupted() -> list[Event]:
        async def hang(request: SampleRequest) -> None:
            if request.index > 1:
                await asyncio.get_running_loop().create_future()

        events: list[Event] = []
        engine = ScriptedEngine(says("7"), pause=hang)
        run = asyncio.ensure_future(solve(number_question(), SelfConsistency(4, SHORT), engine, trace=events.append))
        await turns()
        run.cancel()
        await asyncio.wait([run])
        return events

    path = write_trace(tmp_path / "t.jsonl", asyncio.run(interrupted()))
    solution = replayed(path, SelfConsistency(4, SHORT))
    assert isinstance(solution.error, TraceError)
    assert "holds only a part of sample" in str(solution.error)
    assert solution.standing.samples == 2
    assert solution.cost.taking(0) == next(e.cost for e in read_trace(path) if e.event == "ended").taking(0)


class After:
    """A stop rule that stops after some samples."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def stop(self, standing: Standing, cost: object) -> str | None:
        return "enough" if standing.samples >= self.samples else None


def test_a_run_that_a_rule_stopped_replays_with_the_rule_and_says_so_without(tmp_path: Path) -> None:
    engine = ScriptedEngine(varied, pause=jumbled(2, least=1))
    first, live = twice(tmp_path / "t.jsonl", engine, SelfConsistency(8, SHORT), stop=After(3))
    assert (first.ended_by, first.standing.samples) == ("rule", 3)
    without = replayed(tmp_path / "t.jsonl", SelfConsistency(8, SHORT))
    assert isinstance(without.error, TraceError)
    assert "stop rule" in str(without.error)
    assert without.standing.samples >= 3


def test_a_killed_run_replays_what_it_holds(tmp_path: Path) -> None:
    path = record(tmp_path / "t.jsonl", SelfConsistency(4, SHORT))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]) + lines[5][:20])
    solution = replayed(path, SelfConsistency(4, SHORT))
    assert isinstance(solution.error, TraceError)
    assert solution.answer is not None


def test_a_sample_never_asked_for_holds_up_nobody(tmp_path: Path) -> None:
    path = record(tmp_path / "t.jsonl", SelfConsistency(6, SHORT), pause=jumbled(1))
    solution = replayed(path, SelfConsistency(3, SHORT))
    assert solution.error is None
    assert solution.standing.samples == 3


@pytest.mark.parametrize("text", ["", '{"v":1,"question_id":"q","t":0,"event":"refused","op":1,"unit":"x","needed":1,'
                                  '"free":0,"limit":0}\n'])  # fmt: skip
def test_a_trace_without_a_run_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(text)
    with pytest.raises(TraceError, match="holds no run"):
        replayed(path, Single())


def test_a_missing_trace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot read the trace"):
        replayed(tmp_path / "none", Single())


def test_the_model_is_the_recorded_one(tmp_path: Path) -> None:
    engine = ReplayEngine(str(record(tmp_path / "t.jsonl", Single(SHORT))))
    asyncio.run(engine.start())
    assert engine.model == CARD


def test_random_ratings_come_back_value_by_value(tmp_path: Path) -> None:
    source, seen = random.Random(4), []

    def plan(question: Question) -> Plan[Answer | None]:
        drawn = yield Sample((question.prompt,), 4, SHORT)
        ratings: tuple[Rating, ...] = yield Score(question, drawn)
        seen.append([(rating.value, rating.error) for rating in ratings])
        return question.read(drawn[0])

    judge = Judge(verdict=lambda _: source.random())
    twice(tmp_path / "t.jsonl", ScriptedEngine(says("7")), Planned(plan, uses_verifier=True), verifier=judge)
    assert seen[0] == seen[1]
    assert len({value for value, _ in seen[0]}) == 4


def test_a_lost_request_is_lost_for_good_after_as_many_attempts(tmp_path: Path) -> None:
    first, live = twice(tmp_path / "t.jsonl", ScriptedEngine(says("7"), pause=jumbled(1, lost=1.0)), Single(SHORT))
    assert isinstance(first.error, RequestLost)
    assert [event.why for event in live if isinstance(event, Dropped)] == ["lost"] * 3
