"""Rules by which answers are found: forms are told from probes."""

import reasoner_strategies.likelihood as by_likelihood
from reasoner.answers.asking import COPIED, PROBED
from reasoner.answers.reading import RULES
from reasoner_evals.runs.reading import STATED, UNKNOWN, stated_code


def test_a_stated_answer_is_told_from_one_of_a_probe() -> None:
    assert {*RULES, "given", by_likelihood.RULE} == STATED
    for rule, code in {"form": 1, PROBED: 0, COPIED: 0, "my_plugins_rule": 0, "": UNKNOWN}.items():
        assert stated_code(rule) == code
