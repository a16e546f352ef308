"""What ended questions, by strategy and by question; and the warning that confidences do not hold."""

import csv
import dataclasses
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reasoner_evals.report.build import make_report, points_csv, questions_csv
from reasoner_evals.report.content import Report
from reasoner_evals.report.data.table import STOP_REASONS
from reasoner_evals.report.page import page, to_markdown, views
from reasoner_evals.runs.folder import RunFolder
from reasoner_evals.runs.records import ItemRecord
from tests.evals.fabricated import GREEDY, VOTE, Fake, Law, fabricate, gold, record
from tests.evals.report.pages import parsed
from tests.sweeps import widths

STOPS = Fake("stopping:n=7", replies=7, ends=("rule", "price", "budget", "strategy"))
EASY, HARD = Law(a=8.0, b=2.0), Law(a=3.0, b=3.0)
TRUE = Fake("auto", law=HARD, sure=HARD)
FALSE = dataclasses.replace(TRUE, sure=EASY)


def reported(path: Path, *arms: Fake, questions: int = 60) -> Report:
    return make_report([fabricate(path / "run", arms, questions=questions)])


def ended(report: Report) -> list[Any]:
    """The points of the first task with what ended their questions."""
    return [row for row in report.tasks[0].points.itertuples() if row.ended]


def rows_of(report: Report) -> list[dict[str, str]]:
    return list(csv.DictReader(questions_csv(report)))


def test_what_ended_the_questions_of_a_strategy_is_counted_over_its_records(tmp_path: Path) -> None:
    seeds = [STOPS, dataclasses.replace(STOPS, seed=1)]
    report = reported(tmp_path, GREEDY, VOTE, *seeds)
    # A pool is not run at its sizes, and so nothing ended it there.
    greedy, found = ended(report)
    assert [greedy.key.rpartition("|")[2], found.key.rpartition("|")[2]] == ["single", "stopping:n=7"]
    records = [record(arm, row) for arm in seeds for row in range(60)]
    assert found.ended == len(records)
    for reason in STOP_REASONS:
        own = [one for one in records if one.ended_by == reason]
        assert getattr(found, f"ended_by_{reason}") == len(own) / len(records) == 0.25
        assert getattr(found, f"tokens_by_{reason}") == pytest.approx(np.mean([one.cost.tokens for one in own]))
    samples = [one.cost.samples for one in records]
    assert set(samples) == {4, 5, 6, 7}
    assert (found.samples, found.samples_p95) == (float(np.mean(samples)), float(np.percentile(samples, 95)))
    assert found.sample_counts == ((3, 4, 0.25), (5, 8, 0.75))
    assert (found.confidence_questions, found.confidence, found.confidence_accuracy) == (0, None, None)
    for reason in STOP_REASONS[:3]:
        assert (getattr(greedy, f"ended_by_{reason}"), getattr(greedy, f"tokens_by_{reason}")) == (0.0, None)


@pytest.mark.parametrize(
    ("samples", "spans"),
    [((0, 1, 2), ((0, 0), (1, 1), (2, 2))), ((3, 4, 5, 8, 9), ((3, 4), (5, 8), (9, 16))), ((40,), ((33, 64),))],
)
def test_every_number_of_samples_lies_in_one_span(
    tmp_path: Path, samples: tuple[int, ...], spans: tuple[tuple[int, int], ...]
) -> None:
    path = fabricate(tmp_path / "run", [STOPS], questions=len(samples))
    journal = RunFolder(path).arm(STOPS.folder).journal
    lines = [
        one.model_copy(update={"cost": dataclasses.replace(one.cost, samples=drawn)}).model_dump_json()
        for row, drawn in enumerate(samples)
        for one in [record(STOPS, row)]
    ]
    journal.write_text("\n".join(lines) + "\n")
    [found] = ended(make_report([path]))
    assert tuple(part[:2] for part in found.sample_counts) == spans
    assert sum(share for *_, share in found.sample_counts) == pytest.approx(1)


def test_where_all_end_as_they_do_there_is_no_section(tmp_path: Path) -> None:
    report = reported(tmp_path, GREEDY, VOTE, Fake("beam_search", replies=3))
    assert ended(report) == []
    title, question = "What ended the questions", "What ends a question?"
    assert title not in to_markdown(report)
    assert question not in page(report, views(report))
    stopped = reported(tmp_path / "b", dataclasses.replace(GREEDY, ends=("strategy", "budget")), questions=12)
    assert question in page(stopped, views(stopped))
    assert title in to_markdown(stopped)


def test_an_error_and_what_is_not_done_ended_nothing(tmp_path: Path) -> None:
    [found] = ended(reported(tmp_path, dataclasses.replace(STOPS, errors=3, finished=40)))
    assert found.ended == 37
    assert sum(getattr(found, f"ended_by_{reason}") for reason in STOP_REASONS) == pytest.approx(1)


