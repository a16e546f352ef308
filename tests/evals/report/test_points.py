"""The rows of a report: their accuracies, what they cost, and how replies were read."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reasoner.budget import Prices
from reasoner_evals.report.table import points_table
from reasoner_evals.runs.records import PooledReply
from tests.evals.fabricated import (
    BEST,
    GREEDY,
    PROMPT,
    RATING,
    VOTE,
    Fake,
    Law,
    fabricate,
    gold,
    record,
)
from tests.evals.report.contents import measured


def rows(path: Path) -> dict[str, Any]:
    return {row.label: row for row in points_table(*measured(path)).itertuples()}


def test_a_pool_gives_every_power_of_two_and_itself(tmp_path: Path) -> None:
    arms = [
        GREEDY,
        Fake(pool=12, rule="majority"),
        Fake("best_of_n", pool=8, rule="best", verifier="orm"),
    ]
    found = rows(fabricate(tmp_path / "run", arms, questions=12))
    assert list(found)[:6] == ["greedy", *(f"vote of {n}" for n in (1, 2, 4, 8, 12))]
    assert [row.few_subsets for row in found.values()] == [False] * 4 + [True, True] + [
        False
    ] * 3 + [True]
    assert [row.size for row in found.values()] == [None, 1, 2, 4, 8, 12, 1, 2, 4, 8]


def selected(rule: str, answer: str, drawn: Sequence[PooledReply]) -> float:
    """How often `answer` is selected among these replies where ties are drawn for."""
    if rule == "best":
        return (
            float(max(drawn, key=lambda one: one.score or 0.0).answer == answer)
            if drawn
            else 0.0
        )
    totals: dict[str, float] = {}
    for one in drawn:
        totals[one.answer] = totals.get(one.answer, 0.0) + (
            (one.score or 0.0) if rule == "weighted" else 1.0
        )
    best = [
        said for said, total in totals.items() if total >= max(totals.values()) - 1e-9
    ]
    return (answer in best) / len(best) if best else 0.0


def read(drawn: Sequence[PooledReply]) -> list[PooledReply]:
    return [reply for reply in drawn if reply.status == "read"]


@pytest.mark.parametrize(
    ("strategy", "rule"),
    [
        ("self_consistency", "majority"),
        ("best_of_n", "best"),
        ("best_of_n:selector=weighted", "weighted"),
    ],
)
def test_a_part_of_a_pool_is_as_accurate_as_all_subsets(
    tmp_path: Path, strategy: str, rule: str
) -> None:
    arm = Fake(
        strategy,
        pool=5,
        rule=rule,
        verifier="" if rule == "majority" else "orm",
        law=Law(no_answer=0.1),
    )
    pools = [record(arm, row).pool for row in range(25)]
    *parts, _ = rows(fabricate(tmp_path / "run", [arm], questions=25)).values()
    for point in parts:
        subsets = [
            list(itertools.combinations(pool, point.size or 0)) for pool in pools
        ]
        right = [
            np.mean([selected(rule, gold(row), read(drawn)) for drawn in own])
            for row, own in enumerate(subsets)
        ]
        assert point.acc == pytest.approx(np.mean(right))
        covered = [
            np.mean([gold(row) in {one.answer for one in drawn} for drawn in own])
            for row, own in enumerate(subsets)
        ]
        assert point.coverage == pytest.approx(np.mean(covered))
        assert point.gap == pytest.approx(point.coverage - point.acc)
        assert point.gap_low <= point.gap <= point.gap_high
        assert point.gap_low >= min(point.gap, 0) - 1e-9
        longest = [
            np.mean([max(one.generated_tokens for one in drawn) for drawn in own])
            for own in subsets
        ]
        assert point.sequential_tokens == pytest.approx(
            np.mean(longest) + (RATING if arm.verifier else 0)
        )
        assert (
            point.sequential_tokens_low
            < point.sequential_tokens
            < point.sequential_tokens_high
        )
        assert point.questions == 25


def test_the_whole_pool_costs_what_was_recorded(tmp_path: Path) -> None:
    prices = {"prompt": 1.0, "generated": 3.0, "cached": 0.25}
    found = rows(fabricate(tmp_path / "run", [BEST], questions=20, prices=prices))
    costs = [record(BEST, row).cost for row in range(20)]
    row = found["best of 8, orm"]
    for field in ("prompt", "cached", "generated", "verifier", "cancelled"):
        recorded = [getattr(cost, f"{field}_tokens") for cost in costs]
        assert getattr(row, f"{field}_tokens") == pytest.approx(np.mean(recorded))
    assert row.tokens == pytest.approx(np.mean([cost.tokens for cost in costs]))
    assert row.sequential_tokens == pytest.approx(
        np.mean([cost.sequential_tokens for cost in costs])
    )
    assert row.tokens_max == pytest.approx(max(cost.tokens for cost in costs))
    assert row.flops == pytest.approx(np.mean([cost.flops or 0 for cost in costs]))
    assert row.seconds == pytest.approx(np.mean([cost.seconds for cost in costs]))
    assert row.usd == pytest.approx(
        np.mean([Prices(**prices).usd(cost) for cost in costs])
    )


def test_a_part_of_a_pool_pays_the_prompt_once(tmp_path: Path) -> None:
    found = rows(fabricate(tmp_path / "run", [VOTE], questions=20))
    generated = np.mean(
        [one.generated_tokens for row in range(20) for one in record(VOTE, row).pool]
    )
    for n in (1, 2, 4, 8):
        row = found[f"vote of {n}"]
        assert row.prompt_tokens == pytest.approx(PROMPT + 8 * (n - 1))
        assert row.cached_tokens == pytest.approx(32 * (n - 1))
        assert row.generated_tokens == pytest.approx(generated * n)


def test_an_unknown_geometry_and_unknown_prices_stay_unknown(tmp_path: Path) -> None:
    path = fabricate(tmp_path / "run", [Fake("single", finished=0)], questions=2)
    whole = record(GREEDY, 0)
    unknown = whole.model_copy(
        update={"cost": type(whole.cost)(prompt_tokens=4, flops=None)}
    )
    journal = next(path.glob("arms/*")) / "journal.jsonl"
    journal.write_text(
        unknown.model_dump_json() + "\n" + record(GREEDY, 1).model_dump_json() + "\n"
    )
    (row,) = rows(path).values()
    assert (row.questions, row.flops, row.usd) == (2, None, None)


def test_what_cannot_be_read_has_a_rate_of_its_own(tmp_path: Path) -> None:
    arm = Fake(
        pool=4, rule="majority", law=Law(no_answer=0.3, truncated=0.3, fallback=0.5)
    )
    found = rows(fabricate(tmp_path / "run", [arm], questions=40))
    pools = [[one.status for one in record(arm, row).pool] for row in range(40)]
    whole, one = found["vote of 4"], found["vote of 1"]
    cut = [set(pool) == {"truncated"} for pool in pools]
    silent = [
        "read" not in pool and not all_cut
        for pool, all_cut in zip(pools, cut, strict=True)
    ]
    assert (whole.truncated, whole.no_answer) == (
        pytest.approx(np.mean(cut)),
        pytest.approx(np.mean(silent)),
    )
    for rate, status in ((one.truncated, "truncated"), (one.no_answer, "no_answer")):
        assert rate == pytest.approx(
            np.mean([reply == status for pool in pools for reply in pool])
        )
    assert (
        one.replies_truncated == whole.replies_truncated == pytest.approx(one.truncated)
    )
    rules = [reply.rule for row in range(40) for reply in record(arm, row).pool]
    assert whole.replies_read_by_form == pytest.approx(rules.count("form") / len(rules))
    assert whole.replies_read_by_probe == pytest.approx(
        rules.count("last") / len(rules)
    )
    total = (
        whole.replies_read_by_form
        + whole.replies_read_by_probe
        + whole.replies_without_answer
    )
    assert total + whole.replies_truncated == pytest.approx(1)
    # What is not read is wrong, and stays in the denominator.
    assert whole.questions == 40
    probes = rules.count("last") / 40
    for row, size in ((whole, 4), (one, 1)):
        spent = (row.probe_tokens, row.probe_prompt_tokens, row.probe_cached_tokens)
        assert spent == pytest.approx(
            (10 * probes * size / 4, probes * size, 9 * probes * size)
        )


def test_errors_and_ungraded_answers_are_counted_and_in_no_accuracy(
    tmp_path: Path,
) -> None:
    found = rows(
        fabricate(
            tmp_path / "run", [Fake(pool=4, rule="majority", errors=3)], questions=10
        )
    )
    for row in found.values():
        assert (row.questions, row.errors, row.ungraded) == (7, 3, 0)
    assert not rows(
        fabricate(tmp_path / "ungraded", [VOTE], questions=10, graded=False)
    )


def test_one_reply_without_a_verdict_leaves_its_question_out_of_every_size(
    tmp_path: Path,
) -> None:
    path = fabricate(tmp_path / "run", [VOTE], questions=10)
    lines = (path / "verdicts.jsonl").read_text().splitlines()
    whole = record(VOTE, 4)
    lost = next(one.answer for one in whole.pool if one.answer != whole.answer)
    (path / "verdicts.jsonl").write_text(
        "\n".join(line for line in lines if f'"{lost}"' not in line) + "\n"
    )
    for row in rows(path).values():
        assert (row.questions, row.ungraded) == (9, 1)
