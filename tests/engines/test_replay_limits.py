"""What a trace cannot give is an error that says so, beside the best answer it holds, and never a hang."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from reasoner import VoteState, solve
from reasoner.engine import SampleRequest
from reasoner.engines.replay import ReplayEngine
from reasoner.errors import TraceError
from reasoner.trace.events import Event, Refused, read_trace
from reasoner.types import Prompt
from reasoner_strategies import BestOfN, SelfConsistency, Single
from tests.engines.replaying import SHORT, record, replay_with, replayed, twice
from tests.helpers import jumbled, number_question, says, turns, varied, write_trace
from tests.scripted import ScriptedEngine


def test_a_rating_that_the_trace_does_not_hold_is_an_error(tmp_path: Path) -> None:
    path = record(tmp_path / "t.jsonl", SelfConsistency(3, SHORT))
    solution = replay_with(path, BestOfN(3, params=SHORT))
    assert isinstance(solution.error, TraceError)
    assert "holds no rating of sample" in str(solution.error)
    assert (solution.answer and solution.answer.key) == "7"


def test_a_sample_that_the_trace_does_not_hold_is_named(tmp_path: Path) -> None:
    path = record(tmp_path / "t.jsonl", SelfConsistency(3, SHORT))
    solution = replayed(path, SelfConsistency(5, SHORT))
    assert isinstance(solution.error, TraceError)
    assert "holds no sample 3 of this prompt of question q" in str(solution.error)
    assert solution.cost.samples <= 3


def test_another_question_is_not_in_the_trace(tmp_path: Path) -> None:
    path = record(tmp_path / "t.jsonl", Single(SHORT))
    other = asyncio.run(
        solve(replace(number_question(), prompt=Prompt.chat("How few?")), Single(SHORT), ReplayEngine(str(path)))
    )
    assert isinstance(other.error, TraceError)
    assert "does not hold this prompt: it is of 'How many?'" in str(other.error)


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
    assert solution.vote_state.samples == 2
    assert solution.cost.taking(0) == next(e.cost for e in read_trace(path) if e.event == "ended").taking(0)


class After:
    """A stop rule that stops after some samples."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def stop(self, vote_state: VoteState, cost: object) -> str | None:
        return "enough" if vote_state.samples >= self.samples else None


def test_a_run_that_a_rule_stopped_replays_with_the_rule_and_says_so_without(tmp_path: Path) -> None:
    engine = ScriptedEngine(varied, pause=jumbled(2, minimum=1))
    first, _ = twice(tmp_path / "t.jsonl", engine, SelfConsistency(8, SHORT), stop=After(3))
    assert (first.ended_by, first.vote_state.samples) == ("rule", 3)
    without = replayed(tmp_path / "t.jsonl", SelfConsistency(8, SHORT))
    assert isinstance(without.error, TraceError)
    assert "stop rule" in str(without.error)
    assert without.vote_state.samples >= 3


def test_a_killed_run_replays_what_it_holds(tmp_path: Path) -> None:
    path = record(tmp_path / "t.jsonl", SelfConsistency(4, SHORT))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]) + lines[5][:20])
    solution = replayed(path, SelfConsistency(4, SHORT))
    assert isinstance(solution.error, TraceError)
    assert solution.answer is not None


REFUSED = Refused(question_id="q", t=0, op=1, unit="tokens", needed=1, free=0, limit=0)


@pytest.mark.parametrize("events", [[], [REFUSED]])
def test_a_trace_without_a_run_is_refused(tmp_path: Path, events: list[Event]) -> None:
    path = write_trace(tmp_path / "t.jsonl", events)
    with pytest.raises(TraceError, match="holds no run"):
        replayed(path, Single())
