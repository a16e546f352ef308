"""The contract suite for plug-ins: the laws that ours keep, in any test framework.

    from reasoner.testing import check_strategy

    def test_it_keeps_the_laws():
        check_strategy(MyStrategy())

A law that is broken raises an AssertionError with a sentence. The laws of each kind are functions too, so that a suite
may run each as a test of its own.
"""

from reasoner.testing.engines import ENGINE_LAWS, check_engine
from reasoner.testing.rules import check_rule
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.strategies import STRATEGY_LAWS, StrategyLaw, all_schedules_have_one_curve, check_strategy
from reasoner.testing.support import number_question, says
from reasoner.testing.tasks import check_task
from reasoner.testing.verifiers import VERIFIER_LAWS, check_verifier

__all__ = [
    "ENGINE_LAWS", "STRATEGY_LAWS", "VERIFIER_LAWS", "ScriptedEngine", "StrategyLaw", "all_schedules_have_one_curve",
    "check_engine", "check_rule", "check_strategy", "check_task", "check_verifier", "number_question", "says",
]  # fmt: skip
