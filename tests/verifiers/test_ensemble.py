"""Verifiers made of others."""

import asyncio
import math

import pytest

from reasoner.budget import Cost
from reasoner.errors import UsageError, VerifierError
from reasoner.registry import build
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge, completion, number_question, says
from reasoner.types import Completion, Logprobs, Rating
from reasoner.verifier import CostMeter, Verifier
from reasoner_verifiers import Ensemble

ENGINE = ScriptedEngine(says("7"))
SURE = completion("7", logprobs=Logprobs((math.log(0.8),) * 3))


def rated(verifier: Verifier, candidate: Completion = SURE) -> Rating:
    return asyncio.run(
        verifier.score(number_question(), candidate, ENGINE, CostMeter())
    )


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
