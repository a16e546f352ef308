"""The trace of unfinished questions: what it keeps, and how little."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner import Question, solve_many_sync
from reasoner.batch.rows import AnswerLine, InputRow
from reasoner.batch.state import BatchFolder, EarlierSessions, WorkTrace, answer_rows
from reasoner.engine import SampleRequest
from reasoner.errors import TraceError
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import number_question, varied
from reasoner.trace.events import Cancelled, Ended, Event
from reasoner.trace.history import read_histories
from reasoner_strategies import SelfConsistency


def events_of(count: int) -> list[Event]:
    events: list[Event] = []
    questions = [number_question(f"q{index}") for index in range(count)]
    solve_many_sync(
        questions,
        SelfConsistency(3),
        ScriptedEngine(varied),
        concurrency=3,
        trace=events.append,
    )
    return events


EVENTS = events_of(12)


@given(
    segment=st.integers(1, 20_000),
    cut=st.integers(0, len(EVENTS)),
    finished=st.booleans(),
)
def test_what_is_not_finished_is_read_back_and_files_go_with_their_questions(
    segment: int, cut: int, finished: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, done = tmp_path_factory.mktemp("state"), set[int]()
    trace = WorkTrace(folder, segment=segment)
    for event in EVENTS[:cut]:
        trace(event)
        if finished and isinstance(event, Ended):
            trace.finish(event.question_id)
            done.add(hash(event.question_id))
    trace.close()
    expected = read_histories(
        event
        for event in EVENTS[:cut]
        if hash(event.question_id) not in done and not isinstance(event, Ended)
    )
    histories = WorkTrace(folder, segment=segment).read(done)
    assert histories.keys() == expected.keys()
    assert [history.spent for history in histories.values()] == [
        history.spent for history in expected.values()
    ]
    if finished and cut == len(EVENTS):
        assert list(folder.iterdir()) == []


def test_a_trace_takes_no_more_room_than_the_questions_that_are_open(
    tmp_path: Path,
) -> None:
    trace, largest = WorkTrace(tmp_path, segment=4000), 0
    for round_ in range(20):
        for event in EVENTS:
            trace(
                event.model_copy(
                    update={"question_id": f"{round_}-{event.question_id}"}
                )
            )
            if isinstance(event, Ended):
                trace.finish(f"{round_}-{event.question_id}")
        largest = max(largest, sum(path.stat().st_size for path in tmp_path.iterdir()))
    trace.close()
    # Three are open at once.
    assert largest < 3 * 4000


@pytest.mark.parametrize(("text", "drawn"), [("How many?", 0), ("How few?", 3)])
def test_a_question_that_changed_before_it_was_answered_is_asked_from_its_beginning(
    text: str, drawn: int
) -> None:
    events: list[Event] = []
    before, now = (
        Question.of("How many?", space="number", id="q"),
        Question.of(text, space="number", id="q"),
    )
    solve_many_sync(
        [before], SelfConsistency(2), ScriptedEngine(varied), trace=events.append
    )
    cut = [event for event in events if not isinstance(event, Ended)]
    done = EarlierSessions(
        histories=read_histories([*cut, Cancelled(question_id="q", t=9, op=3)])
    )
    asked: list[SampleRequest] = []

    def script(request: SampleRequest) -> str:
        asked.append(request)
        return varied(request)

    async def answered() -> list[AnswerLine]:
        options: dict[str, Any] = {
            "strategy": SelfConsistency(3),
            "engine": ScriptedEngine(script),
        }
        return [
            line
            async for line in answer_rows(
                iter([InputRow(1, "q", {}, now)]), done, None, length=1, **options
            )
        ]

    [line] = asyncio.run(answered())
    # What it cost before counts all the same.
    assert (len(asked), line.cost.samples) == (drawn, 2 + drawn)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "invalid JSON"),
        (b"[]", "it must be"),
        (
            b'{"settings": {"--seed": 1}}',
            "settings.--seed: it must be text",
        ),
        (
            b'{"settings": {}, "dropped": {"samples": "many"}}',
            "dropped.samples: it must be a whole number",
        ),
    ],
)
def test_a_damaged_state_is_an_error_in_one_line(
    content: bytes, why: str, tmp_path: Path
) -> None:
    folder = BatchFolder(tmp_path / "a.jsonl")
    folder.path.mkdir()
    folder.state.write_bytes(content)
    with pytest.raises(
        TraceError,
        match=rf"^[^\n]* is not a state of a batch: {why}[^\n]*: start again with --overwrite$",
    ):
        folder.check({})
