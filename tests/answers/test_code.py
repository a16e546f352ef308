"""Code read out of what models write, and known again in another layout."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reasoner.answers.code import MAX_PARSED, CodeSpace
from reasoner.answers.kinds import space_for
from reasoner.answers.thinking import TAIL

SPACE = CodeSpace()

READ: list[tuple[str, str | None, str]] = [
    ("So:\n```python\nx = 1\n```\nDone.", "x = 1\n", "form"),
    ("```\nx = 1\n```", "x = 1\n", "form"),
    ("```python\nx = 1\n```\nor\n```python\nx = 2\n```\n", "x = 2\n", "form"),
    ("```python\nx = 1\n```\nIt prints:\n```text\n1\n```", "x = 1\n", "form"),
    ("````python\ns = '''\n```\n'''\n````", "s = '''\n```\n'''\n", "form"),
    (
        "1. So:\n   ```python\n   def f():\n       return 1\n   ```",
        "def f():\n    return 1\n",
        "form",
    ),
    (
        '```python\ndef f():\n    """\n    ```\n    """\n```',
        'def f():\n    """\n    ```\n    """\n',
        "form",
    ),
    ("```python\ndef f(", None, ""),
    ("```python\nx = 1\n```\n```python\nx = 2\n", "x = 1\n", "form"),
    ("<think>```python\nx = 1\n```", None, ""),
    (
        "<think>\n```python\nx = 1\n```\n</think>\n```python\nx = 2\n```",
        "x = 2\n",
        "form",
    ),
    ("y = 1\n```\nSo:\n```python\nx = 1\n```", "x = 1\n", "form"),
    ("<answer>\n```python\nx = 1\n```\n</answer>\nThis sets x.", "x = 1\n", "form"),
]


@pytest.mark.parametrize(("text", "code", "rule"), READ)
def test_code_is_read(text: str, code: str | None, rule: str) -> None:
    found = SPACE.read(text)
    assert (found.text if found else None) == code
    assert (found.rule if found else "") == rule


ADD = "def add(a, b):\n    return a + b\n"
BAD = "def add(a, b):\n    return a - b\n"
TRIALS = {
    "unittest": "import unittest\nclass AddSpec(unittest.TestCase):\n    def test(self):\n        assert add(1, 2) == 3\nunittest.main()\n",
    "pytest": "@pytest.fixture\ndef pair():\n    return 1, 2\n\ndef test_add(pair):\n    assert add(*pair) == 3\n",
    "main": "def main():\n    print(add(1, 2))\n\nif __name__ == '__main__':\n    main()\n",
    "demo": "from adding import add\ndef demo():\n    print(add(1, 2))\n\ndemo()\n",
    "use": "result = add(1, 2)\nprint(result)\n",
}


def block(code: str, language: str = "python") -> str:
    return f"```{language}\n{code}```\n"


@pytest.mark.parametrize("trial", TRIALS.values(), ids=TRIALS)
@pytest.mark.parametrize(
    "space",
    [SPACE, space_for("code", "Write `add(a, b)`, the sum.")],
    ids=["alone", "asked"],
)
def test_the_solution_is_read_whatever_tries_it(space: CodeSpace, trial: str) -> None:
    for text, code in (
        (f"{block(ADD)}{block(trial)}", ADD),
        (f"{block(trial)}{block(ADD)}", ADD),
        (f"{block(ADD, '')}{block(trial, '')}", ADD),
        (f"{block(BAD)}{block(trial)}That fails.\n{block(ADD)}{block(trial)}", ADD),
        (f"{block(ADD)}All of it:\n{block(ADD + trial)}", ADD + trial),
        (f"{block(ADD)}{block('python add.py', 'bash')}{block('3', '')}", ADD),
        (
            f"{block('function add(a, b) {}', 'js')}{block(ADD)}{block('class Main { int add() {} }', '')}",
            ADD,
        ),
        (block(trial), trial),
    ):
        found = space.read(text)
        assert found is not None
        assert found.text == code, text


