"""Rules by which answers are found: each that a space can give is a stated form or a fallback."""

import reasoner_strategies.likelihood as by_likelihood
from reasoner.answers import RULES
from reasoner_evals.runs.reading import STATED, UNKNOWN, stated_code

FALLBACKS = {"last"}
"""The rule that finds an answer by its position."""
WITHOUT_TEXT = {"given", by_likelihood.RULE}
"""Rules of answers that no kind reads out of a text: a reference answer, an option whose likelihood was measured."""


def test_every_rule_is_classified() -> None:
    assert {*RULES, *WITHOUT_TEXT} == STATED | FALLBACKS
    assert not STATED & FALLBACKS


def test_a_rule_that_nobody_knows_is_a_fallback_and_none_is_not_known() -> None:
    assert stated_code("form") == 1
    assert stated_code("last") == 0
    assert stated_code("my_plugins_rule") == 0
    assert stated_code("") == UNKNOWN
