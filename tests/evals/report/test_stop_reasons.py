"""What ended questions, by strategy and by question; and confidences beside accuracies."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reasoner_evals.report.build import make_report
from reasoner_evals.report.content import EvalReport
from reasoner_evals.report.page import to_markdown
from reasoner_evals.report.table import STOP_REASONS
from tests.evals.fabricated import GREEDY, VOTE, Fake, Law, fabricate, gold, record

STOPS = Fake("stopping:n=7", replies=7, ends=("rule", "price", "budget", "strategy"))
EASY, HARD = Law(a=8.0, b=2.0), Law(a=3.0, b=3.0)
TRUE = Fake("auto", law=HARD, sure=HARD)
FALSE = dataclasses.replace(TRUE, sure=EASY)


def reported(path: Path, *arms: Fake, questions: int = 60) -> EvalReport:
    return make_report([fabricate(path / "run", arms, questions=questions)])


def ended(report: EvalReport) -> list[Any]:
    """The points of the first task with what ended their questions."""
    return [row for row in report.tasks[0].points.itertuples() if row.ended]


def test_what_ended_the_questions_of_a_strategy_is_counted_over_its_records(
    tmp_path: Path,
) -> None:
    seeds = [STOPS, dataclasses.replace(STOPS, seed=1)]
    report = reported(tmp_path, GREEDY, VOTE, *seeds)
    # A pool is not run at its sizes, and so nothing ended it there.
    greedy, found = ended(report)
    assert [greedy.key.rpartition("|")[2], found.key.rpartition("|")[2]] == [
        "single",
        "stopping:n=7",
    ]
    records = [record(arm, row) for arm in seeds for row in range(60)]
    assert found.ended == len(records)
    for reason in STOP_REASONS:
        own = [one for one in records if one.ended_by == reason]
        assert getattr(found, f"ended_by_{reason}") == len(own) / len(records) == 0.25
        assert getattr(found, f"tokens_by_{reason}") == pytest.approx(
            np.mean([one.cost.tokens for one in own])
        )
    samples = [one.cost.samples for one in records]
    assert set(samples) == {4, 5, 6, 7}
    assert (found.samples, found.samples_p95) == (
        float(np.mean(samples)),
        float(np.percentile(samples, 95)),
    )
    assert (
        found.confidence_questions,
        found.confidence,
        found.confidence_accuracy,
    ) == (0, None, None)
    for reason in STOP_REASONS[:3]:
        assert (
            getattr(greedy, f"ended_by_{reason}"),
            getattr(greedy, f"tokens_by_{reason}"),
        ) == (0.0, None)


def test_an_error_ended_nothing_and_only_what_was_stopped_is_shown(
    tmp_path: Path,
) -> None:
    [found] = ended(reported(tmp_path, dataclasses.replace(STOPS, errors=3)))
    assert found.ended == 57
    plain = reported(tmp_path / "plain", GREEDY, VOTE, Fake("beam_search", replies=3))
    stopped = reported(
        tmp_path / "b",
        dataclasses.replace(GREEDY, ends=("strategy", "budget")),
        questions=12,
    )
    assert ended(plain) == []
    assert [
        "What ended the questions" in to_markdown(report) for report in (plain, stopped)
    ] == [False, True]


def test_confidences_stand_beside_the_accuracy_of_their_answers(tmp_path: Path) -> None:
    report = reported(tmp_path, GREEDY, FALSE)
    [row] = (row for row in ended(report) if row.confidence_questions)
    records = [record(FALSE, row) for row in range(60)]
    assert row.confidence_questions == 60
    assert row.confidence == pytest.approx(np.mean([one.confidence for one in records]))
    assert row.confidence_accuracy == np.mean(
        [one.answer == gold(number) for number, one in enumerate(records)]
    )
