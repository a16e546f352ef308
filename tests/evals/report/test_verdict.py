"""The sentence at the top of a report claims what its table shows, and nothing else."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reasoner_evals.report.build import make_report
from reasoner_evals.report.content import BoundedValue, Delta
from reasoner_evals.report.narrative import signed, signed_points, verdict
from tests.evals.fabricated import VOTE, fabricate
from tests.evals.report.contents import a_delta, a_point, table

shares = st.floats(0, 1)


@st.composite
def differences(draw: st.DrawFn) -> tuple[float, BoundedValue, float, bool]:
    """An accuracy, a difference with its interval, its adjusted p-value, and whether it is resolvable."""
    value = draw(st.floats(-0.5, 0.5))
    below, above = draw(st.floats(0, 0.3)), draw(st.floats(0, 0.3))
    bounds = draw(st.sampled_from([(value - below, value + above), (None, None)]))
    return (
        draw(shares),
        BoundedValue(value, *bounds),
        draw(st.sampled_from([0.001, 0.3])),
        draw(st.booleans()),
    )


def compared(drawn: list[tuple[float, BoundedValue, float, bool]]) -> list[Any]:
    """The rows of a baseline and of points that are compared with it."""
    baseline = a_point("single", accuracy=0.5)
    rows = [
        a_point(
            f"arm{number}",
            accuracy=accuracy,
            deltas={
                "greedy": a_delta(
                    baseline, difference=difference, p_holm=p, resolvable=resolvable
                )
            },
        )
        for number, (accuracy, difference, p, resolvable) in enumerate(drawn)
    ]
    return list(table([baseline, *rows]).itertuples())


def assert_true_of(sentence: str, claim: str, deltas: list[Delta]) -> None:
    """What the words claim, against the intervals, tests and detectable differences of all deltas."""
    sure = [
        delta.p_holm < 0.05
        and delta.resolvable
        and delta.difference.low is not None
        and delta.difference.high is not None
        and (delta.difference.low > 0 or delta.difference.high < 0)
        for delta in deltas
    ]
    hedged = re.search(
        "may be chance|too few to tell|differs clearly|is shown to beat", sentence
    )
    if claim == "gain":
        assert any(
            yes and delta.difference.value > 0
            for yes, delta in zip(sure, deltas, strict=True)
        )
        assert not hedged
    elif claim == "loss":
        assert all(
            yes and delta.difference.value < 0
            for yes, delta in zip(sure, deltas, strict=True)
        )
        assert not hedged
        assert " fewer " in sentence
    else:
        assert hedged
        assert not any(
            yes and delta.difference.value > 0
            for yes, delta in zip(sure, deltas, strict=True)
        )
    if "differs clearly" in sentence or "too few to tell" in sentence:
        named = (
            [delta.difference for delta in deltas]
            if sentence.startswith("No ")
            else [deltas[0].difference]
        )
        assert (
            all(
                low is None or high is None or low <= 0 <= high
                for _, low, high in named
            )
            or len(deltas) == 1
        )


@given(st.lists(differences(), min_size=1, max_size=6))
@example(
    [
        (0.3, BoundedValue(-0.2, -0.3, -0.1), 0.001, True),
        (0.49, BoundedValue(-0.01, -0.1, 0.1), 0.3, False),
    ]
)
def test_a_sentence_claims_no_more_than_intervals_and_tests_show(
    drawn: list[tuple[float, BoundedValue, float, bool]],
) -> None:
    rows = compared(drawn)
    result = verdict(rows)
    assert_true_of(
        result.sentence,
        result.claim,
        [row.deltas["greedy"] for row in rows if row.deltas],
    )
    [delta] = [row.deltas["greedy"] for row in rows if row.key == result.key]
    # The number in the sentence is that of the table.
    amount = re.search(r"([\d.]+) (more|fewer) of 100|no more of 100", result.sentence)
    assert amount
    stated = float(amount[1]) * (1 if amount[2] == "more" else -1) if amount[1] else 0.0
    assert stated == pytest.approx(100 * delta.difference.value, abs=0.51)
    assert result.sentence.count("\n") == 0


def test_without_a_greedy_sample_the_cheapest_point_is_the_baseline(
    tmp_path: Path,
) -> None:
    [task] = make_report([fabricate(tmp_path / "run", [VOTE], questions=60)]).tasks
    assert {against for row in task.rows for against in row.deltas} == {"cheapest"}
    assert task.by_key[task.verdict.baseline].label == "vote of 1"
    assert "vote of 1" in task.verdict.sentence


def test_no_difference_is_written_as_a_negative_zero() -> None:
    assert signed(-0.0004) == "+0.0"
    rounded = signed_points(BoundedValue(-0.0004, -0.0004, 0.01))
    assert rounded == "+0.0 points (+0.0 to +1.0)"
