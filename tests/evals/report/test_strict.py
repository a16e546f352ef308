"""Strict accuracy: what would have been right had only answers in a stated form been answers."""

import csv
import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reasoner_evals.report.build import make_report
from reasoner_evals.report.data.comparisons import groups_of
from reasoner_evals.report.data.measures import ArmRead, measure
from reasoner_evals.report.data.table import points_table
from reasoner_evals.report.html.page import page, views
from reasoner_evals.report.text import points_csv, to_markdown
from reasoner_evals.runs.export import export
from reasoner_evals.runs.reading import open_run, read_arm
from reasoner_evals.runs.records import Reply
from tests.evals.fabricated import GREEDY, TASK, VOTE, Fake, Law, fabricate, gold, record

LAW = Law(fallback=0.5, no_answer=0.1)
SINGLE = Fake("single", law=LAW)
VOTES = Fake("self_consistency", pool=4, rule="majority", law=LAW)
RATED = Fake("best_of_n", pool=4, rule="best", verifier="orm", law=LAW)
WEIGHED = Fake("best_of_n:selector=weighted", pool=4, rule="weighted", verifier="orm", law=LAW)


def rows(path: Path) -> dict[str, Any]:
    run = open_run(path)
    arms = [ArmRead(run, read_arm(run, arm.name)) for arm in run.manifest.arms]
    table = points_table(list(measure(arms, several_models=False)), groups_of(run.tasks[TASK]))
    return {row.label: row for row in table.itertuples()}


def vote(answer: str, weights: Sequence[tuple[str, float]]) -> float:
    """How often `answer` wins where ties are drawn for."""
    totals: dict[str, float] = {}
    for said, weight in weights:
        totals[said] = totals.get(said, 0.0) + weight
    best = [said for said, total in totals.items() if total >= max(totals.values()) - 1e-9]
    return (answer in best) / len(best) if best else 0.0


def majority(answer: str, drawn: Sequence[Reply]) -> float:
    return vote(answer, [(one.answer, 1.0) for one in drawn])


def weighted(answer: str, drawn: Sequence[Reply]) -> float:
    return vote(answer, [(one.answer, one.score or 0.0) for one in drawn])


def best(answer: str, drawn: Sequence[Reply]) -> float:
    return float(max(drawn, key=lambda one: one.score or 0.0).answer == answer) if drawn else 0.0


@pytest.mark.parametrize(
    ("arm", "select"), [(VOTES, majority), (WEIGHED, weighted), (RATED, best)], ids=["majority", "weighted", "best"]
)
def test_of_a_pool_fallbacks_are_no_answers_in_any_subset(
    tmp_path: Path, arm: Fake, select: Callable[[str, Sequence[Reply]], float]
) -> None:
    found = rows(fabricate(tmp_path / "run", [arm], questions=25))
    pools = [record(arm, row).pool for row in range(25)]
    for point in found.values():
        subsets = [list(itertools.combinations(pool, point.size or 0)) for pool in pools]
        kept = [[[one for one in subset if one.rule == "form"] for subset in own] for own in subsets]
        right = [np.mean([select(gold(row), drawn) for drawn in own]) for row, own in enumerate(kept)]
        assert point.strict_accuracy == pytest.approx(np.mean(right))
        assert point.questions == 25


def test_fallbacks_that_outvote_what_was_stated_make_strict_accuracy_the_higher_one(tmp_path: Path) -> None:
    path = fabricate(tmp_path / "run", [Fake(pool=3, rule="majority", finished=0)], questions=1)
    wrong, right = (
        Reply(index=0, status="read", answer=said, key=said, rule=rule, prompt_tokens=0, cached_tokens=0,
              generated_tokens=1)
        for said, rule in ((f"{gold(0)}1", "last"), (gold(0), "form"))
    )  # fmt: skip
    whole = record(Fake(pool=3, rule="majority"), 0).model_copy(
        update={"pool": (wrong, wrong, right), "answer": wrong.answer, "key": wrong.answer}
    )
    next(path.glob("arms/*/journal.jsonl")).write_text(whole.model_dump_json() + "\n")
    point = rows(path)["self_consistency, n=3"]
    assert (point.accuracy, point.strict_accuracy) == (0, 1)


