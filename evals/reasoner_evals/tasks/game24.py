"""The game of 24 (Yao 2023, 2305.10601): make 24 of four numbers, using each once; columns Rank and Puzzles."""

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations
from typing import ClassVar

from reasoner.answers.expressions import ExpressionSpace
from reasoner_evals.tasks.benchmark import FewShotBenchmark, Template
from reasoner_evals.tasks.data import DataRow
from reasoner_evals.tasks.graders import ByRules, GradedQuestion

_ASK = "Make 24 of the numbers {}."


@dataclass(frozen=True, slots=True)
class Game24(FewShotBenchmark):
    """The game of 24: four numbers to make 24 of, graded by its rules; `shots` are self-written.

    `ranks` are the first and the last puzzle by difficulty: papers report 901 to 1000. The hub has no such data set, so
    `data` is required.
    """

    ranks: tuple[int, int] = (901, 1000)

    name: ClassVar = "game24"
    reads: ClassVar = ("Rank", "Puzzles")
    prompt: ClassVar = Template(
        "expression-steps", 1, "Reason step by step, and end with `The answer is`, followed by the expression. {kind}"
    )

    def item(self, row: DataRow) -> GradedQuestion | None:
        """The reference answer is a solution computed here, only to be shown: any solution is right."""
        rank, puzzle = row.text("Rank"), row.text("Puzzles")
        if not re.fullmatch(r"\d{1,7}", rank):
            raise row.error("Rank", f"{rank!r:.20} is not a number")
        if not self.ranks[0] <= int(rank) <= self.ranks[1]:
            return None
        if not re.fullmatch(r"\d{1,3}(?: \d{1,3}){3}", puzzle):
            raise row.error("Puzzles", f"{puzzle!r:.40} is not four numbers")
        numbers = tuple(map(int, puzzle.split()))
        gold = solution(numbers, 24)
        if gold is None:
            raise row.error("Puzzles", f"no expression of {puzzle} equals 24")
        space = ExpressionSpace(numbers, 24, use_all=True)
        question = self.template.ask(_ASK.format(puzzle), space, id=f"game24/{rank}")
        return GradedQuestion(question, gold, level=rank, grader=ByRules())


def solution(numbers: tuple[int, ...], target: int) -> str | None:
    """An expression that uses each of up to six numbers once and equals the target; None if there is none."""
    return _solve([(Fraction(number), str(number)) for number in numbers], Fraction(target))


def _solve(terms: list[tuple[Fraction, str]], target: Fraction) -> str | None:
    """Try all ways to combine two terms into one, down to a single term."""
    if len(terms) == 1:
        value, text = terms[0]
        return text if value == target else None
    for i, j in permutations(range(len(terms)), 2):
        remaining = [term for index, term in enumerate(terms) if index not in (i, j)]
        (a, x), (b, y) = terms[i], terms[j]
        combined = [(a - b, f"({x} - {y})")]
        if i < j:
            combined += [(a + b, f"({x} + {y})"), (a * b, f"{x} * {y}")]
        if b:
            combined.append((a / b, f"{x} / ({y})" if "*" in y or "/" in y else f"{x} / {y}"))
        for term in combined:
            if (answer := _solve([*remaining, term], target)) is not None:
                return answer
    return None
