"""One-digit arithmetic: what is reported is never practised on."""

import re

from reasoner_evals.tasks import arithmetic
from reasoner_evals.tasks.graders import GradedQuestion


def numbers(item: GradedQuestion) -> tuple[str, frozenset[str]]:
    found = re.search(r"(\d+) ([+x-]) (\d+)", item.question.text)
    assert found
    return found[2], frozenset((found[1], found[3]))


def test_no_reported_pair_is_practised_or_developed_on_in_any_order_or_wording() -> (
    None
):
    reported = {numbers(item) for item in arithmetic.reported()}
    others = [
        *arithmetic.Arithmetic("development").load().items,
        *arithmetic.practice(800, seed=1),
    ]
    assert reported.isdisjoint(map(numbers, others))


def test_arithmetic_is_enough_to_report_on_and_keeps_what_is_for_development_apart() -> (
    None
):
    reported, development = (
        arithmetic.Arithmetic(split).load() for split in ("reported", "development")
    )
    assert [item.question for item in reported.items[:50]] == [
        item.question for item in arithmetic.reported()
    ]
    assert reported.source.items >= 100
    groups = [{item.group for item in data.items} for data in (reported, development)]
    assert [len(group) for group in groups] == [50, 40]
    assert not groups[0] & groups[1]


def test_the_reference_answers_are_right() -> None:
    for item in (*arithmetic.reported(), *arithmetic.practice(800)):
        found = re.search(r"(\d+) ([+x-]) (\d+)", item.question.text)
        assert found
        a, b = int(found[1]), int(found[3])
        assert int(item.gold) == {"+": a + b, "x": a * b, "-": a - b}[found[2]]
