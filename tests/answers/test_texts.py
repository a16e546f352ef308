"""Exact match of free text, by the published script of SQuAD."""

import pytest

from reasoner.answers import squad_em

# The prediction, the references, exact match: worked by the rules of the script.
SCORED: list[tuple[str, list[str], bool]] = [
    ("The Eiffel Tower!", ["eiffel tower"], True),
    ("Denver Broncos", ["Denver Broncos", "The Broncos"], True),
    ("the Denver Broncos team", ["Denver Broncos"], False),
    ("Broncos", ["Carolina Panthers", "Denver Broncos"], False),
    ("a cat and a cat", ["cat"], False),
    ("cat", ["cat cat"], False),
    ("Paris", ["London"], False),
    ("", [""], True),
    ("the", ["a"], True),
    ("", ["Paris"], False),
    ("Paris", [], False),
    ("yes", ["yes"], True),
    ("yes", ["no"], False),
    ("yes it is", ["yes"], False),
    ("no", ["no way"], False),
    ("noanswer", ["noanswer at all"], False),
    ("yes it is", ["yes it was"], False),
    ("yes it is", ["yes", "it is yes"], False),
]


@pytest.mark.parametrize(("prediction", "golds", "exact"), SCORED)
def test_text_is_scored_as_published(prediction: str, golds: list[str], exact: bool) -> None:
    assert squad_em(prediction, golds) is exact
