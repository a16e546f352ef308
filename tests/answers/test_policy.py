"""The written policy on equal mathematical answers, row by row through the real grader."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import pytest

from reasoner.answers import math_worker
from reasoner.answers.acceptance import POLICIES, Policy
from reasoner.answers.equivalence import ComparisonMeter, Equivalence, Verdict
from reasoner.answers.maths import MathSpace

PAGE = Path(__file__).parents[2] / "docs" / "answers.md"


class Row(NamedTuple):
    case: str
    reference: str
    answer: str
    equal: str


def rows(head: str) -> Iterator[Row]:
    table = PAGE.read_text().partition(f"{head}\n")[2].partition("\n\n")[0]
    for line in table.splitlines()[1:]:
        case, *cells, equal = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        reference, answer = (cell.strip("`").replace("\\|", "|") for cell in cells)
        yield Row(case, reference, answer, equal)


ROWS = list(rows("| case | reference | answer | equal |"))
LOOSE = list(rows("| policy | reference | answer | equal if loose |"))
CASES = {
    "percent", "currency", "degrees", "units", "intervals", "sets", "tuples", "plus-minus", "mixed", "decimals", "base",
    "times", "words", "matrices", "equations", "inequalities", "ratios", "degrees under", "the empty set",
}  # fmt: skip


class Graded(NamedTuple):
    """What the grader says of each reference and answer, and a vote of each row."""

    verdicts: dict[tuple[str, str], Verdict]
    votes: tuple[bool | None, ...]


@pytest.fixture(scope="module")
def graded() -> Graded:
    async def grade() -> Graded:
        equivalence, space = Equivalence(seconds=30), MathSpace(seconds=300)
        pairs = [
            (one, other) for row in ROWS if (one := space.answer(row.reference)) and (other := space.answer(row.answer))
        ]
        assert len(pairs) == len(ROWS)
        try:
            votes = await equivalence.same_many(space, pairs, ComparisonMeter())
            asked = [pair for row in ROWS for pair in ((row.reference, row.answer), (row.answer, row.reference))]
            graded = await asyncio.gather(*(equivalence.accepts(*pair) for pair in asked))
            return Graded(dict(zip(asked, graded, strict=True)), votes)
        finally:
            await equivalence.close()

    return asyncio.run(grade())


@pytest.fixture(scope="module")
def verdicts(graded: Graded) -> dict[tuple[str, str], Verdict]:
    return graded.verdicts


def test_every_case_of_the_policy_has_a_row() -> None:
    written = " ".join(row.case for row in ROWS)
    assert {case for case in CASES if case not in written} == set()
    assert {row.equal for row in ROWS} == {"yes", "no"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.reference}~{row.answer}")
def test_the_grader_follows_the_page(row: Row, verdicts: dict[tuple[str, str], Verdict]) -> None:
    there, back = verdicts[row.reference, row.answer], verdicts[row.answer, row.reference]
    grade = {"yes": "right", "no": "wrong"}[row.equal]
    assert (there.status, back.status) == (grade, grade)


def test_a_vote_follows_the_page_too(graded: Graded) -> None:
    """So answers that accept each other meet in a block."""
    for row, same in zip(ROWS, graded.votes, strict=True):
        assert same == (row.equal == "yes"), row


def test_what_a_loose_policy_adds_is_on_the_page_and_different_without_it() -> None:
    assert {row.case.split("`")[1] for row in LOOSE} == {*POLICIES}
    for row in LOOSE:
        loose = MathSpace(loose=(cast("Policy", row.case.split("`")[1]),)).accepts
        assert loose(row.reference, row.answer) == loose(row.answer, row.reference) == (row.equal == "yes"), row
        assert math_worker.accepts(row.reference, row.answer) <= loose(row.reference, row.answer)


def test_a_vote_is_by_the_loose_policies_too() -> None:
    async def vote() -> tuple[bool | None, ...]:
        equivalence, space = Equivalence(seconds=30), MathSpace(seconds=300, loose=("units", "rounding"))
        pairs = [(r"5\text{ cm}", r"5\text{ m}"), (r"\sqrt{2}", "1.414"), (r"\sqrt{2}", "1.5"), ("(1,2)", "(2,1)")]
        answers = [(one, other) for a, b in pairs if (one := space.answer(a)) and (other := space.answer(b))]
        try:
            return await equivalence.same_many(space, answers, ComparisonMeter())
        finally:
            await equivalence.close()

    assert asyncio.run(vote()) == (True, True, False, False)
