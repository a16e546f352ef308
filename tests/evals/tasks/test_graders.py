"""Graders: what is right, what is wrong, and what says nothing of the answer."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from reasoner import Question
from reasoner.answers.equivalence import Equivalence
from reasoner.errors import UsageError
from reasoner.sandbox.check import CodeVerdict, Sandbox
from reasoner.sandbox.layers import detect
from reasoner.testing.support import completion
from reasoner_evals.tasks import graders
from reasoner_evals.tasks.benchmarks import HumanEval
from reasoner_evals.tasks.data import DataRow
from reasoner_evals.tasks.graders import (
    CodeGrader,
    GradedQuestion,
    ReferenceGrader,
    require_sandbox,
)
from tests.evals.tasks.samples import HUMANEVAL
from tests.labelling import grade

confined = pytest.mark.skipif(
    bool(detect().missing), reason=f"the sandbox lacks its minimum: {detect().missing}"
)


def graded(item: GradedQuestion, text: str) -> str:
    return asyncio.run(grade(item, completion(text), Equivalence()))


def block(written: str) -> str:
    return f"```python\n{written}\n```"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("The Tower", "right"),
        ("a spire", "right"),
        ("the tower of stone", "wrong"),
        ("...", "no_answer"),
    ],
)
def test_free_text_is_right_where_it_is_one_of_the_answers_as_squad_compares_them(
    said: str, status: str
) -> None:
    item = GradedQuestion(
        Question.of("What?", space="text"), "tower", grader=ReferenceGrader(("Spire.",))
    )
    assert graded(item, f"Answer: {said}") == status


def function(**options: Any) -> GradedQuestion:
    tests = ("assert f(1) == 2", "assert f(2) == 3")
    return GradedQuestion(
        Question.of("Write f.", space="code"),
        "def f(x): return x + 1",
        grader=CodeGrader(tests, **options),
    )


@confined
@pytest.mark.parametrize(
    ("written", "status"),
    [
        ("def f(x):\n    return x + 1", "right"),
        ("def f(x):\n    return 2", "wrong"),
        ("def f(x):\n    while True: pass", "wrong"),
        ("import os\nos._exit(0)", "wrong"),
    ],
)
def test_code_is_right_where_it_passes_all_tests_and_its_own_limits_are_its_fault(
    written: str, status: str
) -> None:
    assert graded(function(seconds=1.0), block(written)) == status


@confined
def test_what_the_question_defines_is_there_for_the_answer() -> None:
    item = function(preamble="from math import floor\n\n\n")
    assert graded(item, block("def f(x):\n    return floor(x + 1.5)")) == "right"
    head = HUMANEVAL[0]["prompt"]
    made = HumanEval().item(DataRow("own:1", 0, HUMANEVAL[0]))
    assert isinstance(made.grader, CodeGrader)
    assert made.grader.preamble == head[: head.index("def twice")]
    assert (
        graded(made, block("def twice(xs: List[int]):\n    return sorted(xs + xs)"))
        == "right"
    )


@pytest.mark.parametrize("status", ["test_error", "sandbox_unavailable"])
def test_tests_that_cannot_be_run_say_nothing_of_the_code(
    status: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check(*_: Any, **__: Any) -> CodeVerdict:
        return CodeVerdict(status, (False, False))

    monkeypatch.setattr(Sandbox, "check", check)
    assert graded(function(), block("def f(x):\n    return x + 1")) == "grader_crash"


def test_a_machine_without_a_sandbox_is_reported_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layers = detect()
    monkeypatch.setattr(
        graders, "detect", lambda: replace(layers, missing="unshare: not there")
    )
    with pytest.raises(
        UsageError,
        match=r"lacks its minimum \(unshare: not there\).*humaneval:allow_unsandboxed=true",
    ):
        HumanEval(path="nowhere.jsonl").load()
    require_sandbox("humaneval", allow_unsandboxed=True)
