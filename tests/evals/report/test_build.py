"""Reports from run folders: diagnoses, cases, and what may not be shown."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from reasoner.errors import UsageError
from reasoner_evals.report.build import _labels, make_report, points_csv
from reasoner_evals.report.diagnostics import verifiers
from reasoner_evals.report.figures import report_figures
from reasoner_evals.report.page import page, to_markdown
from reasoner_evals.report.table import CSV_COLUMNS
from tests.evals.fabricated import (
    BEST,
    GREEDY,
    SMALL,
    VOTE,
    Fake,
    Law,
    fabricate,
    gold,
    question_id,
    record,
)
from tests.evals.report.conftest import ARMS, SEARCH, SURE, Made
from tests.evals.report.contents import measured


def test_a_verifier_that_rates_right_replies_higher_is_seen(tmp_path: Path) -> None:
    for apart, better in ((0.6, True), (0.0, False)):
        arm = Fake(
            "best_of_n",
            pool=8,
            rule="best",
            verifier="orm",
            law=Law(scored_apart=apart),
        )
        (found,) = verifiers(
            *measured(fabricate(tmp_path / str(apart), [arm], questions=60))
        )
        assert found.replies == sum(
            one.status == "read" for row in range(60) for one in record(arm, row).pool
        )
        assert found.within is not None
        assert found.within.low is not None
        assert (found.within.low > 0.8) == better
        assert (found.top.value > found.chance.value + 0.1) == better


def test_cases_are_failures_of_their_kind_and_no_question_comes_twice(
    made: Made,
) -> None:
    failures = made.task.failures
    assert 0 < len(failures) <= 12
    assert len({one.record.question_id for one in failures}) == len(failures)
    rows = {question_id(row): row for row in range(60)}
    for one in failures:
        row = rows[one.record.question_id]
        assert one.outcome != "right"
        assert one.item is not None
        assert one.item.gold == gold(row)
        assert one.record.answer != one.item.gold
        arm = next(
            arm
            for arm in (VOTE, BEST, SEARCH, SURE)
            if arm.folder == one.trace.parent.name
        )
        if one.kind == "backfired":
            assert record(GREEDY, row).answer == gold(row)
        if one.kind == "missed":
            assert gold(row) in {reply.answer for reply in record(arm, row).pool}
        if one.kind == "overconfident":
            assert one.record.share >= 0.8


@pytest.mark.parametrize("shareable", [True, False])
def test_what_may_not_be_shown_is_in_no_report(tmp_path: Path, shareable: bool) -> None:
    law = Law(no_answer=0.2)
    arms = [Fake("single", law=law), Fake("beam_search", replies=4, law=law)]
    report = make_report(
        [fabricate(tmp_path / "run", arms, questions=40, shareable=shareable)],
        hide_questions=shareable,
    )
    assert report.tasks[0].failures
    assert not any(one.item for one in report.tasks[0].failures)
    for written in (repr(report), to_markdown(report), points_csv(report)):
        assert "What is" not in written
        assert not re.search(
            r"(?<![\d.])70[0-3]\d\d?(?!\d)", written
        )  # a reference answer, or a wrong one


@pytest.mark.parametrize("finished", [0, 1, 9])
def test_an_unfinished_arm_is_in_no_result_and_the_first_line_says_so(
    finished: int, tmp_path: Path
) -> None:
    other = dataclasses.replace(VOTE, finished=finished)
    whole = make_report([fabricate(tmp_path / "whole", [GREEDY], questions=10)]).tasks[
        0
    ]
    part = make_report([fabricate(tmp_path / "part", [GREEDY, other], questions=10)])
    [task] = part.tasks
    told = f"vote of 8 has {finished} of 10 questions; continue with `reasoner eval --resume {tmp_path / 'part'}`"
    assert part.unfinished == (told,)
    assert (task.verdict, task.failures) == (whole.verdict, whole.failures)
    assert task.points.equals(whole.points)
    html = page(part, report_figures(part.tasks))
    assert html.index(f"<b>Unfinished.</b> {told}") < html.index(task.verdict.sentence)
    assert to_markdown(part).index("**Unfinished:**") < to_markdown(part).index(
        task.verdict.sentence
    )


RUNS: dict[str, tuple[list[Fake], dict[str, Any]]] = {
    "run": ([GREEDY, VOTE], {}),
    "other": ([GREEDY], {"edition": "!"}),
    "again": ([VOTE], {}),
    "revised": (
        [dataclasses.replace(VOTE, seed=1)],
        {"model": dataclasses.replace(SMALL, revision="b")},
    ),
}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("run", "other"), "6 of 6 differ"),
        (("run", "run"), "given twice"),
        ((), "no run is given"),
        (("run", "again"), "same strategy with the same seed"),
        (("run", "revised"), "different models that are both called small-135m"),
    ],
)
def test_runs_that_cannot_be_reported_together_are_refused(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    for name in set(names):
        arms, options = RUNS[name]
        fabricate(tmp_path / name, arms, questions=6, **options)
    with pytest.raises(UsageError, match=message):
        make_report([tmp_path / name for name in names])


def test_a_report_does_not_depend_on_the_order_of_the_journal(
    tmp_path: Path, made: Made
) -> None:
    path = fabricate(
        tmp_path / "run", ARMS, questions=60, prices={"prompt": 1.0, "generated": 3.0}
    )
    for journal in path.glob("arms/*/journal.jsonl"):
        journal.write_text(
            "".join(reversed(journal.read_text().splitlines(keepends=True)))
        )
    known = [name for name in CSV_COLUMNS if name != "deltas"]
    assert make_report([path]).tasks[0].points[known].equals(made.task.points[known])


def test_a_task_of_a_file_has_the_name_of_the_file_and_no_two_have_one() -> None:
    names = {
        "jsonl:path=/a/mine.csv": "mine",
        "jsonl:path=/a/twice.csv": "jsonl:path=twice.csv",
        "pool:path=/b/twice.jsonl": "pool:path=twice.jsonl",
        "humaneval:path=/a/even.jsonl": "humaneval (even)",
        "pool:path=/a/gsm8k-1.5b.jsonl.gz": "gsm8k-1.5b",
        "gsm8k:split=train": "gsm8k:split=train",
    }
    assert _labels(list(names)) == names
