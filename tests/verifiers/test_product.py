"""Verifiers made of others."""

import asyncio
import math

import pytest

from reasoner.budget import Cost
from reasoner.errors import UsageError, VerifierError
from reasoner.registry import build, spec_of
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge, completion, number_question, says
from reasoner.types import Completion, Logprobs, Rating
from reasoner.verifier import CostMeter, Verifier
from reasoner_verifiers import Product

ENGINE = ScriptedEngine(says("7"))
SURE = completion("7", logprobs=Logprobs((math.log(0.8),) * 3))


def rated(verifier: Verifier, candidate: Completion = SURE) -> Rating:
    return asyncio.run(
        verifier.score(number_question(), candidate, ENGINE, CostMeter())
    )


HALF, MORE = Judge(lambda _: 0.5), Judge(lambda _: 0.8)


def test_a_product_multiplies_its_members_and_keeps_their_values() -> None:
    rating = rated(Product((HALF, MORE)))
    assert rating.value == pytest.approx(0.4)
    assert rating.parts == (0.5, 0.8)
    assert rating.cost.verifier_tokens == 2 * (3 + len(SURE.text) % 8)


def test_one_member_that_fails_is_an_error_and_the_others_are_paid() -> None:
    cost_meter = CostMeter()

    def broken(_: Completion) -> float:
        raise ValueError("out of order")

    product = Product((HALF, Judge(broken)))
    with pytest.raises(ValueError, match="out of order"):
        asyncio.run(product.score(number_question(), SURE, ENGINE, cost_meter))
    # The one that failed is booked at its bound of 10, as what it spent is not known.
    assert cost_meter.cost == Cost(
        verifier_tokens=3 + len(SURE.text) % 8 + 10, requests=2
    )


def test_a_member_that_cannot_rate_is_left_out_and_is_no_zero() -> None:
    class Mute(Judge):
        async def score(
            self,
            question: object,
            candidate: object,
            policy: object,
            cost_meter: object,
        ) -> Rating:
            return Rating(None, Cost(verifier_tokens=1), error="no idea")

    assert rated(Product((HALF, Mute()))) == Rating(
        0.5, Cost(verifier_tokens=1 + 3 + len(SURE.text) % 8, requests=1), parts=(0.5,)
    )
    with pytest.raises(VerifierError, match="no idea; no idea"):
        rated(Product((Mute(), Mute())))


def test_a_product_is_written_with_stars_and_a_pattern_may_hold_one() -> None:
    built = build("verifier", "certainty*equations*rules(pattern=a*)")
    assert spec_of(built) == "certainty*equations*rules(pattern=a*)"
    last = build("verifier", "certainty*rules:pattern=a*")
    assert spec_of(last) == "certainty*rules(pattern=a*)"
    assert spec_of(build("verifier", "rules:pattern=a*")) == "rules:pattern=a*"
    for empty in ("certainty*", "*certainty", "product:members="):
        with pytest.raises(UsageError):
            build("verifier", empty)
