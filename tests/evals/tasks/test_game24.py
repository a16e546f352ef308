"""The game of 24 by tree of thoughts, as in the paper: a model of known strength proposes steps and judges what is left."""

import itertools
import operator
import random
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache

import pytest

from reasoner import solve_many_sync
from reasoner.engine import SampleRequest
from reasoner.registry import build
from reasoner.testing.scripted import ScriptedEngine
from reasoner_evals.tasks.expressions import LEFT, ExpressionSpace, solves
from reasoner_evals.tasks.graders import GradedQuestion

Numbers = tuple[Fraction, ...]
SIGNS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


def steps(numbers: Numbers) -> Iterator[tuple[str, Numbers]]:
    """Every next step, and what it leaves."""
    for (i, a), (j, b) in itertools.permutations(enumerate(numbers), 2):
        rest = tuple(number for at, number in enumerate(numbers) if at not in (i, j))
        for sign, apply in SIGNS.items():
            if (sign in "+*" and i > j) or (sign == "/" and b == 0):
                continue
            left = tuple(sorted((*rest, apply(a, b))))
            yield (
                f"{a} {sign} {b} = {apply(a, b)} (left: {' '.join(map(str, left))})",
                left,
            )


@cache
def reaches(numbers: Numbers) -> bool:
    return numbers == (Fraction(24),) or any(
        reaches(left) for _, left in steps(numbers)
    )


def expression(start: Numbers, lines: list[str]) -> str:
    """The steps as one expression."""
    parts = [(number, str(number)) for number in start]
    for line in lines:
        a, sign, b, _, value = line.split(" (")[0].split()
        spelled = []
        for number in (a, b):
            part = next(part for part in parts if part[0] == Fraction(number))
            parts.remove(part)
            spelled.append(part[1])
        parts.append((Fraction(value), f"({spelled[0]} {sign} {spelled[1]})"))
    return parts[-1][1]


def model(strength: float) -> Callable[[SampleRequest], str]:
    """Proposes every step, judges right with this probability and else says "likely", and writes steps down rightly."""

    def says(request: SampleRequest) -> str:
        asked, source = request.prompt.messages[-1].content, random.Random(request.seed)
        if asked.endswith("Next steps:"):
            return "\n".join(
                line
                for line, _ in steps(numbers(asked.splitlines()[-2].partition(":")[2]))
            )
        if asked.startswith("Judge whether these"):
            sure = reaches(tuple(sorted(numbers(asked.splitlines()[-1]))))
            return (
                ("sure" if sure else "impossible")
                if source.random() < strength
                else "not found yet\nlikely"
            )
        if asked.startswith("Judge whether the answer"):
            given, said = asked.splitlines()[-2:]
            integers = tuple(int(number) for number in numbers(given.partition(":")[2]))
            right = solves(
                said.partition(":")[2], numbers=integers, target=24, use_all=True
            )
            return "sure" if right else "impossible"
        start = tuple(
            map(Fraction, re.findall(r"using ([\d, ]+)\.", asked)[0].split(","))
        )
        return expression(
            start,
            [
                line
                for line in request.prompt.text.splitlines()
                if re.search(LEFT, line)
            ],
        )

    return says


def numbers(text: str) -> Numbers:
    return tuple(map(Fraction, text.split()))


def right(items: list[GradedQuestion], strength: float, spec: str) -> int:
    questions = [item.question for item in items]
    solutions = solve_many_sync(
        questions, build("strategy", spec), ScriptedEngine(model(strength))
    )
    assert all(solution.error is None for solution in solutions)
    spaces = [question.space for question in questions]
    return sum(
        isinstance(space, ExpressionSpace)
        and one.answer is not None
        and solves(one.answer.text, numbers=space.numbers, target=24, use_all=True)
        for space, one in zip(spaces, solutions, strict=True)
    )


@pytest.mark.slow
def test_the_game_of_24_is_solved_as_far_as_the_judge_is_right() -> None:
    """As a command: reasoner eval gym:puzzle24,size=100 -s tree_of_thoughts:generate=propose,k=40."""
    # Repeated puzzles are asked once.
    items = list(build("task", "gym:puzzle24,size=110").load().items)[:100]
    spec = "tree_of_thoughts:generate=propose,k=40,n_eval=1,max_tokens=4000"
    assert right(items, 1.0, spec) == 100
    solved = [right(items[:40], strength, spec) for strength in (0.5, 0.0)]
    assert 40 > solved[0] > 32
    assert 4 < solved[1] < 16
