"""Answers that their space cannot compare at once: the operation that asks, the runner that answers, replay."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasoner import Answer, Budget, Question, Solution, solve, solve_many
from reasoner.answers.equivalence import ComparisonMeter, Equivalence
from reasoner.engine import Engine
from reasoner.engines.replay import ReplayEngine
from reasoner.errors import TraceError
from reasoner.strategy import Strategy
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import PROMPT, Judge, course, says, write_trace
from reasoner.trace.events import Ended, EquivalenceChecked, Event
from reasoner.trace.history import read_histories
from reasoner.types import AnswerSpace, Blocks
from reasoner.verifier import Verifier
from reasoner_strategies import BestOfN, SelfConsistency, Single
from tests.helpers import answer
from tests.waiting import idle_time


@dataclass(frozen=True)
class Slow:
    """A toy space: numbers that leave the same remainder are one, which only slow work can tell."""

    name: str = "slow"
    instruction: str = ""
    version: int = 3

    def read(self, text: str) -> Answer | None:
        word = text.rsplit(maxsplit=1)[-1]
        return answer(word) if word.isdigit() else None

    def same(self, a: Answer, b: Answer) -> bool | None:
        return True if a.key == b.key else None

    def blocks(self, answer: Answer) -> Blocks:
        return Blocks(("all",))


def one(a: Answer, b: Answer) -> bool:
    return int(a.key) % 3 == int(b.key) % 3


@dataclass
class Remainders(Equivalence):
    """Compares by the remainder, and remembers what it was asked."""

    asked: list[tuple[str, str]] = field(default_factory=list)

    async def same_many(
        self,
        space: AnswerSpace,
        pairs: Sequence[tuple[Answer, Answer]],
        meter: ComparisonMeter,
    ) -> tuple[bool | None, ...]:
        await asyncio.sleep(0)
        self.asked += [(a.key, b.key) for a, b in pairs]
        return tuple(one(a, b) for a, b in pairs)

    async def blocks(
        self, space: AnswerSpace, answers: Sequence[Answer], meter: ComparisonMeter
    ) -> tuple[Blocks | None, ...]:
        raise AssertionError("the space knows the blocks at once")

    async def close(self) -> None:
        raise AssertionError("a comparer that was given is not the run's to close")


QUESTION = Question("q", "How many?", PROMPT, Slow())


def run(
    strategy: SelfConsistency | BestOfN | Single,
    comparer: Equivalence,
    events: list[Event],
) -> Solution:
    engine = ScriptedEngine(says("4", "1", "2", "7", "8"))
    return asyncio.run(
        solve(
            QUESTION,
            strategy,
            engine,
            verifier=Judge(),
            comparer=comparer,
            trace=events.append,
        )
    )


def test_a_replay_without_the_comparisons_is_an_error(tmp_path: Path) -> None:
    events: list[Event] = []
    run(SelfConsistency(n=5), Remainders(), events)
    kept = [event for event in events if not isinstance(event, EquivalenceChecked)]
    assert len(kept) < len(events)

    async def again() -> Solution:
        engine = ReplayEngine(str(write_trace(tmp_path / "t.jsonl", kept)))
        await engine.start()
        return await solve(QUESTION, SelfConsistency(n=5), engine)

    solution = asyncio.run(again())
    assert isinstance(solution.error, TraceError)
    assert "does not say which answers are equal" in str(solution.error)


@idle_time()
def test_a_comparison_that_outlasts_the_deadline_costs_no_answer() -> None:
    class Never(Remainders):
        async def same_many(
            self,
            space: AnswerSpace,
            pairs: Sequence[tuple[Answer, Answer]],
            meter: ComparisonMeter,
        ) -> tuple[bool | None, ...]:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

    engine = ScriptedEngine(says("4", "1", "1"))
    solution = asyncio.run(
        solve(
            QUESTION,
            BestOfN(n=3),
            engine,
            verifier=Judge(),
            comparer=Never(),
            budget=Budget(seconds=1),
        )
    )
    assert solution.answer == answer("1")
    assert (solution.error, solution.ended_by) == (None, "budget")


@dataclass
class Hesitant(Remainders):
    """Decides nothing about answers of two digits."""

    async def same_many(
        self,
        space: AnswerSpace,
        pairs: Sequence[tuple[Answer, Answer]],
        meter: ComparisonMeter,
    ) -> tuple[bool | None, ...]:
        told = await super().same_many(space, pairs, meter)
        return tuple(
            None if len(a.key + b.key) > 2 else same
            for (a, b), same in zip(pairs, told, strict=True)
        )


@dataclass(frozen=True)
class Limited(Slow):
    """Comparing its answers has a limit of time."""

    seconds: float = 10.0


def test_undecided_pairs_are_noted_and_asked_once_also_in_a_replay_and_a_resumed_run(
    tmp_path: Path,
) -> None:
    question, strategy, events = (
        Question("q", "How many?", PROMPT, Limited()),
        BestOfN(n=4),
        list[Event](),
    )
    comparer = Hesitant()

    def run(
        engine: Engine, verifier: Verifier, comparer: Equivalence, **options: Any
    ) -> Solution:
        return asyncio.run(
            solve_one(question, strategy, engine, verifier, comparer, **options)
        )

    first = run(
        ScriptedEngine(says("4", "13", "1", "4")),
        Judge(),
        comparer,
        trace=events.append,
    )
    note = "2 comparisons were not decided within 10 s: those answers count as different; answer kind slow:seconds=30"
    assert first.notes == (f"{note} gives more time",)
    assert sorted(map(sorted, comparer.asked)) == [["1", "13"], ["1", "4"], ["13", "4"]]
    assert [vote.count for vote in first.vote_state.votes] == [3, 1]
    replay = ReplayEngine(str(write_trace(tmp_path / "t.jsonl", events)))
    asyncio.run(replay.start())
    again = run(replay, replay.verifier(), Hesitant())
    assert (course(again), again.notes[1:]) == (course(first), first.notes)
    cut = [event for event in events if not isinstance(event, Ended)]
    resumed = run(
        ScriptedEngine(says("0")),
        Judge(),
        Hesitant(asked=comparer.asked),
        history=read_histories(cut),
    )
    assert (course(resumed)[0], resumed.notes) == (course(first)[0], first.notes)
    assert len(comparer.asked) == 3


async def solve_one(
    question: Question,
    strategy: Strategy,
    engine: Engine,
    verifier: Verifier,
    comparer: Equivalence,
    **options: Any,
) -> Solution:
    [solution] = await solve_many(
        [question], strategy, engine, verifier=verifier, comparer=comparer, **options
    )
    return solution
