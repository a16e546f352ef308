"""Tasks from a user's own data: questions of a file (`jsonl`) or a hub (`hf`), and recordings (`pool`)."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from reasoner.answers.maths import MathSpace
from reasoner.answers.numbers import NumberSpace
from reasoner.answers.references import ReferenceKinds
from reasoner.errors import UsageError
from reasoner.registry import entries, load, options_of, spec_of
from reasoner.specs import Spec, written
from reasoner.system.printing import counted
from reasoner.system.tables import column_names, is_table
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
from reasoner_evals.tasks.data import DataRow, Publication, Rows, from_file, from_hub
from reasoner_evals.tasks.graders import GradedQuestion


@dataclass(frozen=True, slots=True)
class Jsonl:
    """Your own questions: JSONL, JSON, CSV, TSV or parquet with `question` and `answer`.

    `path` is the file. Optional columns: `id`, `context` (a document, shown first), `kind` (of answer, as in `reasoner
    solve --answer`), `choices` (a list; the answer is then a letter, one of them or an index from 0) and `group`. An
    answer may be a worked solution that states it in a form, such as a box. `kind` is for rows that name none. By
    default all answers of the file decide it together, or else the wording of each question does. `columns` maps column
    names to those in the file, as in `columns=[question:prompt,answer:target]`. `answer_options` are options of the
    kind of answer, such as `extract=rules` or `pattern=REGEX`; see `docs/answers.md`.
    """

    example: ClassVar[str] = "jsonl:FILE"

    path: str
    columns: tuple[str, ...] = ()
    answer_options: str = ""
    kind: str = "auto"

    def load(self) -> TaskData:
        """All questions, in the file's order."""
        return _asked(
            self,
            from_file(Path(self.path), column_names(self.columns, COLUMNS)),
            name=self.path,
        )


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
        source = Publication(
            self.dataset, self.split, "not stated", self.revision, self.config
        )
        renames = column_names(self.columns, COLUMNS)
        instead = "save it as a file, and give it as jsonl:FILE"
        return _asked(
            self, from_hub(source, renames, instead=instead), name=self.dataset
        )


def task_spec(text: str, columns: Sequence[str] = ()) -> str:
    """The spec of a task that was typed as one, or as the path of a file of questions; `columns` are added to it.

    Raises:
        UsageError: `columns` are given, and the task has none.
    """
    path = Path(text)
    listed = text.partition(":")[0].partition("(")[0].strip() in entries("task")
    named = not listed and (
        path.exists() or (":" not in text and ("/" in text or is_table(path)))
    )
    spec = (
        Spec("jsonl", {"path": text})
        if named
        else Spec.parse(text)
        if columns
        else None
    )
    if not columns or spec is None:
        return str(spec) if spec else text
    if "columns" not in options_of(load("task", spec.name)):
        raise UsageError(
            f"--columns has no effect: the task {spec.name} reads no columns; omit it"
        )
    own = spec.options.get("columns", ())
    pairs = dict.fromkeys([*(own if isinstance(own, tuple) else (own,)), *columns])
    return str(Spec(spec.name, {**spec.options, "columns": tuple(pairs)}))


def _asked(task: Jsonl | Hub, read: Rows, *, name: str) -> TaskData:
    """The questions of rows, which have the name of their file or data set and their index as ids if they lack one."""
    rows = list(read.rows)
    _check_columns(task, rows)
    kinds = ReferenceKinds()
    if task.kind == "auto":
        for row in rows:
            if not (row.filled("kind") or row.filled("choices")):
                kinds.add(row.text("question"), row.text("answer"))
    kind, note = (
        kinds.kind or task.kind,
        kinds.note(shlex.quote(spec_of(replace(task, kind="KIND")))),
    )
    items = items_from(
        rows,
        lambda row: question_of(
            row, PLAIN, id=f"{Path(name).name}/{row.index}", kind=kind
        ),
    )
    return task_data(
        task,
        items,
        read.origin,
        PLAIN,
        "not stated",
        notes=tuple(filter(None, [note])),
    )


def _check_columns(task: Jsonl | Hub, rows: Sequence[DataRow]) -> None:
    """Refuse rows without a column of questions or answers, and with answers that are not there. Raises UsageError."""
    first = rows[0]
    if absent := [
        column
        for column in ("question", "answer")
        if not any(row.knows(column) for row in rows)
    ]:
        kept = [
            pair
            for pair in task.columns
            if pair.partition(":")[0].strip() not in absent
        ]
        pairs = (*kept, *(f"{column}:{first.meant(column)}" for column in absent))
        lacks = " and no column ".join(repr(first.named(column)) for column in absent)
        which = "they are" if absent[1:] else "it is"
        raise UsageError(
            f"{first.location} has no column {lacks}: it has {first.listed}; say which {which} with "
            f"`--columns {shlex.quote(','.join(map(written, pairs)))}`"
        )
    if missing := [row.location for row in rows if not row.filled("answer")]:
        others = len(missing) - 1
        more = (
            f", and so {'has' if others == 1 else 'have'} {counted(others, 'more row')}"
            if others
            else ""
        )
        raise UsageError(
            f"{missing[0]} has no answer in the column {first.named('answer')!r}{more}: fill it in or delete the row; "
            "`reasoner batch` asks questions without answers"
        )


_TEMPLATE = Template("pool", 1)


@dataclass(frozen=True, slots=True)
class Pool:
    """The questions of a recording, for the engine `pool` with the same file; a question's text is its id.

    `path` is a file with a line for each recorded reply, whose `gold` is the reference answer; see
    `docs/evaluation.md`. The kind of answer is `number` if all reference answers are numbers, else `math`.
    `answer_options` are options of that kind; see `docs/answers.md`.
    """

    example: ClassVar[str] = "pool:FILE -e pool:FILE"

    path: str
    answer_options: str = ""

    def load(self) -> TaskData:
        """All questions, in the file's order."""
        read, kinds = from_file(Path(self.path), {}), ReferenceKinds()
        first = dict[str, DataRow]()
        for row in read.rows:
            asked = first.setdefault(row.text("question_id"), row)
            if row.text("gold") != asked.text("gold"):
                raise row.error(
                    "gold", f"{asked.location} has {asked.text('gold')!r:.40}"
                )
        for row in first.values():
            kinds.add("", row.text("gold"))
        space = NumberSpace() if kinds.kind == "number" else MathSpace()

        def item(row: DataRow) -> GradedQuestion:
            name = row.text("question_id")
            return GradedQuestion(
                _TEMPLATE.ask(name, space, id=name),
                checked(row, "gold", space, row.text("gold")),
            )

        return task_data(
            self, items_from(first.values(), item), read.origin, _TEMPLATE, "not stated"
        )
