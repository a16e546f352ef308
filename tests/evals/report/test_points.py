"""The rows of a report: their accuracies, what they cost, and how often nothing could be read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reasoner.budget import Prices
from reasoner_evals.report.data.comparisons import groups_of
from reasoner_evals.report.data.measures import ArmRead, Measured, measure
from reasoner_evals.report.data.table import points_table
from reasoner_evals.runs.reading import open_run, read_arm
from tests.evals.fabricated import BEST, GREEDY, PROMPT, SMALL, TASK, VOTE, Fake, Law, fabricate, gold, record


def measured(path: Path) -> list[Measured]:
    run = open_run(path)
    arms = [ArmRead(run, read_arm(run, arm.name)) for arm in run.manifest.arms]
    return list(measure(arms, several_models=False))


def rows(path: Path) -> dict[str, Any]:
    table = points_table(measured(path), groups_of(open_run(path).tasks[TASK]))
    return {row.label: row for row in table.itertuples()}


def test_a_pool_gives_every_power_of_two_and_itself(tmp_path: Path) -> None:
    found = rows(fabricate(tmp_path / "run", [GREEDY, Fake(pool=12, rule="majority")], questions=12))
    assert list(found) == ["single", *(f"self_consistency, n={n}" for n in (1, 2, 4, 8, 12))]
    assert [row.few_subsets for row in found.values()] == [False, False, False, False, True, True]
    assert [row.size for row in found.values()] == [None, 1, 2, 4, 8, 12]


def test_one_of_a_pool_is_its_mean_and_a_vote_of_two_is_one(tmp_path: Path) -> None:
    found = rows(fabricate(tmp_path / "run", [VOTE], questions=30))
    right = np.mean([[one.answer == gold(row) for one in record(VOTE, row).pool] for row in range(30)])
    one, two = found["self_consistency, n=1"], found["self_consistency, n=2"]
    assert one.accuracy == pytest.approx(right)
    assert two.accuracy == pytest.approx(right)
    assert one.coverage is not None
    assert one.coverage == pytest.approx(right)
    assert one.gap is not None
    assert one.gap == pytest.approx(0)
    assert one.gap_low == pytest.approx(0)
    assert one.gap_high > 0


def test_the_whole_pool_costs_what_was_recorded(tmp_path: Path) -> None:
    prices = {"prompt": 1.0, "generated": 3.0, "cached": 0.25}
    found = rows(fabricate(tmp_path / "run", [BEST], questions=20, prices=prices))
    costs = [record(BEST, row).cost for row in range(20)]
    row = found["best_of_n with orm, n=8"]
    for field in ("prompt", "cached", "generated", "verifier", "cancelled"):
        assert getattr(row, f"{field}_tokens") == pytest.approx(
            np.mean([getattr(cost, f"{field}_tokens") for cost in costs])
        )
    assert row.tokens == pytest.approx(np.mean([cost.tokens for cost in costs]))
    assert row.tokens_max == pytest.approx(max(cost.tokens for cost in costs))
    assert row.flops == pytest.approx(np.mean([cost.flops or 0 for cost in costs]))
    assert row.seconds == pytest.approx(np.mean([cost.seconds for cost in costs]))
    assert row.usd == pytest.approx(np.mean([Prices(**prices).usd(cost) for cost in costs]))


def test_a_part_of_a_pool_pays_the_prompt_once(tmp_path: Path) -> None:
    found = rows(fabricate(tmp_path / "run", [VOTE], questions=20))
    pools = [record(VOTE, row).pool for row in range(20)]
    generated = np.mean([one.generated_tokens for pool in pools for one in pool])
    for n in (1, 2, 4, 8):
        row = found[f"self_consistency, n={n}"]
        assert row.prompt_tokens == pytest.approx(PROMPT + 8 * (n - 1))
        assert row.cached_tokens == pytest.approx(32 * (n - 1))
        assert row.generated_tokens == pytest.approx(generated * n)


def test_an_unknown_geometry_and_unknown_prices_stay_unknown(tmp_path: Path) -> None:
    path = fabricate(tmp_path / "run", [Fake("single", finished=0)], questions=3)
    whole = record(GREEDY, 0)
    unknown = whole.model_copy(update={"cost": type(whole.cost)(prompt_tokens=4, flops=None)})
    journal = next(path.glob("arms/*")) / "journal.jsonl"
    journal.write_text(unknown.model_dump_json() + "\n" + record(GREEDY, 1).model_dump_json() + "\n")
    (row,) = rows(path).values()
    assert (row.questions, row.flops, row.usd) == (2, None, None)


def test_what_cannot_be_read_has_a_rate_of_its_own(tmp_path: Path) -> None:
    law = Law(no_answer=0.3, truncated=0.3)
    arm = Fake(pool=4, rule="majority", law=law)
    found = rows(fabricate(tmp_path / "run", [arm], questions=40))
    pools = [[one.status for one in record(arm, row).pool] for row in range(40)]
    whole, one = found["self_consistency, n=4"], found["self_consistency, n=1"]
    assert whole.truncated == pytest.approx(np.mean([set(pool) == {"truncated"} for pool in pools]))
    assert whole.no_answer == pytest.approx(
        np.mean(["read" not in pool and set(pool) != {"truncated"} for pool in pools])
    )
    assert one.truncated == pytest.approx(np.mean([status == "truncated" for pool in pools for status in pool]))
    assert one.no_answer == pytest.approx(np.mean([status == "no_answer" for pool in pools for status in pool]))
    assert one.replies_truncated == whole.replies_truncated == pytest.approx(one.truncated)
    # What is not read is wrong, and stays in the denominator.
    assert found["self_consistency, n=4"].questions == 40


def test_errors_and_ungraded_answers_are_counted_and_in_no_accuracy(tmp_path: Path) -> None:
    found = rows(fabricate(tmp_path / "run", [Fake(pool=4, rule="majority", errors=3)], questions=10))
    for row in found.values():
        assert (row.questions, row.errors, row.ungraded) == (7, 3, 0)
    assert not rows(fabricate(tmp_path / "ungraded", [VOTE], questions=10, graded=False))


def test_one_reply_without_a_verdict_leaves_its_question_out_of_every_size(tmp_path: Path) -> None:
    path = fabricate(tmp_path / "run", [VOTE], questions=10)
    lines = (path / "verdicts.jsonl").read_text().splitlines()
    lost = record(VOTE, 4).pool[0].answer
    kept = [line for line in lines if f'"{lost}"' not in line]
    (path / "verdicts.jsonl").write_text("\n".join(kept) + "\n")
    for row in rows(path).values():
        assert (row.questions, row.ungraded) == (9, 1)


def test_seeds_are_averaged_by_question(tmp_path: Path) -> None:
    arms = [Fake("beam_search:n=4", replies=4, seed=seed) for seed in (1, 2, 3)]
    path = fabricate(tmp_path / "run", arms, questions=25)
    (row,) = rows(path).values()
    right = [[record(arm, number).answer == gold(number) for arm in arms] for number in range(25)]
    assert (row.seeds, row.questions) == (3, 25)
    assert row.accuracy == pytest.approx(np.mean(right))
    (values,) = measured(path)
    assert values.values["right"] == pytest.approx(np.mean(right, axis=1))


def test_a_budget_that_was_exceeded_is_seen(tmp_path: Path) -> None:
    arm = Fake("beam_search", replies=4, budget="tokens=260")
    path = fabricate(tmp_path / "run", [arm], questions=25)
    (row,) = rows(path).values()
    over = sum(record(arm, number).cost.tokens > 260 for number in range(25))
    assert 0 < over < 25
    assert row.overshoots == over
    kept = fabricate(tmp_path / "kept", [Fake("beam_search", replies=4, budget="tokens=1000,samples=4")], questions=25)
    assert [row.overshoots for row in rows(kept).values()] == [0]


def test_intervals_cover_the_law_that_the_questions_came_from(tmp_path: Path) -> None:
    law, hits = Law(a=3.0, b=2.0), 0
    for seed in range(40):
        path = fabricate(tmp_path / str(seed), [Fake(pool=4, rule="majority", law=law)], questions=45, seed=seed)
        row = rows(path)["self_consistency, n=1"]
        low, high = row.accuracy_low, row.accuracy_high
        hits += low is not None and high is not None and low <= 0.6 <= high
    assert hits >= 34  # of 40 at 95 %: fewer has a chance of 1 in 1000


def test_groups_widen_the_interval_of_what_they_share(tmp_path: Path) -> None:
    alone = rows(fabricate(tmp_path / "alone", [VOTE], questions=60))["self_consistency, n=8"]
    shared = rows(fabricate(tmp_path / "shared", [VOTE], questions=60, groups=4))["self_consistency, n=8"]
    assert shared.accuracy == alone.accuracy
    assert shared.accuracy_high - shared.accuracy_low > alone.accuracy_high - alone.accuracy_low


def test_coverage_bounds_every_selection(tmp_path: Path) -> None:
    arms = [VOTE, BEST, Fake("best_of_n:selector=weighted", pool=8, rule="weighted", verifier="orm")]
    for one in measured(fabricate(tmp_path / "run", arms, questions=30)):
        assert np.all(one.values["covered"] >= one.values["right"] - 1e-9)
        assert one.model == SMALL.name
