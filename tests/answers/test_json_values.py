"""Answers that are JSON values."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.answers.whole import JsonSpace

SPACE = JsonSpace()
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def backwards(value: Any) -> Any:
    """The same value with all names in the other order."""
    if isinstance(value, dict):
        return {name: backwards(item) for name, item in reversed(value.items())}
    return [backwards(item) for item in value] if isinstance(value, list) else value


@given(VALUES, st.sampled_from([None, 2]), st.booleans())
def test_layout_and_order_do_not_count(value: Any, indent: int | None, ascii_only: bool) -> None:
    plain = SPACE.read(json.dumps(value))
    other = SPACE.read(f"\n{json.dumps(backwards(value), indent=indent, ensure_ascii=ascii_only)}  ")
    assert plain is not None
    assert other is not None
    assert SPACE.same(plain, other)


@given(VALUES, VALUES)
def test_two_answers_are_the_same_if_and_only_if_the_values_are(first: Any, second: Any) -> None:
    def kinds(value: Any) -> Any:
        """The value with booleans apart from numbers, which Python holds to be equal."""
        if isinstance(value, dict):
            return {name: kinds(item) for name, item in value.items()}
        if isinstance(value, list):
            return [kinds(item) for item in value]
        return ("bool", value) if isinstance(value, bool) else value

    a, b = SPACE.read(json.dumps(first)), SPACE.read(json.dumps(second))
    assert a is not None
    assert b is not None
    assert SPACE.same(a, b) == (kinds(first) == kinds(second))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('Here it is:\n```json\n{"a": 1}\n```\nDone.', {"a": 1}),
        ("```\n[1]\n```\nor rather\n```json\n[2]\n```", [2]),
        ('```json\n{"a": \n```\n', None),
        ('{"a": 1} and more', None),
        ("[" * 100_000, None),
        ("NaN", None),
        ("9" * 5000, None),
        ("", None),
        ("1e400", None),
    ],
)  # fmt: skip
def test_a_reply_is_read_as_a_whole_or_by_its_last_fenced_block(text: str, value: Any) -> None:
    answer = SPACE.read(text)
    assert (answer and json.loads(answer.text)) == value
