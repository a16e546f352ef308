"""Points set against each other: baselines, adjusted p-values, the frontier, and smaller against larger models."""

import math
from pathlib import Path

import numpy as np
import pytest

from reasoner_evals.report.comparisons import deltas, front
from reasoner_evals.report.content import Against, Delta
from reasoner_evals.runs.naming import is_greedy
from reasoner_evals.stats.intervals import compare, holm, score_test, two_sided
from tests.evals.fabricated import (
    BEST,
    GREEDY,
    VOTE,
    Fake,
    Law,
    fabricate,
    gold,
    record,
)
from tests.evals.report.contents import measured


def of_kind(
    found: dict[str, dict[Against, Delta]], against: Against
) -> dict[str, Delta]:
    return {
        key.rpartition("|")[2]: own[against]
        for key, own in found.items()
        if against in own
    }


def test_greedy_is_one_sample_of_temperature_zero() -> None:
    greedy = (
        "single",
        "single:max_tokens=64",
        "single:temperature=0",
        "single:temperature=0.0,max_tokens=9",
    )
    assert all(map(is_greedy, greedy))
    assert not any(
        map(is_greedy, ("single:temperature=0.7", "self_consistency:temperature=0"))
    )


def test_a_search_against_greedy_is_mcnemars_test_on_single_outcomes(
    tmp_path: Path,
) -> None:
    search = Fake("beam_search", replies=3, law=Law(lift=0.2))
    [one] = of_kind(
        deltas(*measured(fabricate(tmp_path / "run", [GREEDY, search], questions=60))),
        "greedy",
    ).values()
    right = [
        [record(arm, row).answer == gold(row) for row in range(60)]
        for arm in (search, GREEDY)
    ]
    ahead = sum(a and not b for a, b in zip(*right, strict=True))
    behind = sum(b and not a for a, b in zip(*right, strict=True))
    assert (one.better, one.worse, one.test) == (ahead, behind, "mcnemar")
    assert (
        one.p
        == one.p_holm
        == pytest.approx(two_sided(score_test(ahead, behind), math.inf))
    )
    assert one.difference.value == pytest.approx((ahead - behind) / 60)
    assert one.backfired == pytest.approx(behind / 60)
    assert one.detectable == pytest.approx(2.8 * np.sqrt((ahead + behind) / 60 / 60))
    assert one.resolvable == (abs(ahead - behind) / 60 >= (one.detectable or 0))


def test_p_values_of_one_baseline_are_one_family(tmp_path: Path) -> None:
    found = of_kind(
        deltas(
            *measured(fabricate(tmp_path / "run", [GREEDY, VOTE, BEST], questions=50))
        ),
        "greedy",
    )
    assert len(found) == 8
    assert {one.family for one in found.values()} == {8}
    assert [one.p_holm for one in found.values()] == holm(
        [one.p for one in found.values()]
    )
    assert any(one.p_holm > one.p for one in found.values())


def test_a_vote_at_matched_compute_costs_as_much(tmp_path: Path) -> None:
    points, groups = measured(
        fabricate(tmp_path / "run", [GREEDY, VOTE, BEST], questions=30)
    )
    tokens = {one.key: one.tokens for one in points}
    labelled = {one.key.rpartition("|")[2]: one for one in points}
    votes = [one.key for one in points if one.series == "vote"]
    found = of_kind(deltas(points, groups), "self_consistency")
    assert list(found) == [
        f"best_of_n with orm, n={n}" for n in (1, 2, 4, 8)
    ]  # greedy costs less than any vote
    for label, one in found.items():
        own = labelled[label]
        within = [key for key in votes if tokens[key] <= own.tokens]
        assert one.baseline == max(within, key=tokens.__getitem__)
        beyond = [key for key in votes if tokens[key] > own.tokens]
        following = min(beyond, key=tokens.__getitem__, default=one.baseline)
        spent = (1 - one.mixed) * tokens[one.baseline] + one.mixed * tokens[following]
        assert spent == pytest.approx(
            min(own.tokens, max(tokens[key] for key in votes))
        )
        height = {each.key: float(np.nanmean(each.values["right"])) for each in points}
        fair = (1 - one.mixed) * height[one.baseline] + one.mixed * height[following]
        assert one.difference.value == pytest.approx(height[own.key] - fair)
    assert any(one.mixed for one in found.values())


def test_the_frontier_is_what_nothing_cheaper_reaches(tmp_path: Path) -> None:
    points, groups = measured(
        fabricate(tmp_path / "run", [GREEDY, VOTE, BEST], questions=40)
    )
    height = {one.key: float(np.nanmean(one.values["right"])) for one in points}
    cost = {one.key: one.tokens for one in points}
    found = front(points, groups)
    assert [cost[key] for key in found] == sorted(cost.values())
    for key, vote_state in found.items():
        cheaper = [height[other] for other in height if cost[other] < cost[key]]
        assert (vote_state == "front") == (not cheaper or height[key] > max(cheaper))


def test_only_what_is_behind_beyond_chance_is_significant(tmp_path: Path) -> None:
    arms = [
        Fake("single", law=Law(lift=0.4)),
        Fake("weak", replies=3, law=Law(a=0.5, b=20.0)),
        Fake("like", replies=3, law=Law(lift=0.35)),
    ]
    points, groups = measured(fabricate(tmp_path / "run", arms, questions=80))
    found = {
        key.rpartition("|")[2]: vote_state
        for key, vote_state in front(points, groups).items()
    }
    assert found["weak"] == "behind"
    assert found["like"] == "level"


def test_grouped_questions_are_compared_by_group(tmp_path: Path) -> None:
    points, groups = measured(
        fabricate(tmp_path / "run", [GREEDY, VOTE], questions=40, groups=8)
    )
    found = of_kind(deltas(points, groups), "greedy")["self_consistency, n=8"]
    values = {point.label: point.values["right"] for point in points}
    expected = compare(values["vote of 8"], values["greedy"], groups)
    assert (found.test, found.p) == ("t, clustered", expected.p_value)
