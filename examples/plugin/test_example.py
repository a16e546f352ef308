"""The plug-ins keep the laws of `reasoner`, and the command finds them."""

import pytest
from reasoner_example import Ahead, Brevity, InARow

from reasoner import Budget, solve_sync
from reasoner.testing import (
    STRATEGY_LAWS,
    ScriptedEngine,
    StrategyLaw,
    check_rule,
    check_verifier,
    says,
)


@pytest.mark.parametrize("law", STRATEGY_LAWS)
def test_the_strategy_keeps_the_law(law: StrategyLaw) -> None:
    """Each law is a test of its own."""
    law(InARow())


def test_the_verifier_and_the_rule_keep_the_laws() -> None:
    """All laws are one test."""
    check_verifier(Brevity())
    check_rule(Ahead())


def test_two_equal_answers_in_a_row_are_enough() -> None:
    """What the strategy does itself."""
    solution = solve_sync(
        "What is 3 + 4?", InARow(), ScriptedEngine(says("8", "7", "7", "9"))
    )
    assert solution.answer
    assert (solution.cost.samples, solution.answer.key) == (3, "7")


def test_specs_name_them() -> None:
    """Through the entry points of the package."""
    solution = solve_sync(
        "What is 3 + 4?",
        "in_a_row:row=3",
        "simulated",
        stop="ahead",
        budget=Budget(samples=8),
    )
    assert solution.error is None
    assert solve_sync(
        "What is 3 + 4?", "best_of_n:n=4", "simulated", verifier="brevity:half=9"
    ).answer
