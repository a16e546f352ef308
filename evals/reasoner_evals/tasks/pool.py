"""Recorded answers as a task: the questions of a pool file, which the engine `pool` answers from the same file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reasoner.answers import MathSpace, NumberSpace
from reasoner.types import AnswerSpace
from reasoner_evals.grading.graders import GradedQuestion
from reasoner_evals.tasks.benchmark import TaskData, checked, items_from, task_data
from reasoner_evals.tasks.prompts import Template
from reasoner_evals.tasks.rows import Row
from reasoner_evals.tasks.source import from_file

_TEMPLATE = Template("pool", 1)


@dataclass(frozen=True, slots=True)
class Pool:
    """Questions with recorded answers, for the engine `pool` with the same file; a question's text is its id.

    A line is `{"question_id", "gold", "answers": [text or null, ...], "tokens": [count, ...]}`. The kind of answer is
    `number` if all reference answers are numbers, else `math`.
    """

    path: str

    def load(self) -> TaskData:
        """All questions, in the file's order."""
        rows, origin = from_file(Path(self.path), {})
        space = _space(rows)

        def item(row: Row) -> GradedQuestion:
            name = row.text("question_id")
            return GradedQuestion(_TEMPLATE.ask(name, space, id=name), checked(row, "gold", space, row.text("gold")))

        return task_data(self, items_from(rows, item), origin, _TEMPLATE, "not stated")


def _space(rows: Sequence[Row]) -> AnswerSpace:
    numbers = NumberSpace()
    golds = [row.text("gold") for row in rows]
    read = [numbers.read(gold) for gold in golds]
    plain = all(answer is not None and answer.text == gold for answer, gold in zip(read, golds, strict=True))
    return numbers if plain else MathSpace()
