"""The game of 24 (Yao 2023, 2305.10601): four numbers, each used once, that shall come to 24; columns Rank, Puzzles."""

import re
from dataclasses import dataclass
from typing import ClassVar

from reasoner.answers.expressions import ExpressionSpace
from reasoner_evals.grading import ByRules, GradedQuestion
from reasoner_evals.tasks.benchmark import Benchmark
from reasoner_evals.tasks.prompts import Shot, Template, first
from reasoner_evals.tasks.rows import Row
from reasoner_evals.tasks.solving import solution
from reasoner_evals.tasks.source import Published

_ASK = "Make 24 of the numbers {}."
_SHOTS = (
    Shot(_ASK.format("2 3 4 5"), "5 + 3 - 2 = 6 and 6 * 4 = 24.\n\nThe answer is (5 + 3 - 2) * 4."),
    Shot(_ASK.format("1 2 6 6"), "6 * 2 = 12, and 12 + 6 = 18 is too small. 6 * (6 - 2) = 24, and 1 is a factor.\n\n"
         "The answer is 6 * (6 - 2) * 1."),
    Shot(_ASK.format("3 5 7 9"), "9 + 7 = 16, 16 + 5 = 21, 21 + 3 = 24.\n\nThe answer is 9 + 7 + 5 + 3."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Game24(Benchmark):
    """The game of 24: four numbers to make 24 of, graded by its rules; `shots` are self-written.

    `ranks` are the first and the last puzzle by difficulty: 901 to 1000 are the ones that papers report. There is no
    data set on the hub, so `data` has to be given.
    """

    shots: int = 0
    ranks: tuple[int, int] = (901, 1000)

    name: ClassVar[str] = "game24"
    reads: ClassVar[tuple[str, ...]] = ("Rank", "Puzzles")
    published: ClassVar[Published] = Published(
        "", "", "MIT", file="src/tot/data/24/24.csv of github.com/princeton-nlp/tree-of-thought-llm"
    )

    @property
    def template(self) -> Template:
        """The rules, by the answer's kind."""
        instruction = "Reason step by step, and end with `The answer is`, followed by the expression. {kind}"
        return Template("expression-steps", 1, instruction, first(self.shots, _SHOTS, task=self.name))

    def item(self, row: Row, template: Template) -> GradedQuestion | None:
        """The reference answer is a solution found here, for people alone: any solution is right."""
        rank, puzzle = row.text("Rank"), row.text("Puzzles")
        if not re.fullmatch(r"\d{1,7}", rank):
            raise row.wrong("Rank", f"{rank!r:.20} is no number")
        if not self.ranks[0] <= int(rank) <= self.ranks[1]:
            return None
        if not re.fullmatch(r"\d{1,3}(?: \d{1,3}){3}", puzzle):
            raise row.wrong("Puzzles", f"{puzzle!r:.40} is not four numbers")
        numbers = tuple(map(int, puzzle.split()))
        gold = solution(numbers, 24)
        if gold is None:
            raise row.wrong("Puzzles", f"no expression of {puzzle} comes to 24")
        space = ExpressionSpace(numbers, 24, use_all=True)
        question = template.ask(_ASK.format(puzzle), space, id=f"game24/{rank}")
        return GradedQuestion(question, gold, level=rank, grader=ByRules())