@pytest.mark.parametrize(
    ("question", "text", "code"),
    [
        (
            "Write add.",
            block("add = lambda a, b: a + b\n") + block("print(add(1, 2))\n"),
            "add = lambda a, b: a + b\n",
        ),
        (
            "Read two numbers.",
            block("print(int(input()))\n") + "It prints:\n" + block("3\n", ""),
            "print(int(input()))\n",
        ),
        (
            "def add(a, b):",
            block(f"def one(): ...\n{ADD}") + block("def one():\n    return 1\n"),
            f"def one(): ...\n{ADD}",
        ),
        ("Call it `add`.", block(ADD) + block("def plot(f):\n    f(1, 2)\n"), ADD),
        (
            "Test the function.",
            block("import add\n") + block(TRIALS["pytest"]),
            TRIALS["pytest"],
        ),
    ],
)
def test_what_the_question_names_is_the_solution(
    question: str, text: str, code: str
) -> None:
    found = space_for("code", question).read(text)
    assert found is not None
    assert found.text == code


def one(a: str, b: str) -> bool:
    first, second = (
        SPACE.read(f"```python\n{a}\n```"),
        SPACE.read(f"```python\n{b}\n```"),
    )
    assert first is not None
    assert second is not None
    return SPACE.same(first, second) is True


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("x = 1", "x=1  # one\n\n", True),
        ("def f(a):\n    return a", "def f( a ):\n  return (a)", True),
        ("x = 1", "x = 2", False),
        ("if a:\n    b()\n    c()", "if a:\n    b()\nc()", False),
        ("no code here", "no  code here", False),
        (f"x = 1\n#{'y' * MAX_PARSED}", f"x=1\n#{'y' * MAX_PARSED}", False),
        ("x = " + "(" * 99 + "1" + ")" * 99, "x = " + "(" * 99 + "1" + ")" * 99, True),
    ],
)
def test_two_codes_are_one_when_only_layout_differs(a: str, b: str, same: bool) -> None:
    assert one(a, b) is same


MARKS = [
    "```",
    "```python\n",
    "~~~",
    "\n",
    "    ",
    "x = 1",
    "(",
    ")",
    "'",
    '"""',
    "\\d",
    "#",
    "\x00",
    "\ud800",
    "\r",
    "\x0c",
    "\u00e9",
]


@given(st.one_of(st.text(), st.lists(st.sampled_from(MARKS), max_size=40).map("".join)))
@example("```\n\ud800\n```")
@example("```\n'\\d'\n```")
def test_no_text_makes_it_raise(text: str) -> None:
    found = SPACE.read(text)
    assert found is None or SPACE.same(found, found)


HOSTILE = [
    "(" * TAIL,
    "not " * (MAX_PARSED // 4 - 1) + "1",
    "a" + ".a" * (MAX_PARSED // 2 - 1),
    "lambda:" * (MAX_PARSED // 7 - 1) + "1",
    "1 if 1 else " * (MAX_PARSED // 12 - 1) + "1",
    "if 1:\n 1\n" + "elif 1:\n 1\n" * (MAX_PARSED // 11 - 1),
    " " * TAIL,
    "~" * TAIL,
]


@pytest.mark.parametrize("body", HOSTILE, ids=lambda body: f"{body[:14]!a}*{len(body)}")
def test_hostile_text_ends_soon(body: str) -> None:
    SPACE.read(f"```python\n{body}\n```")
    SPACE.read(f"{body}\n```python\nx = 1\n```")


def test_the_key_does_not_depend_on_how_deep_the_caller_is() -> None:
    text = "```python\n" + "x = " + "-" * 90 + "1\n```"

    def deeper(levels: int) -> str:
        if levels:
            return deeper(levels - 1)
        found = SPACE.read(text)
        assert found is not None
        return found.key

    assert deeper(0) == deeper(200)
