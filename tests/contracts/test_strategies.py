"""Every registered strategy, built-in or a third party's, keeps the laws of `reasoner.testing`."""

import dataclasses

import pytest

from reasoner import solve_sync
from reasoner.registry import build, entries, load
from reasoner.strategy import Strategy
from reasoner.testing import STRATEGY_LAWS, StrategyLaw, all_schedules_have_one_curve
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import Judge, number_question, short, varied
from reasoner.trace.events import Began, Event
from reasoner.verifier import Verifier
from tests.sweeps import widths

NAMES = sorted(entries("strategy"))
QUESTION = number_question()
IN_LAUNCH_ORDER = {"self_consistency"}
"""Strategies that wait for all, and count in launch order: a proposal has the cost of what came early too."""

pytestmark = pytest.mark.parametrize("name", NAMES)


def made(name: str, options: str = "") -> Strategy:
    """The strategy with its own defaults, but for short replies where it draws samples itself."""
    strategy: Strategy = build("strategy", f"{name}:{options}")
    return short(strategy)


def has_params(name: str) -> bool:
    return any(
        field.name == "params" for field in dataclasses.fields(load("strategy", name))
    )


def judge_for(strategy: Strategy) -> Verifier | None:
    return Judge() if strategy.uses_verifier else None


@pytest.mark.parametrize("law", STRATEGY_LAWS, ids=lambda law: law.__name__)
@widths("wide", thin=False, wide=True)
def test_it_keeps_the_law(name: str, law: StrategyLaw, wide: bool) -> None:
    if law is all_schedules_have_one_curve and name in IN_LAUNCH_ORDER:
        return
    law(build("strategy", name), wide=wide)


def test_a_strategy_that_uses_scores_gets_a_verifier_by_default_and_no_other_does(
    name: str,
) -> None:
    events: list[Event] = []
    strategy = made(name)
    assert (
        solve_sync(
            QUESTION, strategy, ScriptedEngine(varied), trace=events.append
        ).error
        is None
    )
    assert [event.verifier for event in events if isinstance(event, Began)] == [
        "certainty" if strategy.uses_verifier else ""
    ]
