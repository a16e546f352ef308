"""The written policy on equal mathematical answers, row by row through the real grader."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from reasoner.answers.equivalence import ComparisonMeter, Equivalence, Verdict
from reasoner.answers.maths import MathSpace

PAGE = Path(__file__).parents[2] / "docs" / "answers.md"


class Row(NamedTuple):
    case: str
    reference: str
    answer: str
    equal: str


def rows() -> Iterator[Row]:
    table = PAGE.read_text().partition("| case | reference | answer | equal |\n")[2].partition("\n\n")[0]
    for line in table.splitlines()[1:]:
        case, *cells, equal = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        reference, answer = (cell.strip("`").replace("\\|", "|") for cell in cells)
        yield Row(case, reference, answer, equal)


ROWS = list(rows())
CASES = {
    "percent", "currency", "degrees", "units", "intervals", "sets", "tuples", "plus-minus", "mixed", "decimals", "base",
    "times", "words", "matrices", "equations", "inequalities", "ratios", "dates", "degrees under", "the empty set",
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
