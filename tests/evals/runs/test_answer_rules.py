"""Rules by which answers are found: each that a space can give is a stated form or a fallback."""

from dataclasses import replace
from typing import Any

import pytest

import reasoner_strategies.likelihood as by_likelihood
from reasoner.answers import RULES, ChoiceSpace, CodeSpace, MathSpace, NumberSpace, TextSpace, YesNoSpace
from reasoner.answers.expressions import ExpressionSpace
from reasoner_evals.runs.reading import STATED, UNKNOWN, stated_code
from reasoner_evals.tasks.gym import VerbatimSpace

FALLBACKS = {"last"}
"""The rule that finds an answer by its position."""
WITHOUT_TEXT = {"given", by_likelihood.RULE}
"""Rules of answers that no kind reads out of a text: a reference answer, an option whose likelihood was measured."""

CHOICE = ChoiceSpace(("red", "blue"))
GAME = ExpressionSpace((4, 6), 24, use_all=True)
ANSWERS: list[tuple[Any, str, str]] = [
    (NumberSpace(), "5", "So 4 and 5 it is"),
    (MathSpace(), "x + 1", "So $x + 1$ is what we have then"),
    (CHOICE, "B", "Perhaps (A), rather (B) then"),
    (YesNoSpace(), "no", "I would say no"),
    (TextSpace(), "Paris", "Well, it was Paris"),
    (GAME, "4*6", "Take `4*6` here"),
    (VerbatimSpace(), "up", "so up"),
]  # fmt: skip
"""Of each kind an answer, and a text in which it is only the last candidate."""
FORMS = {
    "pattern": "Mine: {}!\nThe answer is 9",
    "form": "<answer>{}</answer> and 9 more",
    "announced": "The answer is {}",
    "heading": "### Answer\n\n{}",
    "line": "So we have\n\n**{}**",
}
LACKS = {("text", "line"), ("verbatim", "line")}
"""A line of words may be a heading, so it is read as the last line."""


@pytest.mark.parametrize(("space", "answer", "last"), ANSWERS, ids=[space.name for space, *_ in ANSWERS])
def test_every_kind_reads_by_the_same_rules(space: Any, answer: str, last: str) -> None:
    own = replace(space, pattern="^Mine: (.*)!$")
    for rule, form in FORMS.items():
        if (space.name, rule) not in LACKS:
            read = own.read(form.format(answer))
            assert read is not None
            assert (read.text, read.rule) == (answer, rule)
    read = space.read(last)
    assert read is not None
    assert read.rule == "last"


def test_a_block_of_code_is_a_form() -> None:
    closed, opened = CodeSpace().read("```python\npass\n```"), CodeSpace().read("```python\npass")
    assert closed is not None
    assert opened is not None
    assert (closed.rule, opened.rule) == ("form", "last")


def test_every_rule_is_classified() -> None:
    assert {*RULES, *WITHOUT_TEXT} == STATED | FALLBACKS
    assert not STATED & FALLBACKS


def test_a_rule_that_nobody_knows_is_a_fallback_and_none_is_not_known() -> None:
    assert stated_code("form") == 1
    assert stated_code("last") == 0
    assert stated_code("my_plugins_rule") == 0
    assert stated_code("") == UNKNOWN
