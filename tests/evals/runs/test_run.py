"""Evaluations that are run, killed and resumed: nothing is lost, run twice or made up."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from reasoner.engine import SampleRequest
from reasoner.errors import RequestLost, TraceError
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge, turns, varied
from reasoner.trace.events import Sampled, Scored
from reasoner.trace.history import in_order
from reasoner_evals.runs.records import RunFolder, read_journal
from reasoner_evals.runs.run import evaluate
from reasoner_evals.runs.verdicts import read_verdicts
from tests.evals.runs.sittings import (
    STRATEGIES,
    TASK,
    Seen,
    begin,
    data,
    events,
    killed_in_a_child,
    manifest,
    plain_engine,
    results,
    sit,
    some_moments,
)
from tests.helpers import largest_file
from tests.sweeps import cases

ALL = list(STRATEGIES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all arms that nothing came between."""
    folder = tmp_path_factory.mktemp("whole")
    sit(folder, ALL)
    return folder


def same_answers(folder: Path, whole: Path, names: list[str]) -> bool:
    """Whether each question has the same answer, however many samples were wasted."""
    kept = ("answer", "key", "share", "status")
    one, other = (
        {
            place: [record[name] for name in kept]
            for place, record in results(path, names).items()
        }
        for path in (folder, whole)
    )
    return one == other


def test_a_run_holds_a_record_a_question_and_a_grade_an_answer(tmp_path: Path) -> None:
    seen = sit(tmp_path, ["vote", "best"])
    assert seen.started == [("vote", 6, 0), ("best", 6, 0)]
    assert seen.finished == ["vote", "best"]
    rated = sum(isinstance(event, Scored) for event in events(tmp_path, "best"))
    assert rated > 0
    assert seen.checks == {"vote": 6 * 6, "best": 6 * 6 + rated}
    for name in ("vote", "best"):
        records = list(read_journal(RunFolder(tmp_path).arm(name)))
        assert sorted(record.question_id for record in records) == [
            f"q{n}" for n in range(6)
        ]
        for record in records:
            assert [reply.index for reply in record.pool] == list(range(6))
            assert (
                sum(reply.generated_tokens for reply in record.pool)
                == record.cost.generated_tokens
            )
            assert (
                sum(reply.prompt_tokens for reply in record.pool)
                == record.cost.prompt_tokens
            )
            assert (
                sum(reply.verifier_tokens for reply in record.pool)
                == record.cost.verifier_tokens
            )
            assert all(
                (reply.score is not None) == (name == "best")
                for reply in record.pool
                if reply.status == "read"
            )
    verdicts = list(read_verdicts(RunFolder(tmp_path).verdicts))
    assert {(one.answer, one.status) for one in verdicts} <= {
        ("7", "right"),
        ("8", "wrong"),
        ("9", "wrong"),
    }
    assert max(Counter((one.question_id, one.answer) for one in verdicts).values()) == 1
    told = {(name, question): outcome for name, question, outcome in seen.done}
    known = {(one.question_id, one.answer): one.status for one in verdicts}
    for name in ("vote", "best"):
        for record in read_journal(RunFolder(tmp_path).arm(name)):
            assert (
                told[name, record.question_id]
                == known[record.question_id, record.answer]
            )


def test_a_finished_run_that_is_started_again_asks_nothing(tmp_path: Path) -> None:
    first = sit(tmp_path, ALL)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")}
    engine = plain_engine()
    again = sit(tmp_path, ALL, engine=engine)
    assert engine.usage == []
    assert again.checks == {}
    assert sorted(again.done) == sorted(first.done)
    assert again.started == [(name, 6, 6) for name in ALL]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")} == before


