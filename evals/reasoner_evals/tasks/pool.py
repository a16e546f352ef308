"""Recorded answers as a task: the questions of a pool file, to be answered by the engine `pool` from the same file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from reasoner.answers import MathSpace, NumberSpace
from reasoner.types import AnswerSpace
from reasoner_evals.grading import GradedQuestion
from reasoner_evals.tasks.benchmark import checked, collected
from reasoner_evals.tasks.prompts import Template
from reasoner_evals.tasks.rows import Row
from reasoner_evals.tasks.source import Published, from_file
from reasoner_evals.tasks.task import TaskData


@dataclass(frozen=True, slots=True)
class Pool:
    """Questions with recorded answers, for the engine `pool` with the same file; a question's text is its id.

    A line is `{"question_id", "gold", "answers": [text or null, ...], "tokens": [count, ...]}`. The kind of answer is
    `number` where all reference answers are numbers, else `math`.
    """

    path: str

    template: ClassVar[Template] = Template("pool", 1)

    def load(self) -> TaskData:
        """All questions, in the file's order."""
        read = from_file(Path(self.path), Published("", "", ""), {})
        space = _space(read.rows)
        items = []
        for row in read.rows:
            name = row.text("question_id")
            gold = checked(row, "gold", space, row.text("gold"))
            items.append(GradedQuestion(self.template.ask(name, space, id=name), gold))
        return collected(self, items, read.origin, self.template, "not stated")


def _space(rows: Sequence[Row]) -> AnswerSpace:
    numbers, maths = NumberSpace(), MathSpace()
    golds = (row.text("gold") for row in rows)
    plain = all((found := numbers.read(gold)) is not None and found.text == gold.strip() for gold in golds)
    return numbers if plain else maths
