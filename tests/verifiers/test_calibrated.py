"""Verifiers made of others, maps to probabilities and how they are fitted, and the AUROC of a verifier."""

import asyncio
import itertools
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.budget import Cost
from reasoner.errors import UsageError, VerifierError
from reasoner.registry import build, spec_of
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge, completion, number_question, says
from reasoner.types import Completion, Logprobs, Rating
from reasoner.verifier import CostMeter, Verifier
from reasoner_verifiers import Calibrated, Certainty, Ensemble
from reasoner_verifiers.calibrated import Calibration, fit_calibration, read_map
from reasoner_verifiers.fitting import auroc, pooled_auroc, within_auroc

ENGINE = ScriptedEngine(says("7"))
SURE = completion("7", logprobs=Logprobs((math.log(0.8),) * 3))


def rated(verifier: Verifier, candidate: Completion = SURE) -> Rating:
    return asyncio.run(
        verifier.score(number_question(), candidate, ENGINE, CostMeter())
    )


def fit(values: Sequence[float], right: Sequence[bool]) -> Calibration:
    return fit_calibration(
        values, right, verifier="certainty", fitted_on={"ratings": len(values)}
    )


def sample(law: float, count: int, *, seed: int = 0) -> tuple[list[float], list[bool]]:
    """Values in [0, 1], and labels that are right with the probability value ** law."""
    source = random.Random(seed)
    values = [source.random() for _ in range(count)]
    return values, [source.random() < value**law for value in values]


def test_isotonic_gives_equal_values_the_share_that_is_right_whatever_their_order() -> (
    None
):
    values = [0.2] * 20 + [0.7] * 20
    right = [True] * 5 + [False] * 15 + [False] * 4 + [True] * 16
    made = fit(values, right)
    assert made == fit(values[::-1], right[::-1])
    assert [made.apply(value) for value in (0.0, 0.2, 0.45, 0.7, 1.0)] == pytest.approx(
        [0.25, 0.25, 0.525, 0.8, 0.8]
    )


@pytest.mark.parametrize("right", [[True] * 40, [False] * 40, [True, False] * 10])
def test_too_little_to_fit_on_is_refused(right: list[bool]) -> None:
    with pytest.raises(
        UsageError,
        match=r"too few ratings: .*; give 30 or more, some right and some wrong",
    ):
        fit([0.5] * len(right), right)


def calibration(folder: Path) -> Path:
    path = folder / "map.json"
    path.write_text(fit(*sample(2.0, 400)).model_dump_json())
    return path


def test_calibrated_maps_the_values_of_its_verifier_and_keeps_them(
    tmp_path: Path,
) -> None:
    path = calibration(tmp_path)
    verifier = Calibrated(Certainty(), str(path))
    rating = rated(verifier)
    assert rating.value == pytest.approx(read_map(path).apply(0.8))
    assert list(rating.parts) == pytest.approx([0.8])
    assert verifier.logprobs == 0
    assert build("verifier", spec_of(verifier)) == verifier
    with pytest.raises(
        UsageError, match=r"was fitted for the verifier certainty: use that verifier"
    ):
        Calibrated(Certainty("tail_likelihood"), str(path))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"y": [0.9, 0.1]}, "not in rising order"),
        ({"x": [], "y": []}, "not in rising order"),
        ({"kind": "weights"}, "kind"),
        ({"x": [0.1, float("nan")]}, "x"),
    ],
)
def test_a_damaged_map_is_refused(
    tmp_path: Path, change: dict[str, object], error: str
) -> None:
    path = calibration(tmp_path)
    document = (
        json.loads(path.read_text()) | {"x": [0.1, 0.9], "y": [0.1, 0.9]} | change
    )
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError, match=rf"is not a calibration file: .*{error}"):
        read_map(path)


HALF, MORE = Judge(lambda _: 0.5), Judge(lambda _: 0.8)


@pytest.mark.parametrize(("how", "value"), [("mean", 0.65), ("product", 0.4)])
def test_an_ensemble_combines_its_members_and_keeps_their_values(
    how: str, value: float
) -> None:
    rating = rated(Ensemble((HALF, MORE), how))  # type: ignore[arg-type]
    assert rating.value == pytest.approx(value)
    assert rating.parts == (0.5, 0.8)
    assert rating.cost.verifier_tokens == 2 * (3 + len(SURE.text) % 8)


def test_one_member_that_fails_is_an_error_and_the_others_are_paid() -> None:
    cost_meter = CostMeter()

    def broken(_: Completion) -> float:
        raise ValueError("out of order")

    ensemble = Ensemble((HALF, Judge(broken)))
    with pytest.raises(ValueError, match="out of order"):
        asyncio.run(ensemble.score(number_question(), SURE, ENGINE, cost_meter))
    # The one that failed is booked at its bound of 10, as what it spent is not known.
    assert cost_meter.cost == Cost(
        verifier_tokens=3 + len(SURE.text) % 8 + 10, requests=2
    )


def test_an_error_in_place_of_a_rating_is_no_zero() -> None:
    class Mute(Judge):
        async def score(
            self,
            question: object,
            candidate: object,
            policy: object,
            cost_meter: object,
        ) -> Rating:
            return Rating(None, Cost(verifier_tokens=1), error="no idea")

    with pytest.raises(VerifierError, match="no idea"):
        rated(Ensemble((HALF, Mute())))


@pytest.mark.parametrize(
    ("options", "error"),
    [("members=", "members must not be empty"), ("members=certainty,how=vote", "how")],
)
def test_an_ensemble_that_cannot_work_is_refused(options: str, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        build("verifier", f"ensemble:{options}")


# How well a verifier separates right from wrong


@given(
    st.lists(
        st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.9]), st.booleans()), max_size=12
    )
)
def test_auroc_is_the_share_of_pairs_in_order_ties_half(
    rated: list[tuple[float, bool]],
) -> None:
    right, wrong = (
        [value for value, label in rated if label is kind] for kind in (True, False)
    )
    pairs = [(r > w) + (r == w) / 2 for r, w in itertools.product(right, wrong)]
    assert auroc(rated) == (pytest.approx(np.mean(pairs)) if pairs else None)


def test_a_verifier_that_knows_only_which_questions_are_hard_discriminates_over_all_and_not_within() -> (
    None
):
    easy, hard = [(0.9, True)] * 9 + [(0.9, False)], [(0.1, True)] + [(0.1, False)] * 9
    pooled, within = pooled_auroc([easy, hard]), within_auroc([easy, hard])
    assert pooled is not None
    assert within is not None
    assert pooled.value == pytest.approx(0.9)
    assert (within.value, within.low, within.high) == (0.5, 0.5, 0.5)
    assert pooled.low <= 0.9 <= pooled.high
    assert (pooled_auroc([[(0.5, True)]]), within_auroc([[(0.5, True)]])) == (
        None,
        None,
    )
