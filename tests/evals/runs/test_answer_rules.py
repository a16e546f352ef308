"""Rules by which answers are found: every kind reads by the same ones, and forms are told from probes."""

from dataclasses import replace
from typing import Any

import pytest

import reasoner_strategies.likelihood as by_likelihood
from reasoner.answers.asking import COPIED, PROBED
from reasoner.answers.choices import ChoiceSpace
from reasoner.answers.code import CodeSpace
from reasoner.answers.expressions import ExpressionSpace
from reasoner.answers.maths import MathSpace
from reasoner.answers.numbers import NumberSpace
from reasoner.answers.reading import RULES
from reasoner.answers.texts import TextSpace, YesNoSpace
from reasoner_evals.runs.reading import STATED, UNKNOWN, stated_code
from reasoner_evals.tasks.gym import VerbatimSpace

ANSWERS: list[tuple[Any, str]] = [
    (NumberSpace(), "5"),
    (MathSpace(), "x + 1"),
    (ChoiceSpace(("red", "blue")), "B"),
    (YesNoSpace(), "no"),
    (TextSpace(), "Paris"),
    (ExpressionSpace((4, 6), 24, use_all=True), "4*6"),
    (VerbatimSpace(), "up"),
]
FORMS = {
    "pattern": "Mine: {}!\nThe answer is 9",
    "form": "So <answer>{}</answer>",
    "announced": "The answer is {}",
    "alone": "**{}**",
}


@pytest.mark.parametrize(("space", "answer"), ANSWERS, ids=[space.name for space, _ in ANSWERS])
def test_every_kind_reads_by_the_same_rules(space: Any, answer: str) -> None:
    own = replace(space, pattern="^Mine: (.*)!$")
    for rule, form in FORMS.items():
        read = own.read(form.format(answer))
        assert read is not None
        assert (read.text, read.rule) == (answer, rule)


def test_a_block_of_code_is_a_form() -> None:
    closed, opened = CodeSpace().read("```python\npass\n```"), CodeSpace().read("```python\npass")
    assert closed is not None
    assert opened is not None
    assert (closed.rule, opened.rule) == ("form", "alone")


def test_a_stated_answer_is_told_from_one_of_a_probe() -> None:
    assert {*RULES, "given", by_likelihood.RULE} == STATED
    for rule, code in {"form": 1, PROBED: 0, COPIED: 0, "my_plugins_rule": 0, "": UNKNOWN}.items():
        assert stated_code(rule) == code
