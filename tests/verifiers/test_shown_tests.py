"""The tests that questions show: each form is read, what may be meant otherwise is not, and nothing is read wrongly."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasoner.sandbox.check import Program
from reasoner_verifiers.shown_tests import (
    AskedFunction,
    asked_function,
    shown_tests,
    written_tests,
)

DATA = (
    Path(__file__).parents[3]
    / "shared"
    / "data"
    / "benchmarks"
    / "humaneval_even.jsonl"
)
BEGUN = "def f(xs, k=0):\n"
FORMS = [
    ("f([1], 2) == 3", "assert f([1], 2) == 3"),
    (">>> f([1], 2) == 3", "assert f([1], 2) == 3"),
    (">>> k = 2\n>>> f([1], k)\n3", "k = 2\nassert f([1], k) == 3"),
    (">>> sorted(f([1], 2))\n[3]", "assert sorted(f([1], 2)) == [3]"),
    ("    assert f([1],\n             2) == 3", "assert f([1], 2) == 3"),
    ("* f([1], 2) ➞ True # because it is", "assert f([1], 2) == True"),
    ("For example, `f([1], 2)` should return `'a'`.", "assert f([1], 2) == 'a'"),
    ("f([1], 2) = 0.25", "assert abs(f([1], 2) - 0.25) <= 1e-06"),
    (
        "f([1], 2) == 0.5\nassert f([1], 2) == 0.5, 'half'",
        "assert abs(f([1], 2) - 0.5) <= 1e-06",
    ),
    ("f([1], 2) ==> ('a',)", "assert f([1], 2) == ('a',)"),
    ("**Input:** `[1], 2`\n**Output:** `3`", "assert f([1], 2) == 3"),
    ("For xs = [1], k = 2, the output should be 3.", "assert f([1], 2) == 3"),
]


def shown(text: str, *names: str) -> tuple[str | Program, ...]:
    return shown_tests(text, asked_function(text, names or ("f",)))


@pytest.mark.parametrize(("form", "test"), FORMS)
def test_each_form_is_read(form: str, test: str) -> None:
    assert test in shown(f"{BEGUN}{form}\n")


@pytest.mark.parametrize(
    "text",
    [
        "f([1], 2) is called with f([1], 3)",
        "f(a, 2) => 3",
        "f([1], 2) ==> ('a')",
        "f(n, 2) = f(n - 1, 2) + 1\nf(1, 2) = 3",
        "f([1], 2) == 3\nf([1], 2) == 4",
        ">>> f([1], 2)\nTraceback (most recent call last):\nValueError",
        ">>> f([1], 2)\n3\n  4\n>>>f([], 2)\n5",
        "Input: ys = [1], k = 2\nOutput: 3",
        "Input: [1]\nOutput: 3",
        "f(" + "[" * 5000 + "]" * 5000 + ", 2) == 3",
        "f(1) == " + "9" * 6000 + "e9" * 3000,
    ],
)
def test_what_may_be_meant_otherwise_is_not_read(text: str) -> None:
    assert shown(f"{BEGUN}{text}\n") == ()


def test_a_name_that_the_question_only_calls_is_found() -> None:
    text = "Write a function that adds one.\n\nassert add_one(max(1, 0)) == 2\nassert set(add_one(3)) == {4}"
    assert shown(text, "max", "set", "add_one") == tuple(text.split("\n")[2:])
    assert (
        asked_function("Write a class Stack with Stack() and push(1).", ("Stack",))
        is None
    )


def test_what_stands_above_the_function_is_code_for_every_answer() -> None:
    helper = "import math\n\ndef half(x):\n    return x / 2\n\n"
    asked = asked_function(
        f"Complete this.\n```python\n{helper}def f(x: int) -> 'tuple[int, int]':\n```",
        ("half", "f"),
    )
    assert asked == AskedFunction("f", ("x",), helper)
    test = "assert half(f(1)) == math.pi"
    assert shown_tests(test, asked) == (f"import math\n{test}",)
    for above in ("Hello", "run_me()", "if True:\n    pass", "x ="):
        found = asked_function(f"{above}\ndef f(x):", ("f",))
        assert found
        assert found.preamble == ""


def test_a_method_of_solution_is_called_as_the_sandbox_calls_it() -> None:
    text = "class Solution:\n    def f(self, xs: list[int],\n          k: int) -> int:\n\nInput: xs = [1], k = 2\nOutput: 3"
    assert shown(text) == ("def check(candidate):\n    assert candidate([1], 2) == 3",)
    assert shown(text.replace("Solution", "Other")) == ()


def test_samples_of_a_program_are_its_input_and_output() -> None:
    text = "Read n from standard input.\n\nSample Input 1\n\n```\n2\n3 4\n```\n\nSample Output 1\n\n7\n8\n\nAs 3 + 4 = 7."
    assert shown(text) == (Program("2\n3 4\n", "7\n8"),)
    assert shown("Read standard input.\nInput: 3\nOutput: 9") == (Program("3\n", "9"),)
    assert shown(text.replace("standard input", "the line")) == ()


PLAIN = st.recursive(
    st.integers() | st.booleans() | st.text("ab #`'\"()[]=->,.:\\\n%", max_size=6),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)
TEMPLATES = (
    ">>> f({0}, {1})\n{2}\n",
    "assert f({0}, {1}) == {2}",
    "f({0}, {1}) == {2}",
    "`f({0}, {1})` returns `{2}`.",
    "f({0}, {1}) -> {2}  # so it is",
    "Input: xs = {0}, k = {1}\nOutput: {2}\n",
    "For xs = {0}, k = {1} the output should be {2}",
)


@given(PLAIN, PLAIN, PLAIN, st.sampled_from(TEMPLATES))
def test_nothing_is_read_wrongly_whatever_the_values_hold(
    xs: Any, k: Any, result: Any, template: str
) -> None:
    for test in shown(BEGUN + template.format(repr(xs), repr(k), repr(result))):
        passes({"f": lambda *values: result if values == (xs, k) else object()}, test)


@given(
    st.lists(st.integers()),
    st.text("abc xyz"),
    st.booleans() | st.integers(),
    st.sampled_from(TEMPLATES),
)
def test_plain_values_are_always_read(
    xs: list[int], k: str, result: object, template: str
) -> None:
    assert len(shown(BEGUN + template.format(repr(xs), repr(k), repr(result)))) == 1


def passes(names: dict[str, Any], test: str | Program) -> None:
    assert isinstance(test, str)
    exec(test, names)


@pytest.mark.skipif(
    not DATA.exists(),
    reason="the problems are in ../shared, which only some machines have",
)
def test_reference_solutions_pass_what_is_read_from_their_questions() -> None:
    """But for one problem, in which the examples are wrong."""
    wrong, read = [], 0
    for row in map(json.loads, DATA.read_text("utf-8").splitlines()):
        asked = asked_function(row["prompt"], (row["entry_point"],))
        assert asked
        tests = shown_tests(row["prompt"], asked)
        read += bool(tests)
        for test in tests:
            names: dict[str, Any] = {}
            exec(row["prompt"] + row["canonical_solution"], names)
            try:
                passes(names, test)
            except AssertionError:
                wrong.append(row["task_id"])
    assert {*wrong} <= {"HumanEval/116"}
    assert read >= 76


def test_of_a_reply_only_plain_statements_about_one_call_are_tests() -> None:
    reply = """Here:
```python
def f(xs): return 1
assert f([1]) == 2
assert f([1]) == 2  # again
assert not f([])
assert f([2]) is None
assert f("a"), "text"
assert f(open("x")) == 1
assert f([3]) == f([4])
assert f([3]) == __import__("os").getpid()
assert f([9 ** 9 ** 9]) == 1
assert f([5]) > 4
assert g(1) == 1
assert f([6]) == 0.5
assert f(["""
    assert written_tests(reply + "(" * 500, AskedFunction("f")) == (
        "assert f([1]) == 2",
        "assert f([2]) is None",
        "assert abs(f([6]) - 0.5) <= 1e-06",
    )
