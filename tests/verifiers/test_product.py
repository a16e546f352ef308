"""Verifiers made of others."""

import asyncio
import gzip
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from reasoner.budget import Cost
from reasoner.errors import UsageError, VerifierError
from reasoner.registry import build, spec_of
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge, completion, number_question, says
from reasoner.types import Completion, Logprobs, Rating
from reasoner.verifier import CostMeter, Verifier
from reasoner_verifiers import Equations, Product

ENGINE = ScriptedEngine(says("7"))
SURE = completion("7", logprobs=Logprobs((math.log(0.8),) * 3))


def rated(verifier: Verifier, candidate: Completion = SURE) -> Rating:
    return asyncio.run(
        verifier.score(number_question(), candidate, ENGINE, CostMeter())
    )


BENCH, TIE = Path(__file__).parents[2] / "bench", 1e-9
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


def test_its_gains_on_recorded_samples_are_those_of_the_page() -> None:
    """Votes of subsets, by NumPy alone, against the table of the product's own commands."""
    recording = BENCH / "recordings" / "gsm8k-qwen2.5-coder-0.5b.jsonl.gz"
    kinds: dict[str, int] = {"": 0}
    replies: dict[str, list[tuple[int, float, float, bool]]] = {}
    for line in gzip.decompress(recording.read_bytes()).splitlines():
        row = json.loads(line)
        if row["index"] >= 0:
            checked = rated(Equations(), completion(row["text"])).value or 0.0
            number = re.sub(r",|\.0+$", "", row["answer"] or "")
            replies.setdefault(row["question_id"], []).append(
                (
                    kinds.setdefault(number, len(kinds)),
                    row["score"],
                    checked,
                    row["right"],
                )
            )
    answers, certainty, equations, right = np.array(
        list(replies.values()), dtype=float
    ).transpose(2, 0, 1)
    product = equations * np.nan_to_num(certainty, nan=1.0)
    weights = np.stack(
        [np.ones_like(product), np.nan_to_num(certainty), equations, product]
    )
    weights = np.where(answers > 0, weights + TIE, 0.0)
    source = np.random.default_rng(0)
    table = {
        int(row[0]): [float(cell.split()[0]) for cell in row[1:5]]
        for row in re.findall(
            r"^\| (\d+) \|" + 4 * r" ([\d.]+)[^|]*\|",
            (BENCH / "README.md").read_text().partition("Certainty times")[2],
            re.MULTILINE,
        )[:3]
    }
    assert set(table) == {4, 8, 16}
    for n, page in table.items():
        found = []
        for _ in range(1 if n == 16 else 1000):
            drawn = np.argsort(source.random(answers.shape), axis=1)[:, :n]
            answer = np.take_along_axis(answers, drawn, axis=1)
            weight = np.take_along_axis(weights, drawn[None], axis=2)
            same = answer[:, :, None] == answer[:, None, :]
            totals = np.einsum("vqi,qij->vqj", weight, same)
            leads = totals >= totals.max(axis=2, keepdims=True) - TIE
            credit = (leads * weight).sum(axis=2)
            won = np.take_along_axis(right, drawn, axis=1) * leads * weight
            found.append((won.sum(axis=2) / np.maximum(credit, TIE)).mean(axis=1))
        assert np.mean(found, axis=0) * 100 == pytest.approx(page, abs=0.3), n
