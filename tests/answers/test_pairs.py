"""Adversarial pairs: equal in both directions and in a vote, or in none."""

import asyncio

import pytest

from reasoner.answers.equivalence import ComparisonMeter, Equivalence
from reasoner.answers.maths import MathSpace
from tests.answers.pairs import DIFFERENT, EQUAL

PAIRS = [(kind, pair, True) for kind, pairs in EQUAL.items() for pair in pairs]
PAIRS += [(kind, pair, False) for kind, pairs in DIFFERENT.items() for pair in pairs]


@pytest.fixture(scope="module")
def verdicts() -> list[tuple[str, str, bool | None]]:
    """Of each pair: the grade of the second by the first, of the first by the second, and the vote."""

    async def judge() -> list[tuple[str, str, bool | None]]:
        equivalence, space = Equivalence(seconds=30), MathSpace(seconds=300)
        answers = [(space.answer(a), space.answer(b)) for _, (a, b), _ in PAIRS]
        known = [(a, b) for a, b in answers if a and b]
        assert len(known) == len(PAIRS)
        try:
            votes = await equivalence.same_many(space, known, ComparisonMeter())
            there = await asyncio.gather(*(equivalence.accepts(a, b) for _, (a, b), _ in PAIRS))
            back = await asyncio.gather(*(equivalence.accepts(b, a) for _, (a, b), _ in PAIRS))
        finally:
            await equivalence.close()
        return [(one.status, other.status, vote) for one, other, vote in zip(there, back, votes, strict=True)]

    return asyncio.run(judge())


@pytest.mark.parametrize(
    "index", range(len(PAIRS)), ids=lambda index: "{0[0]}: {0[1][0]} ~ {0[1][1]}".format(PAIRS[index])
)
def test_a_pair_is_one_answer_or_two(index: int, verdicts: list[tuple[str, str, bool | None]]) -> None:
    grade = "right" if PAIRS[index][2] else "wrong"
    assert verdicts[index] == (grade, grade, PAIRS[index][2])
