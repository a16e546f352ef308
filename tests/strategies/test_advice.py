"""What `reasoner advise` names."""

import typing
from itertools import product
from pathlib import Path

from reasoner.registry import build
from reasoner_strategies.advice import ADVICE, Answers, Goal, situation
from tests.cli.command import Run
from tests.cli.conftest import _plain_environment, run

__all__ = ["_plain_environment", "run"]

PAGE = Path(__file__).parents[2] / "docs/strategies.md"


def test_every_situation_has_two_strategies_that_are_built_and_stand_on_the_page(
    run: Run,
) -> None:
    page, met = PAGE.read_text(encoding="utf-8"), set()
    kinds: tuple[Answers, ...] = typing.get_args(Answers)
    goals: tuple[Goal, ...] = typing.get_args(Goal)
    for answers, goal, thinks, verifier in product(
        kinds, goals, (False, True), (False, True)
    ):
        name = situation(answers, goal, thinks=thinks, verifier=verifier)
        met.add(name)
        given = ["--thinks"] * thinks + ["--verifier"] * verifier
        shown = run("advise", "--answers", answers, "--for", goal, *given)
        assert shown.code == 0
        first, second = ADVICE[name]
        assert f"| {name} | `{first.spec}` | `{second.spec}` |" in page
        for advice in (first, second):
            strategy = build("strategy", advice.spec)
            assert not strategy.uses_verifier or verifier or answers == "program"
            assert f"-s '{advice.spec}'" in shown.out
        assert max(map(len, shown.out.splitlines())) <= 80
    assert met == ADVICE.keys()
