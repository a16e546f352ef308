"""Tasks from a user's own data: questions of a file (`jsonl`) or a hub (`hf`), and recorded answers (`pool`)."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from reasoner.answers.maths import MathSpace
from reasoner.answers.numbers import NumberSpace
from reasoner_evals.tasks.benchmark import (
    COLUMNS,
    PLAIN,
    TaskData,
    Template,
    checked,
    items_from,
    question_of,
    task_data,
)
from reasoner_evals.tasks.data import DataRow, Published, from_file, from_hub, parse_renames
from reasoner_evals.tasks.graders import GradedQuestion


@dataclass(frozen=True, slots=True)
class Jsonl:
    """Your own questions: JSONL, JSON, CSV or parquet with `question` and `answer`.

    `path` is the file. Optional columns: `id`, `context` (a document, shown first), `kind` (of answer, as in `reasoner
    solve --answer`), `choices` (a list; the answer is then a letter, one of them or an index from 0) and `group`. An
    answer may be a worked solution that states it in a form, such as a box. `kind` is that of rows without one.
    `columns` maps column names to those in the file, as in `columns=[question:prompt,answer:target]`. `answer_options`
    are options of the kind of answer, such as `extract=rules` or `pattern=REGEX`; see `docs/answers.md`.
    """

    example: ClassVar[str] = "jsonl:FILE"

    path: str
    columns: tuple[str, ...] = ()
    answer_options: str = ""
    kind: str = "auto"

    def load(self) -> TaskData:
        """All questions, in the file's order."""
        return _asked(self, *from_file(Path(self.path), parse_renames(self.columns, COLUMNS)), name=self.path)


@dataclass(frozen=True, slots=True)
class Hub:
    """Any data set of the Hugging Face hub: `hf:ORG/NAME,split=test,columns=[question:problem,answer:solution]`.

    `dataset` is its name; columns, `kind` and `answer_options` are those of `jsonl`. `config` is a part of the data
    set, and `revision` a branch, tag or commit; a run records the commit that it got. A local folder of the same form
    is read too.
    """

    example: ClassVar[str] = "hf:ORG/NAME,columns=question:problem"

    dataset: str
    split: str = "test"
    columns: tuple[str, ...] = ()
    config: str = ""
    revision: str = "main"
    kind: str = "auto"
    answer_options: str = ""

    def load(self) -> TaskData:
        """All questions, in the order of the split."""
        source = Published(self.dataset, self.split, "not stated", self.revision, self.config)
        renames = parse_renames(self.columns, COLUMNS)
        instead = "save it as a file, and give it as jsonl:FILE"
        return _asked(self, *from_hub(source, renames, instead=instead), name=self.dataset)


def _asked(task: Jsonl | Hub, rows: Iterable[DataRow], origin: str, *, name: str) -> TaskData:
    """The questions of rows, which have the name of their file or data set and their index as ids if they lack one."""
    items = items_from(rows, lambda row: question_of(row, PLAIN, id=f"{Path(name).name}/{row.index}", kind=task.kind))
    return task_data(task, items, origin, PLAIN, "not stated")


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

        return task_data(self, items_from(rows, item), origin, _TEMPLATE, "not stated")
