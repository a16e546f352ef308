"""Runs read back: which lines count, what has no verdict, and how little memory samples take."""

import gc
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from reasoner.answers.asking import COPIED, PROBED
from reasoner.answers.reading import RULES
from reasoner.errors import TraceError, UnknownName
from reasoner_evals.runs.reading import (
    OUTCOMES,
    RIGHT,
    STATED,
    UNFINISHED,
    UNKNOWN,
    open_run,
    read_arm,
    stated_code,
)
from reasoner_evals.runs.records import (
    ArmFolder,
    GradedAnswer,
    ItemRecord,
    RunFolder,
    counted_records,
)
from tests.evals.fabricated import (
    GREEDY,
    TASK,
    VOTE,
    Fake,
    fabricate,
    gold,
    question_id,
    record,
)
from tests.sweeps import widths

ARM = VOTE.folder


def arm_of(run: Path) -> ArmFolder:
    return RunFolder(run).arm(ARM)


def journal(run: Path) -> Path:
    return arm_of(run).journal


def append(run: Path, *lines: str) -> None:
    with journal(run).open("a", encoding="utf-8") as file:
        file.writelines(lines)


def test_a_run_is_joined_with_its_verdicts(tmp_path: Path) -> None:
    run = open_run(fabricate(tmp_path / "run", [VOTE], questions=7))
    data = read_arm(run, ARM)
    for row in range(7):
        written = record(VOTE, row)
        assert (data.outcome[row] == RIGHT) == (written.answer == gold(row))
        assert data.tokens[row] == written.cost.tokens
        replies = data.replies.rows.of(row)
        assert [code == RIGHT for code in data.replies.outcome[replies]] == [
            r.answer == gold(row) for r in written.pool
        ]
        assert len(set(data.replies.classes[replies].tolist())) == len(
            {r.key for r in written.pool}
        )


def test_an_arm_that_is_not_done_leaves_its_questions_open_and_a_incomplete_last_line_is_not_there(
    tmp_path: Path,
) -> None:
    path = fabricate(
        tmp_path / "run", [Fake(pool=8, rule="majority", finished=2)], questions=4
    )
    append(path, record(VOTE, 2).model_dump_json()[:-40])
    assert read_arm(open_run(path), ARM).finished.tolist() == [True, True, False, False]
    journal(path).unlink()
    assert read_arm(open_run(path), ARM).outcome.tolist() == [UNFINISHED] * 4
    assert list(counted_records(arm_of(path))) == []
    with pytest.raises(UnknownName, match=ARM.partition(".")[0]):
        read_arm(open_run(path), "nothing")
    with pytest.raises(TraceError, match="give the folder of a run"):
        open_run(tmp_path / "none")


WHOLE = record(VOTE, 1)
ODD = (10**3999, -1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"v":2,"status":"odd"}', r"journal\.jsonl:2 is not a line of the journal"),
        (record(VOTE, 5), "q000005"),
        *(
            (
                WHOLE.model_copy(update={field: value}),
                r"journal\.jsonl:2 is not a line of the journal: .*makes the journal again",
            )
            for count in ODD
            for field, value in (
                ("cost", replace(WHOLE.cost, generated_tokens=count)),
                (
                    "pool",
                    (
                        WHOLE.pool[0].model_copy(update={"cached_tokens": count}),
                        *WHOLE.pool[1:],
                    ),
                ),
            )
        ),
    ],
)
def test_a_line_that_is_no_record_of_the_run_is_refused(
    tmp_path: Path, line: ItemRecord | str, message: str
) -> None:
    path = fabricate(
        tmp_path / "run", [Fake(pool=8, rule="majority", finished=1)], questions=3
    )
    append(
        path,
        line if isinstance(line, str) else line.model_dump_json(),
        "\n",
        record(VOTE, 2).model_dump_json(),
        "\n",
    )
    with pytest.raises(TraceError, match=message):
        read_arm(open_run(path), ARM)


def test_an_error_is_replaced_by_the_next_line_on_its_question(tmp_path: Path) -> None:
    path = fabricate(
        tmp_path / "run", [Fake(pool=8, rule="majority", errors=2)], questions=3
    )
    append(path, record(VOTE, 0).model_dump_json() + "\n")
    run = open_run(path)
    data = read_arm(run, ARM)
    assert OUTCOMES[data.outcome[0]] in ("right", "wrong")
    assert OUTCOMES[data.outcome[1]] == "error"
    assert data.tokens[0] == record(VOTE, 0).cost.tokens
    assert sorted(one.status for one in counted_records(arm_of(path))) == sorted(
        [record(VOTE, 0).status, "error", record(VOTE, 2).status]
    )
    assert list(counted_records(arm_of(path), {question_id(0)})) == [record(VOTE, 0)]


def test_the_last_verdict_on_an_answer_holds(tmp_path: Path) -> None:
    path = fabricate(tmp_path / "run", [GREEDY], questions=5)
    before = read_arm(open_run(path), GREEDY.folder).outcome
    with RunFolder(path).verdicts.open("a", encoding="utf-8") as file:
        for number in range(5):
            again = GradedAnswer(
                task=TASK,
                question_id=question_id(number),
                answer=gold(number),
                status="wrong",
                grader="x@2",
            )
            file.write(again.model_dump_json() + "\n")
    assert (before == RIGHT).any()
    run = open_run(path)
    assert not (read_arm(run, GREEDY.folder).outcome == RIGHT).any()
    assert run.verdicts.graders == {"reference@1", "x@2"}


def test_a_stated_answer_is_told_from_one_of_a_probe() -> None:
    assert {*RULES, "given"} == STATED
    for rule, code in {
        "form": 1,
        PROBED: 0,
        COPIED: 0,
        "my_plugins_rule": 0,
        "": UNKNOWN,
    }.items():
        assert stated_code(rule) == code


def peak_of_reading(path: Path, questions: int) -> int:
    """Bytes at the peak of reading a run with 16 samples a question, each as long as real ones are."""
    arm = Fake(pool=16, rule="majority", finished=0)
    run = fabricate(path, [arm], questions=questions, graded=False)
    line = record(arm, 0).model_copy(update={"reason": "x" * 2000}).model_dump_json()
    verdict = GradedAnswer(
        task=TASK,
        question_id=question_id(0),
        answer=gold(0),
        status="right",
        grader="reference@1",
    )
    for file, text in (
        (journal(run), line),
        (RunFolder(run).verdicts, verdict.model_dump_json()),
    ):
        with file.open("w", encoding="utf-8") as opened:
            opened.writelines(
                text.replace(question_id(0), question_id(number)) + "\n"
                for number in range(questions)
            )
    gc.collect()
    tracemalloc.start()
    try:
        assert read_arm(open_run(run), ARM).finished.all()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@widths("large", 2_000, 50_000)
def test_many_samples_take_a_few_bytes_each(large: int, tmp_path: Path) -> None:
    small = 1_000
    grown = peak_of_reading(tmp_path / "large", large) - peak_of_reading(
        tmp_path / "small", small
    )
    # Their texts are 250 bytes a sample on the disk. Ids and digests of the questions are in these bytes as well.
    assert grown / (16 * (large - small)) < 110
