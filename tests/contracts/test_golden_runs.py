"""What each strategy does with known replies, within each kind of budget: files in tests/golden/runs.

They are written again by `REASONER_GOLDEN=update pytest tests/contracts/test_golden_runs.py`; look at the difference
before you keep it: a change that means to change no behaviour leaves them as they are.
"""

import json
import os
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from reasoner import Budget, Solution, solve_sync
from reasoner.engine import Engine
from reasoner.engines.pool import PoolEngine
from reasoner.engines.simulated import SimulatedEngine
from reasoner.registry import build, entries
from reasoner.strategy import Strategy
from reasoner.testing.scripted import ScriptedEngine
from reasoner.testing.support import number_question, short, varied

GOLDEN = Path(__file__).parents[1] / "golden" / "runs"
RECORDING = GOLDEN.parent / "recording.jsonl"
RECORDED = "gsm8k/test/548"
BUDGETS = {
    "none": None,
    "tokens=300": Budget(tokens=300),
    "tokens=900": Budget(tokens=900),
    "samples=4": Budget(samples=4),
}
ENGINES = ("scripted", "simulated", "recorded")


def made(engine: str, strategy: Strategy) -> tuple[Engine, Strategy, str]:
    """An engine whose replies are known, the strategy that asks it, and the id of its question."""
    match engine:
        case "scripted":
            return ScriptedEngine(varied), short(strategy), "q"
        case "simulated":
            return SimulatedEngine(accuracy=0.6), strategy, "q"
        case _:
            return PoolEngine(str(RECORDING)), strategy, RECORDED


def course(solution: Solution) -> dict[str, Any]:
    """What a solution came to, and how; of an error only that it is one, as its words may change."""
    return {
        "answer": solution.answer.text if solution.answer else None,
        "tokens": solution.cost.tokens,
        "samples": solution.cost.samples,
        "proposals": [
            [
                proposal.answer.text if proposal.answer else None,
                proposal.vote_state.samples,
                proposal.cost.tokens,
            ]
            for proposal in solution.proposals
        ],
        "ended_by": solution.ended_by,
    }


@pytest.mark.parametrize("name", sorted(entries("strategy")))
def test_runs(name: str) -> None:
    lines = []
    for engine, budget in product(ENGINES, BUDGETS):
        policy, strategy, question = made(engine, build("strategy", name))
        solution = solve_sync(
            number_question(question), strategy, policy, budget=BUDGETS[budget], seed=0
        )
        run = {"engine": engine, "budget": budget, **course(solution)}
        lines.append(json.dumps(run, ensure_ascii=False) + "\n")
    file = GOLDEN / f"{name}.jsonl"
    if os.environ.get("REASONER_GOLDEN") == "update":
        file.write_text("".join(lines), encoding="utf-8")
    assert lines == file.read_text(encoding="utf-8").splitlines(keepends=True)
