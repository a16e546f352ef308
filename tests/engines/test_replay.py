"""Replay takes the same course from a trace alone; what the trace does not hold is an error, and never a hang."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reasoner import Answer, Question, SamplingParams, Solution, VoteState, solve
from reasoner.engine import Engine, SampleRequest
from reasoner.engines.replay import ReplayEngine
from reasoner.errors import TraceError
from reasoner.strategy import (
    Cancel,
    Next,
    Plan,
    Sample,
    Score,
    Start,
    StopRule,
    Strategy,
)
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import (
    Judge,
    Planned,
    course,
    jumbled,
    number_question,
    says,
    turns,
    varied,
    write_trace,
)
from reasoner.trace.events import (
    Delivered,
    Event,
    Proposed,
    Refused,
    Sampled,
    Scored,
    read_trace,
)
from reasoner.types import Completion, Prompt, Rating
from reasoner.verifier import CostMeter, Verifier
from reasoner_strategies import BestOfN, SelfConsistency, Single

SHORT = SamplingParams(max_tokens=40)


async def live_and_again(
    path: Path,
    engine: ScriptedEngine,
    strategy: Strategy,
    verifier: Verifier | None,
    options: dict[str, Any],
) -> tuple[Solution, Solution, list[Event], list[Event]]:
    live: list[Event] = []
    again: list[Event] = []
    first = await solve(
        number_question(),
        strategy,
        engine,
        verifier=verifier,
        trace=live.append,
        **options,
    )
    replay = ReplayEngine(str(write_trace(path, live)))
    await replay.start()
    judge = replay.verifier() if verifier else None
    second = await solve(
        number_question(),
        strategy,
        replay,
        verifier=judge,
        trace=again.append,
        **options,
    )
    return first, second, live, again


def twice(
    path: Path,
    engine: ScriptedEngine,
    strategy: Strategy,
    *,
    verifier: Verifier | None = None,
    **options: Any,
) -> tuple[Solution, list[Event]]:
    """Run live, then replay the trace of it; both must take the same course. The live solution and its events."""
    first, second, live, again = asyncio.run(
        live_and_again(path, engine, strategy, verifier, options)
    )
    assert course(second) == course(first)
    assert type(second.error) is type(first.error)
    assert all_drawn(again) == all_drawn(live)
    assert [e for e in map(handed_over, again) if e] == [
        e for e in map(handed_over, live) if e
    ]
    return first, live


def all_drawn(events: list[Event]) -> list[tuple[Any, ...]]:
    """What was drawn, by name: what finished when was the engine's business, what was handed over when is the plan's."""
    return sorted(
        (drawn(event) for event in events if isinstance(event, Sampled)),
        key=lambda row: row[:2],
    )


def handed_over(event: Event) -> object:
    match event:
        case Delivered():
            return event.op
        case Proposed():
            return event.answer, event.vote_state, event.cost.taking(0)
    return None


def drawn(event: Sampled) -> tuple[Any, ...]:
    return (
        event.prompt,
        event.index,
        event.text,
        event.token_ids,
        event.usage,
        event.child,
        event.seed,
    )


def record(path: Path, strategy: Strategy) -> Path:
    events: list[Event] = []
    asyncio.run(
        solve(
            number_question(),
            strategy,
            ScriptedEngine(says("7", "8")),
            trace=events.append,
        )
    )
    return write_trace(path, events)


def replayed(
    path: Path, strategy: Strategy, *, stop: StopRule | None = None, text: str = ""
) -> Solution:
    async def go() -> Solution:
        engine = ReplayEngine(str(path))
        await engine.start()
        question = (
            replace(number_question(), prompt=Prompt.chat(text))
            if text
            else number_question()
        )
        judge = engine.verifier() if strategy.uses_verifier else None
        return await solve(question, strategy, engine, verifier=judge, stop=stop)

    return asyncio.run(go())


class Slow(Judge):
    """A verifier that comes to no verdict on the first candidate."""

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        if candidate.index == 0:
            await asyncio.get_running_loop().create_future()
        return await Judge.score(self, question, candidate, policy, cost_meter)


def test_a_rating_that_was_cancelled_is_cancelled_again(tmp_path: Path) -> None:
    def plan(question: Question) -> Plan[Answer | None]:
        drawn = yield Sample((question.prompt,), 2, SHORT)
        slow = yield Start(Score(question, drawn[:1]))
        # It is delivered as it ends: on the clock, ratings that take no tokens end in the order of their start.
        quick = yield Start(Score(question, drawn[1:]), cancellable=False)
        finished = yield Next()
        assert finished.handle == quick
        yield Cancel(slow)
        return question.read(drawn[1])

    first, live = twice(
        tmp_path / "t.jsonl",
        ScriptedEngine(says("7")),
        Planned(plan, uses_verifier=True),
        verifier=Slow(),
    )
    assert first.error is None
    assert sorted(event.error for event in live if isinstance(event, Scored)) == [
        "",
        "cancelled",
    ]
    assert first.cost.verifier_tokens > 10


@pytest.mark.parametrize(
    ("strategy", "text", "message"),
    [
        (BestOfN(3, params=SHORT), "", "holds no rating of sample"),
        (
            SelfConsistency(5, SHORT),
            "",
            "holds no sample 3 of this prompt of question q",
        ),
        (
            SelfConsistency(3, SHORT),
            "How few?",
            "does not hold the prompt 'How few?': it is of 'How many?'; ask the same question, with a strategy that",
        ),
    ],
)
def test_what_the_trace_does_not_hold_is_named(
    tmp_path: Path, strategy: Strategy, text: str, message: str
) -> None:
    path = record(tmp_path / "t.jsonl", SelfConsistency(3, SHORT))
    solution = replayed(path, strategy, text=text)
    assert isinstance(solution.error, TraceError)
    assert message in str(solution.error)
    assert (solution.answer and solution.answer.key) == (None if text else "7")
    assert solution.cost.samples <= 3


def test_an_interrupted_run_replays_up_to_where_it_was_cut(tmp_path: Path) -> None:
    async def interrupted() -> list[Event]:
        async def hang(request: SampleRequest) -> None:
            if request.index > 1:
                await asyncio.get_running_loop().create_future()

        events: list[Event] = []
        engine = ScriptedEngine(says("7"), pause=hang)
        run = asyncio.ensure_future(
            solve(
                number_question(),
                SelfConsistency(4, SHORT),
                engine,
                trace=events.append,
            )
        )
        await turns()
        run.cancel()
        await asyncio.wait([run])
        return events

    path = write_trace(tmp_path / "t.jsonl", asyncio.run(interrupted()))
    solution = replayed(path, SelfConsistency(4, SHORT))
    assert isinstance(solution.error, TraceError)
    assert "holds only a part of sample" in str(solution.error)
    assert solution.vote_state.samples == 2
    assert solution.cost.taking(0) == next(
        e.cost for e in read_trace(path) if e.event == "ended"
    ).taking(0)


class After:
    """A stop rule that stops after some samples."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def stop(self, vote_state: VoteState, cost: object) -> str | None:
        return "enough" if vote_state.samples >= self.samples else None


def test_a_run_that_a_rule_stopped_replays_with_the_rule_and_says_so_without(
    tmp_path: Path,
) -> None:
    engine = ScriptedEngine(varied, pause=jumbled(2, minimum=1))
    first, _ = twice(
        tmp_path / "t.jsonl", engine, SelfConsistency(8, SHORT), stop=After(3)
    )
    assert (first.ended_by, first.vote_state.samples) == ("rule", 3)
    without = replayed(tmp_path / "t.jsonl", SelfConsistency(8, SHORT))
    assert isinstance(without.error, TraceError)
    assert "stop rule" in str(without.error)
    assert without.vote_state.samples >= 3


REFUSED = Refused(question_id="q", t=0, op=1, unit="tokens", needed=1, free=0, limit=0)


@pytest.mark.parametrize("events", [[], [REFUSED]])
def test_a_trace_without_a_run_is_refused(tmp_path: Path, events: list[Event]) -> None:
    path = write_trace(tmp_path / "t.jsonl", events)
    with pytest.raises(TraceError, match="holds no run"):
        replayed(path, Single())
