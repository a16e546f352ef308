"""Rules by which answers are found: each that a space can give is a stated form or a fallback."""

import ast
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

import reasoner.answers
import reasoner_evals.tasks
import reasoner_strategies.likelihood as by_likelihood
from reasoner.answers import ChoiceSpace, CodeSpace, MathSpace, NumberSpace, TextSpace, YesNoSpace
from reasoner.answers.expressions import ExpressionSpace
from reasoner.types import AnswerSpace
from reasoner_evals.runs.arrays import STATED, UNKNOWN, stated_code
from reasoner_evals.tasks.gym import VerbatimSpace

FALLBACKS = {"first", "formula", "last", "line", "marked", "number", "span", "text", "unclosed"}
"""Rules that find an answer by its position or shape; `marked` is any label in bold or brackets."""

CHOICE = ChoiceSpace(("red", "blue"))
GAME = ExpressionSpace((4, 6), 24, use_all=True)
WITHOUT_TEXT = {"given", by_likelihood.RULE}
"""Rules of answers that no space reads out of a text: a reference answer, an option that was weighed."""

READ: list[tuple[AnswerSpace, str, str]] = [
    (NumberSpace(), "#### 5", "form"),
    (NumberSpace(), r"\boxed{5}", "form"),
    (NumberSpace(), "The answer is 5.", "announced"),
    (NumberSpace(), "5 apples", "last"),
    (MathSpace(), r"\boxed{x}", "form"),
    (MathSpace(), "#### 5", "form"),
    (MathSpace(), "The final answer is $x$. I hope it is correct.", "announced"),
    (MathSpace(), "The answer is x + 1", "announced"),
    (MathSpace(), "So we have\nx + 1", "line"),
    (MathSpace(), "So $x + 1$ is what we have", "last"),
    (MathSpace(), "We have 5 of them then", "last"),
    (CHOICE, r"\boxed{B}", "form"),
    (CHOICE, "The answer is B", "announced"),
    (CHOICE, "It has to be (B) then", "last"),
    (CHOICE, "Let me see.\nB.", "line"),
    (CHOICE, "It has to be blue", "last"),
    (YesNoSpace(), "The answer is yes", "announced"),
    (YesNoSpace(), r"\boxed{no}", "form"),
    (YesNoSpace(), "Yes, it is.", "last"),
    (YesNoSpace(), "I would say no", "last"),
    (TextSpace(), r"\boxed{Paris}", "form"),
    (TextSpace(), "The answer is Paris", "announced"),
    (TextSpace(), "Paris", "last"),
    (CodeSpace(), "```python\npass\n```", "form"),
    (CodeSpace(), "```python\npass", "last"),
    (GAME, r"\boxed{4*6}", "form"),
    (GAME, "The answer is 4*6", "announced"),
    (GAME, "So\n4*6", "line"),
    (GAME, "Take `4*6` here", "last"),
    (VerbatimSpace(), "<answer>up</answer>", "form"),
    (VerbatimSpace(), r"\boxed{up}", "form"),
    (VerbatimSpace(), "```\nup\n```", "form"),
    (VerbatimSpace(), "The answer is up", "announced"),
    (VerbatimSpace(), "up", "last"),
]  # fmt: skip


@pytest.mark.parametrize(("space", "text", "rule"), READ, ids=[f"{space.name}-{rule}" for space, _, rule in READ])
def test_a_rule_that_a_space_gives_is_classified(space: AnswerSpace, text: str, rule: str) -> None:
    found = space.read(text)
    assert found is not None
    assert found.rule == rule
    assert (rule in STATED) != (rule in FALLBACKS)


def test_nothing_is_classified_that_no_space_gives() -> None:
    assert {rule for *_, rule in READ} | WITHOUT_TEXT == STATED | FALLBACKS
    assert not STATED & FALLBACKS


def spaces() -> Iterator[type[Any]]:
    """The classes that read answers, wherever the packages of spaces and of tasks define one."""
    for package in (reasoner.answers, reasoner_evals.tasks):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for _, found in inspect.getmembers(import_module(module.name), inspect.isclass):
                if found.__module__ == module.name and all(hasattr(found, name) for name in ("read", "same", "name")):
                    yield found


def words_in(space: type[Any]) -> set[str]:
    """The plain words that a space's `read` gives to what it finds; those that it compares with are none."""
    read = space.read if "read" in vars(space) else space.read_segment
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(read))).body
    compared = {id(part) for node in ast.walk(function) if isinstance(node, ast.Compare) for part in ast.walk(node)}
    constants = (node for node in ast.walk(function) if isinstance(node, ast.Constant) and id(node) not in compared)
    return {node.value for node in constants if isinstance(node.value, str) and node.value.isalpha()}


def test_every_rule_in_the_source_of_every_space_has_an_example() -> None:
    named = {space.name: words_in(space) for space in spaces()}
    examples: dict[str, set[str]] = {}
    for space, _, rule in READ:
        examples.setdefault(space.name, set()).add(rule)
    assert named == examples


def test_a_rule_that_nobody_knows_is_a_fallback_and_none_is_not_known() -> None:
    assert stated_code("boxed") == 1
    assert stated_code("last") == 0
    assert stated_code("my_plugins_rule") == 0
    assert stated_code("") == UNKNOWN