@pytest.mark.process
# The last of the thin ones cuts a pool while it is copied from the arm that drew it.
@cases(
    "moment",
    some_moments(600, 40),
    thin=[*some_moments(600, 40)[:3], some_moments(600, 40)[29]],
)
def test_killed_at_any_line_it_continues_as_if_it_had_not_been(
    moment: tuple[int, int], whole: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    assert killed_in_a_child(lambda: sit(cut, ALL), lines=moment[0], part=moment[1])
    killed_in_a_child(lambda: sit(cut, ALL), lines=moment[0] // 3, part=moment[1])
    sit(cut, ALL)
    assert results(cut, ALL) == results(whole, ALL)
    assert list_of_verdicts(cut) == list_of_verdicts(whole)
    for name in ALL:
        drawn = Counter(
            (e.question_id, e.prompt, e.index)
            for e in events(cut, name)
            if isinstance(e, Sampled)
        )
        assert max(drawn.values()) == 1
        assert drawn == Counter(
            (e.question_id, e.prompt, e.index)
            for e in events(whole, name)
            if isinstance(e, Sampled)
        )


def test_two_sessions_may_start_a_question_in_the_same_microsecond(whole: Path) -> None:
    written = [event for event in events(whole, "vote") if event.question_id == "q0"]
    assert (
        len(list(in_order([written[0], *written], "trace", advice="")))
        == len(written) + 1
    )
    with pytest.raises(TraceError, match="a line is there twice"):
        list(in_order([written[0], written[1], *written[1:]], "trace", advice=""))


def list_of_verdicts(folder: Path) -> list[tuple[str, str, str]]:
    return sorted(
        (one.question_id, one.answer, one.status)
        for one in read_verdicts(RunFolder(folder).verdicts)
    )


def test_interrupted_it_continues_and_no_interruption_is_a_result(
    whole: Path, tmp_path: Path
) -> None:
    async def interrupted(moment: int) -> None:
        run = evaluate(
            RunFolder(tmp_path),
            manifest(ALL, 6),
            {TASK: data(6)},
            plain_engine(),
            Judge(),
            Seen(),
        )
        work = asyncio.ensure_future(run)
        await turns(moment)
        work.cancel()
        await asyncio.wait([work])

    for moment in range(5, 60, 7):
        asyncio.run(interrupted(moment))
    sit(tmp_path, ALL)
    assert same_answers(tmp_path, whole, ALL)
    # What was cut and drawn again was spent, but is no cost of the strategy.
    records = [
        {
            (name, record.question_id): record
            for name in ALL
            for record in read_journal(RunFolder(folder).arm(name))
        }
        for folder in (tmp_path, whole)
    ]
    cut, uncut = (
        {key: record.strategy_cost.taking(0) for key, record in each.items()}
        for each in records
    )
    assert cut == uncut
    assert any(record.redrawn.tokens for record in records[0].values())
    assert not any(record.redrawn.tokens for record in records[1].values())
    assert not any(
        record.status == "error"
        for name in ALL
        for record in read_journal(RunFolder(tmp_path).arm(name))
    )


def test_a_full_disk_ends_the_run_and_with_room_it_continues(
    whole: Path, tmp_path: Path
) -> None:
    with largest_file(30_000), pytest.raises(TraceError, match="File too large"):
        sit(tmp_path, ALL)
    sit(tmp_path, ALL)
    assert same_answers(tmp_path, whole, ALL)


def test_one_question_that_fails_is_tried_again_and_never_counts_as_wrong(
    tmp_path: Path,
) -> None:
    broken = True

    async def moody(request: SampleRequest) -> None:
        if request.question_id == "q3" and broken:
            raise RequestLost("the connection broke")

    seen = sit(tmp_path, ["vote"], engine=ScriptedEngine(varied, pause=moody))
    assert [outcome for _, question, outcome in seen.done if question == "q3"] == [
        "error"
    ]
    assert len(seen.done) == 6
    attempts = [
        record.attempt
        for record in read_journal(RunFolder(tmp_path).arm("vote"))
        if record.status == "error"
    ]
    assert attempts == [1]
    broken = False
    again = sit(tmp_path, ["vote"], engine=ScriptedEngine(varied, pause=moody))
    assert again.started == [("vote", 6, 5)]
    assert [outcome for _, question, outcome in again.done if question == "q3"] in (
        ["right"],
        ["wrong"],
    )
    last = [
        record
        for record in read_journal(RunFolder(tmp_path).arm("vote"))
        if record.question_id == "q3"
    ][-1]
    assert (last.status, last.attempt) == ("answered", 2)


def test_arms_that_select_from_the_same_samples_share_one_pool_and_each_pays_for_it(
    tmp_path: Path,
) -> None:
    engine = plain_engine()
    sit(tmp_path / "both", ["vote", "best"], engine=engine)
    assert len(engine.usage) == 36
    sit(tmp_path / "best", ["best"])
    assert results(tmp_path / "both", ["best"]) == results(tmp_path / "best", ["best"])
    assert [e for e in map(named, events(tmp_path / "both", "best")) if e] == [
        e for e in map(named, events(tmp_path / "best", "best")) if e
    ]
    apart = plain_engine()
    sit(tmp_path / "apart", ["vote", "adaptive"], engine=apart)
    assert len(apart.usage) > 36


def test_a_run_reuses_the_samples_of_another_and_draws_only_what_that_lacks(
    tmp_path: Path,
) -> None:
    first = RunFolder(tmp_path / "first")
    sit(first.path, ["vote"], 4)
    begin(first, manifest(["vote"], 4), {TASK: data(4)})
    engine = plain_engine()
    sit(tmp_path / "more", ["best", "one"], engine=engine, reuse=tmp_path / "first")
    sit(tmp_path / "fresh", ["best", "one"])
    assert len(engine.usage) == (6 - 4) * 6
    assert results(tmp_path / "more", ["best", "one"]) == results(
        tmp_path / "fresh", ["best", "one"]
    )


def named(event: object) -> tuple[str, str, int] | None:
    return (
        (event.question_id, event.prompt, event.index)
        if isinstance(event, Sampled)
        else None
    )
