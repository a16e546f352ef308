"""The contract suite for plug-ins: the laws that ours keep, in any test framework.

    from reasoner.testing import check_strategy

    def test_it_keeps_the_laws():
        check_strategy(MyStrategy())

A law that is broken raises an AssertionError with a sentence. Each law is a function too, so that it can be a test of
its own, and be left out where it is not promised.
"""

from reasoner.testing.engines import (
    ENGINE_LAWS,
    EngineLaw,
    check_engine,
    log_probabilities_are_those_asked_for,
)
from reasoner.testing.rules import check_rule
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.strategies import (
    STRATEGY_LAWS,
    StrategyLaw,
    all_schedules_have_one_curve,
    check_strategy,
)
from reasoner.testing.support import number_question, says
from reasoner.testing.tasks import check_task
from reasoner.testing.verifiers import VERIFIER_LAWS, VerifierLaw, check_verifier

__all__ = [
    "ENGINE_LAWS",
    "STRATEGY_LAWS",
    "VERIFIER_LAWS",
    "EngineLaw",
    "ScriptedEngine",
    "StrategyLaw",
    "VerifierLaw",
    "all_schedules_have_one_curve",
    "check_engine",
    "check_rule",
    "check_strategy",
    "check_task",
    "check_verifier",
    "log_probabilities_are_those_asked_for",
    "number_question",
    "says",
]
