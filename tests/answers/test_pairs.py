"""Adversarial pairs, written before the rules: equal in both directions and in a vote, or in none."""

import asyncio
from pathlib import Path

import pytest

from reasoner.answers.equivalence import ComparisonMeter, Equivalence
from reasoner.answers.maths import MathSpace

PAIRS = [line.split("\t") for line in (Path(__file__).parent / "pairs.tsv").read_text("utf-8").splitlines()[1:]]


@pytest.fixture(scope="module")
def verdicts() -> list[tuple[str, str, bool | None]]:
    """Of each pair: the grade of the second by the first, of the first by the second, and the vote."""

    async def judge() -> list[tuple[str, str, bool | None]]:
        equivalence, space = Equivalence(seconds=30), MathSpace(seconds=300)
        answers = [(space.answer(a), space.answer(b)) for *_, a, b in PAIRS]
        known = [(a, b) for a, b in answers if a and b]
        assert len(known) == len(PAIRS)
        try:
            votes = await equivalence.same_many(space, known, ComparisonMeter())
            there = await asyncio.gather(*(equivalence.accepts(a, b) for *_, a, b in PAIRS))
            back = await asyncio.gather(*(equivalence.accepts(b, a) for *_, a, b in PAIRS))
        finally:
            await equivalence.close()
        return [(one.status, other.status, vote) for one, other, vote in zip(there, back, votes, strict=True)]

    return asyncio.run(judge())


@pytest.mark.parametrize("index", range(len(PAIRS)), ids=lambda index: " ~ ".join(PAIRS[index]))
def test_a_pair_is_one_answer_or_two(index: int, verdicts: list[tuple[str, str, bool | None]]) -> None:
    _, equal, _, _ = PAIRS[index]
    grade = "right" if equal == "yes" else "wrong"
    assert verdicts[index] == (grade, grade, equal == "yes")
