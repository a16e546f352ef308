"""A user's own questions: a file of rows with `question` and `answer`, and what else they want to say."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from reasoner.answers import SPACES, ChoiceSpace, space_for
from reasoner.errors import UsageError
from reasoner.types import AnswerSpace
from reasoner_evals.grading import GradedQuestion
from reasoner_evals.tasks.benchmark import checked, collected
from reasoner_evals.tasks.options import listed
from reasoner_evals.tasks.prompts import Template
from reasoner_evals.tasks.rows import Row, renaming
from reasoner_evals.tasks.source import Published, from_file
from reasoner_evals.tasks.task import TaskData

_COLUMNS = ("question", "answer", "id", "context", "kind", "choices", "group", "level")
_KINDS = tuple(kind for kind in SPACES if kind != "code")


@dataclass(frozen=True, slots=True)
class Jsonl:
    """Your own questions: JSONL, JSON, CSV or parquet with `question` and `answer`.

    Optional columns: `id`, `context` (a document, put first), `kind` (of the answer, as in `reasoner solve --answer`),
    `choices` (a list; the answer is then a letter or one of them), `group` and `level`. `columns` says what the file
    calls a column, as in `columns=[question:prompt,answer:target]`.
    """

    path: str
    columns: tuple[str, ...] = ()

    template: ClassVar[Template] = Template("plain", 1)

    def load(self) -> TaskData:
        """All questions, in the file's order."""
        read = from_file(Path(self.path), Published("", "", ""), renaming(self.columns, _COLUMNS))
        places: dict[str, str] = {}
        items: list[GradedQuestion] = []
        for row in read.rows:
            made = self._item(row)
            if earlier := places.get(made.question.id):
                raise UsageError(f"{row.place} has the id {made.question.id!r} that {earlier} has: ids are unique")
            places[made.question.id] = row.place
            items.append(made)
        return collected(self, items, read.origin, self.template, "not stated")

    def _item(self, row: Row) -> GradedQuestion:
        text, gold = row.text("question"), row.text("answer")
        space: AnswerSpace
        if row.has("choices"):
            options = row.texts("choices")
            if not 2 <= len(options) <= 26:
                raise row.wrong("choices", f"{len(options)} options: give 2 to 26")
            text, space = listed(text, options), ChoiceSpace(options)
            if gold not in space.known and options.count(gold) != 1:
                raise row.wrong(
                    "answer", f"{gold!r:.40} is no letter from A to {space.known[-1]} and none of the choices"
                )
            gold = gold if gold in space.known else space.known[options.index(gold)]
        else:
            space = _space(row, text)
        name = row.maybe("id") or f"{Path(self.path).name}/{row.index}"
        question = self.template.ask(text, space, id=name, context=row.maybe("context"))
        checked(row, "answer", space, gold)
        return GradedQuestion(question, gold, row.maybe("group"), row.maybe("level"))


def _space(row: Row, text: str) -> AnswerSpace:
    kind = row.maybe("kind") or "auto"
    if kind not in _KINDS:
        raise row.wrong("kind", f"{kind!r:.30} is none of {', '.join(_KINDS)}")
    try:
        return space_for(kind, text)
    except UsageError as error:
        raise row.wrong("kind", str(error)) from None
