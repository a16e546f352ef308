"""Values that cross between the code and its tests, and what the tests see of the code."""

import asyncio
import json
import math
from collections import defaultdict
from contextlib import suppress
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.sandbox import check
from reasoner.sandbox.inner import Uncrossable, decode, encode, same
from tests.sandbox.attacking import CONFINED, checked

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(allow_nan=False),
    st.text(),
    st.binary(),
    st.builds(bytearray, st.binary()),
    st.integers(-(10**400), 10**400),
    st.builds(range, st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 9)),
)
hashables = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(),
        st.binary(),
    ),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
values = st.recursive(
    scalars | st.sets(hashables, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(hashables, inner, max_size=3)
    ),
    max_leaves=8,
)


def identical(a: object, b: object) -> bool:
    """Equal and of the same types throughout, tuples apart from lists."""
    return repr(a) == repr(b) or (type(a) is type(b) and a == b)


@given(values)
def test_a_value_crosses_as_it_is(value: object) -> None:
    back = decode(json.loads(json.dumps(encode(value), allow_nan=False)))
    assert identical(back, value)
    assert same(back, value)


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Point(1, 2), (1, 2)),
        (defaultdict(list, {1: [2]}), {1: [2]}),
        (type("Text", (str,), {})("x"), "x"),
        (type("Number", (int,), {"__index__": lambda self: 9})(3), 3),
    ],
)
def test_a_subclass_arrives_as_the_built_in_type(value: object, plain: object) -> None:
    assert identical(decode(json.loads(json.dumps(encode(value)))), plain)


def test_an_iterator_arrives_as_one() -> None:
    for made in (iter([1, 2]), (n for n in (1, 2)), map(int, "12"), reversed([2, 1])):
        arrived = decode(encode(made))
        assert next(arrived) == 1
        assert list(arrived) == [2]


@pytest.mark.parametrize("value", [object(), [object()], {1: object()}, iter(int, 1)])
def test_what_has_no_spelling_is_refused(value: object) -> None:
    with pytest.raises(Uncrossable):
        encode(value)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=4),
    )
)
def test_what_spells_no_value_raises_what_is_caught(spelled: object) -> None:
    with suppress(
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        RecursionError,
        OverflowError,
    ):
        decode(spelled)


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (1, 1.0, False),
        (True, 1, False),
        ("a", b"a", False),
        ([1], {1}, False),
        ((1,), [1], True),
        (math.nan, math.nan, True),
        ({"a": (1,)}, {"a": [1]}, True),
        ({1}, frozenset({1}), False),
    ],
)
def test_values_are_the_same_by_type_and_value(
    a: object, b: object, equal: bool
) -> None:
    assert same(a, b) is same(b, a) is equal


SEEN = [
    ("def f(x): x.append(1)", "x = [0]\nf(x)\nassert x == [0, 1]"),
    ("def f(x): x[0][0] = 9", "x = [[1, 2], [3]]\nf(x)\nassert x == [[9, 2], [3]]"),
    ("def f(x): return x", "x = [1]\nassert f(x) == x and f(x) is not x"),
    (
        "def f(): raise KeyError('k')",
        "try:\n    f()\n    assert False\nexcept KeyError: pass",
    ),
    (
        "def f(): raise UnicodeDecodeError('utf-8', b'', 0, 1, 'x')",
        "try:\n    f()\n    assert False\nexcept UnicodeError: pass",
    ),
    ("def f():\n    yield from range(5)", "assert list(f()) == [0, 1, 2, 3, 4]"),
    (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: 'int'\ndef f(): return P(1).x",
        "assert f() == 1",
    ),
    (
        "if __name__ == '__main__': raise SystemExit\ndef f(): return 1",
        "assert f() == 1",
    ),
    (
        "def f(x): return x",
        "import asyncio\nasync def go(): return f(1)\nassert asyncio.run(go()) == 1",
    ),
    ("f = lambda: complex(1, float('inf'))", "assert f() == complex(1, float('inf'))"),
]


@CONFINED
@pytest.mark.parametrize(("code", "test"), SEEN)
def test_the_tests_see_what_a_caller_would_see(code: str, test: str) -> None:
    verdict = checked(code, test)
    assert verdict.status == "pass", verdict


UNSEEN = [
    ("def f(): return 1", "assert f() == 1.5 or f() is None"),
    ("f = 7", "f()"),
    ("def f(): raise SystemExit", "f()"),
    ("def f(x): x.append(object())", "x = []\nf(x)"),
]


@CONFINED
@pytest.mark.parametrize(("code", "test"), UNSEEN)
def test_what_a_caller_would_not_see_fails(code: str, test: str) -> None:
    assert checked(code, test).status == "fail"


@pytest.mark.parametrize(("nonce", "status"), [("right", "pass"), ("wrong", "crash")])
def test_a_record_without_the_nonce_is_no_verdict(nonce: str, status: str) -> None:
    """Whatever reaches the pipe of the records: only the process that runs the tests knows the nonce."""

    async def verdict() -> str:
        records = asyncio.StreamReader()
        for record in (
            {"test": 0, "status": "pass", "detail": ""},
            {"test": -1, "status": "end", "detail": ""},
        ):
            records.feed_data(json.dumps({"nonce": nonce, **record}).encode() + b"\n")
        records.feed_eof()
        findings = check._Findings(1)
        await check._listen(records, "right", findings)
        return findings.verdict().status

    assert asyncio.run(verdict()) == status
