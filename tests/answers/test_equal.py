"""Which mathematical answers are equal: the table of the page, more pairs of its cases, and pairs written before the rules."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from reasoner.answers import math_worker
from reasoner.answers.maths import MathSpace
from reasoner.types import Answer, Blocks
from reasoner.voting import mutual

MATH = MathSpace()
HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "answers.md"
Row = tuple[str, str, str, bool]
"""A case, two answers, and whether they are equal."""


def policy() -> Iterator[Row]:
    table = (
        PAGE.read_text()
        .partition("| case | reference | answer | equal |\n")[2]
        .partition("\n\n")[0]
    )
    for line in table.splitlines()[1:]:
        case, *cells, equal = [
            cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]
        ]
        reference, answer = (cell.strip("`").replace("\\|", "|") for cell in cells)
        yield case, reference, answer, {"yes": True, "no": False}[equal]


def more_pairs() -> Iterator[Row]:
    for line in (HERE / "pairs.tsv").read_text("utf-8").splitlines()[1:]:
        case, equal, reference, answer = line.split("\t")
        yield case, reference, answer, equal == "yes"


ROWS = [*policy(), *more_pairs()]


def voted(one: Answer, other: Answer) -> bool:
    """What a vote says of two answers, which it knows by their keys alone."""
    one, other = Answer(one.key, one.key), Answer(other.key, other.key)
    verdict = mutual(MATH, one, other)
    if verdict is None:
        verdict = math_worker.accepts(one.text, other.text) and math_worker.accepts(
            other.text, one.text
        )
    return verdict and (one.key == other.key or blocks(one).meets(blocks(other)))


def blocks(answer: Answer) -> Blocks:
    known = MATH.blocks(answer)
    return math_worker.find_blocks(answer.text) if known is None else known


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[1]}~{row[2]}")
def test_two_answers_are_equal_in_both_directions_and_in_a_vote_or_in_none(
    row: Row,
) -> None:
    _, reference, answer, equal = row
    there, back = (
        math_worker.accepts(reference, answer),
        math_worker.accepts(answer, reference),
    )
    one, other = MATH.answer(reference), MATH.answer(answer)
    assert one
    assert other
    assert (there, back, voted(one, other)) == (equal, equal, equal)


@pytest.mark.parametrize(
    "answer", sorted({answer for _, *answers, _ in ROWS for answer in answers})
)
def test_a_key_is_read_as_itself(answer: str) -> None:
    """Votes know keys alone."""
    read = MATH.answer(answer)
    assert read
    again = MATH.answer(read.key)
    assert again
    assert again.key == read.key
