"""Tasks from a user's own files: questions with answers (`jsonl`), and questions with recorded answers (`pool`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from reasoner.answers.choices import ChoiceSpace
from reasoner.answers.kinds import SPACES, space_for
from reasoner.answers.maths import MathSpace
from reasoner.answers.numbers import NumberSpace
from reasoner.errors import UsageError
from reasoner.types import AnswerSpace
from reasoner_evals.tasks.benchmark import (
    PLAIN,
    TaskData,
    Template,
    checked,
    items_from,
    listed_options,
    task_data,
    with_answer_options,
)
from reasoner_evals.tasks.data import DataRow, from_file, parse_renames
from reasoner_evals.tasks.graders import GradedQuestion

_COLUMNS = ("question", "answer", "id", "context", "kind", "choices", "group")
_KINDS = tuple(kind for kind in SPACES if kind not in ("code", "json", "free"))


@dataclass(frozen=True, slots=True)
class Jsonl:
    """Your own questions: JSONL, JSON, CSV or parquet with `question` and `answer`.

    `path` is the file. Optional columns: `id`, `context` (a document, shown first), `kind` (of answer, as in `reasoner
    solve --answer`), `choices` (a list; the answer is then a letter or one of them) and `group`. `columns` maps column
    names to those in the file, as in `columns=[question:prompt,answer:target]`. `answer_options` are options of the
    kind of answer, such as `extract=rules` or `pattern=REGEX`; see `docs/answers.md`.
    """

    example: ClassVar[str] = "jsonl:FILE"

    path: str
    columns: tuple[str, ...] = ()
    answer_options: str = ""

    def load(self) -> TaskData:
        """All questions, in the file's order."""
        rows, origin = from_file(Path(self.path), parse_renames(self.columns, _COLUMNS))
        items = with_answer_options(items_from(rows, self._item), self.answer_options)
        return task_data(self, items, origin, PLAIN, "not stated")

    def _item(self, row: DataRow) -> GradedQuestion:
        text, gold = row.text("question"), row.text("answer")
        space: AnswerSpace
        if row.has("choices"):
            options = row.texts("choices")
            if not 2 <= len(options) <= 26:
                raise row.error("choices", f"{len(options)} options: give 2 to 26")
            text, space = listed_options(text, options), ChoiceSpace(options)
            if gold not in space.known:
                if options.count(gold) != 1:
                    allowed = f"a letter from A to {space.known[-1]}"
                    raise row.error("answer", f"{gold!r:.40} is neither {allowed} nor exactly one of the choices")
                gold = space.known[options.index(gold)]
        else:
            space = _space(row, text)
        name = row.optional("id") or f"{Path(self.path).name}/{row.index}"
        question = PLAIN.ask(text, space, id=name, context=row.optional("context"))
        checked(row, "answer", space, gold)
        return GradedQuestion(question, gold, row.optional("group"))


def _space(row: DataRow, text: str) -> AnswerSpace:
    kind = row.optional("kind") or "auto"
    if kind not in _KINDS:
        raise row.error("kind", f"{kind!r:.30} is not one of {', '.join(_KINDS)}")
    try:
        return space_for(kind, text)
    except UsageError as error:
        raise row.error("kind", str(error)) from None


_TEMPLATE = Template("pool", 1)


@dataclass(frozen=True, slots=True)
class Pool:
    """Questions with recorded answers, for the engine `pool` with the same file; a question's text is its id.

    A line of the file at `path` is `{"question_id", "gold", "answers": [text or null, ...], "tokens": [count, ...]}`,
    or has chains with probes instead; `reasoner pool` writes such files. The kind of answer is `number` if all
    reference answers are numbers, else `math`. `answer_options` are options of that kind; see `docs/answers.md`.
    """

    example: ClassVar[str] = "pool:FILE -e pool:FILE"

    path: str
    answer_options: str = ""

    def load(self) -> TaskData:
        """All questions, in the file's order."""
        rows, origin = from_file(Path(self.path), {})
        numbers, golds = NumberSpace(), [row.text("gold") for row in rows]
        read = [numbers.read(gold) for gold in golds]
        plain = all(answer is not None and answer.text == gold for answer, gold in zip(read, golds, strict=True))
        space = numbers if plain else MathSpace()

        def item(row: DataRow) -> GradedQuestion:
            name = row.text("question_id")
            return GradedQuestion(_TEMPLATE.ask(name, space, id=name), checked(row, "gold", space, row.text("gold")))

        items = with_answer_options(items_from(rows, item), self.answer_options)
        return task_data(self, items, origin, _TEMPLATE, "not stated")
