"""Escalation: when it thinks, at which level, and what its cheap samples still decide."""

import pytest

from reasoner import Budget, Solution, solve_sync
from reasoner.engine import SampleRequest
from reasoner.registry import build
from reasoner.testing.scripted import THINKER, ScriptedEngine
from reasoner.testing.support import number_question


def solved(
    cheap: str, thinking: str, options: str = "", budget: int | None = None
) -> tuple[Solution, list[object]]:
    """The solution, and the thinking level of each sample; a blank is a reply without an answer."""
    levels: list[object] = []

    def script(request: SampleRequest) -> str:
        levels.append(level := request.prompt.thinking_level)
        keys = cheap if level == "none" else thinking
        key = keys[request.index % len(keys)].strip()
        return f"The answer is {key}" if key else "no idea"

    strategy, limit = (
        build("strategy", f"escalate:{options}"),
        Budget(samples=budget) if budget else None,
    )
    solution = solve_sync(
        number_question(), strategy, ScriptedEngine(script, model=THINKER), budget=limit
    )
    assert solution.error is None
    return solution, levels


@pytest.mark.parametrize(
    ("cheap", "thinking", "options", "key", "levels"),
    [
        ("77", "9", "", "7", ["none"] * 2),
        ("78", "9", "", "9", ["none"] * 2 + [None]),
        ("7 ", "9", "", "9", ["none"] * 2 + [None]),
        ("778", "9", "n=3,thinking=high", "9", ["none"] * 3 + ["high"]),
        ("  ", " ", "", None, ["none"] * 2 + [None]),
        (
            "78",
            "998",
            "then=self_consistency(n=3,thinking=low)",
            "9",
            ["none"] * 2 + ["low"] * 3,
        ),
        ("78", "9", "first=low,thinking=high", "9", ["low"] * 2),
    ],
)
def test_it_thinks_only_where_the_cheap_samples_disagree(
    cheap: str, thinking: str, options: str, key: str | None, levels: list[object]
) -> None:
    solution, drawn = solved(cheap, thinking, options)
    assert (solution.answer.key if solution.answer else None, drawn) == (key, levels)
    assert solution.vote_state.samples == len(levels) if "then" not in options else 3
    assert solution.ended_by == ("rule" if len({*levels}) == 1 else "strategy")
