"""Labelled runs: what is drawn, what is graded, and that no grade depends on what guides."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from reasoner import Question
from reasoner.answers.equivalence import Equivalence
from reasoner.engines.simulated import SimulatedEngine
from reasoner.trace.events import read_trace
from reasoner.trace.replies import STATUSES, TRACE, read_run
from reasoner.types import Completion, FinishReason
from reasoner_evals.tasks.graders import GradedQuestion
from reasoner_strategies import BestOfN, SelfConsistency
from tests.helpers import Judge, completion, number_question
from tests.labelling import grade, label


def graded(item: GradedQuestion, drawn: Completion) -> str:
    return asyncio.run(grade(item, drawn, Equivalence()))


@pytest.mark.parametrize(
    ("text", "finish", "status"),
    [
        ("The answer is 0.5", "stop", "right"),
        ("The answer is 1/2", "stop", "right"),
        ("The answer is 2", "stop", "wrong"),
        ("No idea", "stop", "no_answer"),
        ("The answer is 0.5", "length", "truncated"),
        ("<think>it is 0.5", "stop", "no_answer"),
    ],
)
def test_each_outcome_has_a_status_of_its_own(text: str, finish: FinishReason, status: str) -> None:
    item = GradedQuestion(Question.of("How many?", space="number", id="q"), "1/2")
    assert graded(item, completion(text, finish=finish)) == status
    assert status in STATUSES


def items(*golds: str) -> list[GradedQuestion]:
    return [GradedQuestion(number_question(f"q{place}"), gold) for place, gold in enumerate(golds)]


def drawn_into(folder: Path, golds: Sequence[str], strategy: Any = None) -> None:
    engine = SimulatedEngine(answers=("7", "8"), tokens=5)
    asyncio.run(label(items(*golds), strategy or SelfConsistency(6), engine, folder, verifier=Judge()))


def test_reference_answers_change_grades_and_nothing_else(tmp_path: Path) -> None:
    """Shuffled and absurd references leave the course of a run, its ratings and its answers as they were."""
    search_trees = []
    for name, golds in (("a", ["7", "8"]), ("b", ["8", "7"]), ("c", ["-1", "-1"])):
        drawn_into(tmp_path / name, golds, BestOfN(4))
        events = [asdict(event) for event in read_trace(tmp_path / name / TRACE)]
        for event in events:
            del event["t"]
            if "cost" in event:
                event["cost"].pop("seconds", None)
        search_trees.append(events)
    assert search_trees[0] == search_trees[1] == search_trees[2]
    assert [len({g.status for g in read_run(tmp_path / n).grades.values()}) for n in "abc"] == [2, 2, 1]
