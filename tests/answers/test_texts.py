"""Exact match and F1 of free text, by the published scripts of SQuAD and HotpotQA."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.answers import squad_em, squad_f1

# The prediction, the references, exact match, F1: worked by the rules of both scripts.
SCORED: list[tuple[str, list[str], bool, float]] = [
    ("The Eiffel Tower!", ["eiffel tower"], True, 1.0),
    ("Denver Broncos", ["Denver Broncos", "The Broncos"], True, 1.0),
    ("the Denver Broncos team", ["Denver Broncos"], False, 0.8),
    ("Broncos", ["Carolina Panthers", "Denver Broncos"], False, 2 / 3),
    ("a cat and a cat", ["cat"], False, 0.5),
    ("cat", ["cat cat"], False, 2 / 3),
    ("Paris", ["London"], False, 0.0),
    ("", [""], True, 1.0),
    ("the", ["a"], True, 1.0),
    ("", ["Paris"], False, 0.0),
    ("Paris", [], False, 0.0),
    ("yes", ["yes"], True, 1.0),
    ("yes", ["no"], False, 0.0),
    ("yes it is", ["yes"], False, 0.0),
    ("no", ["no way"], False, 0.0),
    ("noanswer", ["noanswer at all"], False, 0.0),
    ("yes it is", ["yes it was"], False, 2 / 3),
    ("yes it is", ["yes", "it is yes"], False, 1.0),
]


@pytest.mark.parametrize(("prediction", "golds", "exact", "f1"), SCORED)
def test_text_is_scored_as_published(prediction: str, golds: list[str], exact: bool, f1: float) -> None:
    assert squad_em(prediction, golds) is exact
    assert squad_f1(prediction, golds) == pytest.approx(f1)


words = st.lists(st.sampled_from(["cat", "dog", "the", "a", "yes", "no", "Ox", "!"]), max_size=6).map(" ".join)


@given(words, st.lists(words, max_size=3))
def test_f1_is_a_share_and_1_where_the_match_is_exact(prediction: str, golds: list[str]) -> None:
    f1 = squad_f1(prediction, golds)
    assert 0 <= f1 <= 1
    assert f1 == 1 or not squad_em(prediction, golds)


@given(words, words)
def test_f1_does_not_mind_which_is_the_reference(one: str, other: str) -> None:
    assert squad_f1(one, [other]) == squad_f1(other, [one])