def test_the_tables_hold_what_ended_the_questions(tmp_path: Path) -> None:
    report = reported(tmp_path, TRUE, STOPS, VOTE)
    [sure, stops] = ended(report)
    rows = {row["label"]: row for row in csv.DictReader(points_csv(report))}
    assert float(rows["stopping:n=7"]["ended_by_price"]) == 0.25
    assert float(rows["stopping:n=7"]["tokens_by_rule"]) == stops.tokens_by_rule
    assert float(rows["auto"]["confidence"]) == sure.confidence
    assert float(rows["auto"]["confidence_accuracy"]) == sure.confidence_accuracy
    assert rows["stopping:n=7"]["confidence"] == rows["self_consistency, n=8"]["ended_by_rule"] == ""
    table = [line for line in to_markdown(report).partition("What ended")[2].splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert len({line.count("|") for line in table}) == 1


def test_confidences_from_easy_questions_raise_an_alarm_on_hard_ones(tmp_path: Path) -> None:
    report = reported(tmp_path, GREEDY, FALSE)
    task = report.tasks[0]
    [row] = (row for row in ended(report) if row.confidence_questions)
    records = [record(FALSE, row) for row in range(60)]
    assert row.confidence_questions == 60
    assert row.confidence == pytest.approx(np.mean([one.confidence for one in records]))
    assert row.confidence_accuracy == np.mean([one.answer == gold(number) for number, one in enumerate(records)])
    [warning] = task.warnings
    assert warning.startswith("auto: fewer answers are right than their confidence predicts")
    listed = [line for line in to_markdown(report).splitlines() if line.startswith("- ")]
    assert listed[0].startswith("- **Warning:** auto: fewer")
    shown = parsed(page(report, views(report)))
    marked = [one.text for one in shown.of("p") if one.attributes.get("class") in {"warning", "verdict"}]
    assert marked == [f"Warning. {warning}", task.verdict.sentence]


def test_calibrated_confidences_raise_none_however_often_they_are_looked_at(tmp_path: Path) -> None:
    arms = [dataclasses.replace(TRUE, seed=seed) for seed in range(40)]
    report = reported(tmp_path, *arms)
    assert report.tasks[0].warnings == ()
    assert ended(report)[0].confidence_questions == 40 * 60


def test_of_several_seeds_the_arm_whose_confidence_fails_is_named(tmp_path: Path) -> None:
    arms = [TRUE, dataclasses.replace(FALSE, seed=1)]
    [warning] = reported(tmp_path, *arms, questions=200).tasks[0].warnings
    assert warning.startswith("auto, seed 1: ")


def test_what_has_no_verdict_breaks_no_promise(tmp_path: Path) -> None:
    path = fabricate(tmp_path / "run", [FALSE], questions=60, graded=False)
    assert make_report([path]).tasks[0].warnings == ()


def test_every_finished_question_of_every_arm_has_a_row(tmp_path: Path) -> None:
    arms = [GREEDY, VOTE, dataclasses.replace(STOPS, law=Law(truncated=0.3, no_answer=0.2)), TRUE]
    rows = rows_of(reported(tmp_path, *arms))
    assert [row["arm"] for row in rows] == [arm.folder for arm in arms for _ in range(60)]
    for row, (arm, number) in zip(rows, [(arm, number) for arm in arms for number in range(60)], strict=True):
        one = record(arm, number)
        outcome = ("right" if one.answer == gold(number) else "wrong") if one.answer else one.status
        assert list(row.values()) == [
            "run",
            arm.folder,
            one.question_id,
            outcome,
            str(one.cost.samples),
            str(one.cost.tokens),
            one.ended_by,
            one.reason,
            str(one.share),
            "" if one.confidence is None else str(one.confidence),
        ]


def changed(path: Path, arm: Fake, number: int, **fields: str) -> ItemRecord:
    """A further line on a question in its arm's journal."""
    line = record(arm, number).model_copy(update=fields)
    with RunFolder(path).arm(arm.folder).journal.open("a", encoding="utf-8") as file:
        file.write(line.model_dump_json() + "\n")
    return line


def test_an_error_that_was_tried_again_has_one_row_and_no_reason_is_a_formula(tmp_path: Path) -> None:
    arm = dataclasses.replace(GREEDY, errors=2)
    path = fabricate(tmp_path / "run", [arm], questions=4)
    changed(path, GREEDY, 0, reason='=HYPERLINK(1),\n"x"')
    changed(path, GREEDY, 3, reason="not the first")
    rows = rows_of(make_report([path]))
    assert sorted((row["question_id"][-1], row["ended_by"], row["reason"]) for row in rows) == [
        ("0", "strategy", '\'=HYPERLINK(1), "x"'),
        ("1", "error", "done"),
        ("2", "strategy", "by strategy"),
        ("3", "strategy", "by strategy"),
    ]


def test_the_rows_of_several_runs_are_one_table(tmp_path: Path) -> None:
    paths = [fabricate(tmp_path / name, [dataclasses.replace(GREEDY, seed=place)], questions=3)
             for place, name in enumerate(("one", "other"))]  # fmt: skip
    rows = rows_of(make_report(paths))
    assert [row["run"] for row in rows] == ["one"] * 3 + ["other"] * 3


def peak_of_rows(path: Path, questions: int) -> int:
    fabricate(path, [Fake()], questions=questions)
    report = make_report([path])
    tracemalloc.start()
    try:
        assert sum(1 for _ in questions_csv(report)) == questions + 1
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@widths("more", 1_000, 20_000)
def test_rows_are_not_held_in_memory(more: int, tmp_path: Path) -> None:
    grown = peak_of_rows(tmp_path / "large", 500 + more) - peak_of_rows(tmp_path / "small", 500)
    # The ids of the questions, their digests and those of ten verdicts each, and which lines count; not the lines.
    assert grown / more < 1_000
