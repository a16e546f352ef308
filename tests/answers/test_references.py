"""The kind of answer that the reference answers of a file share."""

import pytest

from reasoner.answers.references import ReferenceKinds

NUMBERS = ["7", "1,234", "-3", "$5", "50%", "3/4", "0.5", "2e5", "3 + 4 = 7\n#### 7"]
AMOUNTS = ["72 km", "5 apples", "31 May"]
FORMULAS = ["x^2 + 1", "(3, 4)", "pi/4", "\\text{even}", "So it is $\\boxed{\\sqrt3}$."]
TEXTS = ["Paris", "World War 2", "Apollo 11", "no idea", "7th", "five", "[Rome, Oslo]"]
UNCLEAR = ["B", "2024-05-01", "10:30", "3-2", "2x + 3", "p - q"]
OPTIONS = "Which city? A) Paris B) Rome"


def kinds(*references: str, question: str = "What is it?") -> ReferenceKinds:
    found = ReferenceKinds()
    for reference in references:
        found.add(question, reference)
    return found


@pytest.mark.parametrize(
    ("references", "kind"),
    [
        (NUMBERS, "number"),
        ([*NUMBERS, *AMOUNTS], "number"),
        (AMOUNTS, None),
        ([*AMOUNTS, *TEXTS], "text"),
        ([*NUMBERS, *FORMULAS], "math"),
        (TEXTS, "text"),
        (["yes", "No", "true"], "yes_no"),
        ([*NUMBERS, "Paris"], None),
        ([*FORMULAS, "Evelyn"], None),
        (["yes", "7"], None),
        *(([unclear], None) for unclear in UNCLEAR),
        ([*NUMBERS, UNCLEAR[0]], None),
        ([], None),
    ],
)
def test_all_reference_answers_together_decide_or_none_does(
    references: list[str], kind: str | None
) -> None:
    assert kinds(*references).kind == kind
    assert kinds(*reversed(references)).kind == kind


def test_where_each_question_lists_its_answer_the_kind_is_a_choice() -> None:
    assert kinds("A", "Rome", question=OPTIONS).kind == "choice"
    assert kinds("1", "2", question="What is 3 + 4?\n1) 6 2) 7").kind == "choice"
    mixed = kinds("A", question=OPTIONS)
    mixed.add("Which vitamin?", "C")
    assert mixed.kind is None


def test_numbers_stay_numbers_where_one_question_lists_options() -> None:
    found = kinds(*NUMBERS)
    found.add("What is 3 + 4?\n1) 6 2) 7", "2")
    assert found.kind == "number"
