"""The evaluator of expressions against puzzles of reasoning-gym whose solutions are known."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from reasoner.answers.expressions import ExpressionSpace, solves
from tests.sweeps import widths

SEED = 20_261


def puzzles(name: str, size: int) -> Iterator[dict[str, Any]]:
    with warnings.catch_warnings():
        # A dependency of reasoning-gym compares with `is`, which Python points out as it compiles.
        warnings.simplefilter("ignore", SyntaxWarning)
        import reasoning_gym  # type: ignore[import-untyped]

        yield from reasoning_gym.create_dataset(name, size=size, seed=SEED)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["countdown", "puzzle24"])
@widths("size", 25, 1000)
def test_every_known_solution_is_read_and_accepted_and_no_other_target_is(name: str, size: int) -> None:
    refused = []
    for puzzle in puzzles(name, size):
        facts, solution = puzzle["metadata"], puzzle["answer"]
        numbers, target = tuple(facts["numbers"]), facts.get("target", 24)
        space = ExpressionSpace(numbers, target, use_all=True)
        read = space.read(f"We try a few.\nThe answer is {solution} = {target}.")
        fine = read is not None and solves(read.text, numbers=numbers, target=target, use_all=True)
        if not fine or solves(solution, numbers=numbers, target=target + 1, use_all=True):
            refused.append(solution)
        assert not solves(solution, numbers=(*numbers, 1), target=target, use_all=True)
    assert refused == []


@pytest.mark.slow
def test_some_of_them_begin_with_a_minus() -> None:
    assert any(puzzle["answer"].startswith("-") for puzzle in puzzles("countdown", 200))