def test_of_an_arm_that_was_run_an_answer_counts_if_it_is_right_and_stated(tmp_path: Path) -> None:
    (point,) = rows(fabricate(tmp_path / "run", [SINGLE], questions=80)).values()
    answers = [record(SINGLE, row) for row in range(80)]
    right = [one.answer == gold(row) for row, one in enumerate(answers)]
    assert point.accuracy == pytest.approx(np.mean(right))
    assert point.strict_accuracy == pytest.approx(
        np.mean([hit and one.rule == "form" for hit, one in zip(right, answers, strict=True)])
    )
    assert 0 < point.strict_accuracy < point.accuracy


def test_where_every_answer_is_stated_both_accuracies_are_one_number(tmp_path: Path) -> None:
    arms = [GREEDY, Fake(pool=16, rule="majority"), Fake("best_of_n", pool=8, rule="best", verifier="orm")]
    for point in rows(fabricate(tmp_path / "run", arms, questions=20)).values():
        assert point.strict_accuracy == point.accuracy


def test_where_every_answer_is_a_fallback_nothing_is_strictly_right(tmp_path: Path) -> None:
    law = Law(fallback=1.0)
    arms = [Fake("single", law=law), Fake(pool=8, rule="majority", law=law)]
    for point in rows(fabricate(tmp_path / "run", arms, questions=20)).values():
        assert point.accuracy > 0
        assert point.strict_accuracy == 0


def forget(path: Path, *, lines: int) -> None:
    """Leave the first lines of each journal without rules, as they were before rules were kept."""
    for journal in path.glob("arms/*/journal.jsonl"):
        old = journal.read_text().splitlines(keepends=True)
        journal.write_text("".join([line.replace('"rule":"form",', "") for line in old[:lines]] + old[lines:]))


@pytest.mark.parametrize("lines", [1, 12], ids=["in part", "throughout"])
def test_without_rules_strict_accuracy_is_not_known_and_shown_as_such(tmp_path: Path, lines: int) -> None:
    path = fabricate(tmp_path / "run", [GREEDY, VOTE], questions=12)
    forget(path, lines=lines)
    report = make_report([path])
    assert list(report.tasks[0].points.strict_accuracy) == [None] * 5
    cells = [(row["strict_accuracy"], row["accuracy"] != "") for row in csv.DictReader(points_csv(report))]
    assert cells == [("", True)] * 5
    table = [line.split("|")[3].strip() for line in to_markdown(report).splitlines() if line.startswith("| ")]
    assert table == ["strict %", *[""] * 5]


def test_a_seed_without_rules_leaves_the_mean_of_all_seeds_unknown(tmp_path: Path) -> None:
    path = fabricate(tmp_path / "run", [Fake("single", seed=seed) for seed in (1, 2)], questions=12)
    assert all(one.strict_accuracy == one.accuracy for one in rows(path).values())
    (path / "arms" / Fake("single", seed=1).folder / "journal.jsonl").rename(tmp_path / "kept")
    forget(path, lines=12)
    (tmp_path / "kept").rename(path / "arms" / Fake("single", seed=1).folder / "journal.jsonl")
    (point,) = rows(path).values()
    assert (point.seeds, point.strict_accuracy) == (2, None)


def test_an_error_leaves_strict_accuracy_over_the_same_questions(tmp_path: Path) -> None:
    for point in rows(fabricate(tmp_path / "run", [Fake(pool=4, rule="majority", errors=3)], questions=12)).values():
        assert point.questions == 9
        assert point.strict_accuracy == point.accuracy


def test_tables_and_page_show_it_beside_the_accuracy(tmp_path: Path) -> None:
    report = make_report([fabricate(tmp_path / "run", [SINGLE, VOTES], questions=30)])
    point = next(report.tasks[0].points.itertuples())
    row = next(csv.DictReader(points_csv(report)))
    assert (float(row["strict_accuracy"]), float(row["accuracy"])) == (point.strict_accuracy, point.accuracy)
    assert f"| {100 * point.strict_accuracy:.1f} (" in to_markdown(report)
    html = page(report, views(report))
    table = html[html.index(">Strict accuracy</th>") :].partition("</table>")[0]
    assert f'<td class="n">{100 * point.strict_accuracy:.1f} ' in table
    assert any(line.startswith("Strict accuracy") for line in report.methods)


def test_an_export_says_by_which_rule_each_answer_was_found(tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    export(fabricate(tmp_path / "run", [VOTES], questions=9), out)
    found = list(csv.DictReader(io.StringIO(out.read_text())))
    records = [record(VOTES, row) for row in range(9)]
    rules = [rule for one in records for rule in (*(reply.rule for reply in one.pool), one.rule)]
    assert [row["answer_rule"] for row in found] == rules
    assert {row["rule"] for row in found} == {"majority"}
    assert set(rules) == {"form", "last", ""}
