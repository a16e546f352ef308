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
    (NumberSpace(), "#### 5", "hashes"),
    (NumberSpace(), r"\boxed{5}", "boxed"),
    (NumberSpace(), "The answer is 5.", "cue"),
    (NumberSpace(), "5 apples", "last"),
    (MathSpace(), r"\boxed{x}", "boxed"),
    (MathSpace(), "#### 5", "hashes"),
    (MathSpace(), "The final answer is $x$. I hope it is correct.", "final"),
    (MathSpace(), "The answer is x + 1", "cue"),
    (MathSpace(), "So we have\nx + 1", "line"),
    (MathSpace(), "So $x + 1$ is what we have", "formula"),
    (MathSpace(), "We have 5 of them then", "number"),
    (CHOICE, r"\boxed{B}", "boxed"),
    (CHOICE, "The answer is B", "cue"),
    (CHOICE, "It has to be (B) then", "marked"),
    (CHOICE, "Let me see.\nB.", "alone"),
    (CHOICE, "It has to be blue", "text"),
    (YesNoSpace(), "The answer is yes", "cue"),
    (YesNoSpace(), r"\boxed{no}", "boxed"),
    (YesNoSpace(), "Yes, it is.", "first"),
    (YesNoSpace(), "I would say no", "text"),
    (TextSpace(), r"\boxed{Paris}", "boxed"),
    (TextSpace(), "The answer is Paris", "cue"),
    (TextSpace(), "Paris", "last"),
    (CodeSpace(), "```python\npass\n```", "fence"),
    (CodeSpace(), "```python\npass", "unclosed"),
    (GAME, r"\boxed{4*6}", "boxed"),
    (GAME, "The answer is 4*6", "cue"),
    (GAME, "So\n4*6", "line"),
    (GAME, "Take `4*6` here", "span"),
    (VerbatimSpace(), "<answer>up</answer>", "tags"),
    (VerbatimSpace(), r"\boxed{up}", "boxed"),
    (VerbatimSpace(), "```\nup\n```", "fence"),
    (VerbatimSpace(), "The answer is up", "cue"),
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
