"""What the benchmarks share: rows from a file or the hub, made into questions, with their source."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

from reasoner.answers import MathSpace, TextSpace, squad_normal
from reasoner.catalog import spec_of
from reasoner.errors import UsageError
from reasoner.types import AnswerSpace
from reasoner_evals.graders.code import ByTests
from reasoner_evals.grading import ByReference, GradedQuestion
from reasoner_evals.runs.records import Source
from reasoner_evals.tasks.prompts import Template, data_hash, document_of
from reasoner_evals.tasks.rows import Row, renaming
from reasoner_evals.tasks.source import Published, from_file, from_hub
from reasoner_evals.tasks.task import TaskData


@dataclass(frozen=True, slots=True)
class Benchmark(ABC):
    """A task whose rows come from `data`, a local file, or else from the hub at `revision`.

    `columns` says what the file calls a column, as in `columns=[question:prompt,answer:target]`.
    """

    data: str = ""
    columns: tuple[str, ...] = ()
    revision: str = "main"

    name: ClassVar[str]
    published: ClassVar[Published]
    reads: ClassVar[tuple[str, ...]]
    """The columns that a row may have, by the names that the benchmark gives them."""
    shareable: ClassVar[bool] = True

    @property
    @abstractmethod
    def template(self) -> Template:
        """How its questions are put."""

    @abstractmethod
    def item(self, row: Row, template: Template) -> GradedQuestion | None:
        """The question of a row; None where the row is not one of the benchmark's.

        Raises:
            UsageError: a value of the row cannot be used; the message names its place.
        """

    def load(self) -> TaskData:
        """All its questions, in the benchmark's own order.

        Raises:
            UsageError: the data cannot be had or read; the message names file, line and column, or what to do instead.
        """
        renamed = renaming(self.columns, self.reads)
        template = self.template
        pinned = next(field.default for field in fields(self) if field.name == "revision")
        if self.data and self.revision != pinned:
            raise UsageError(f"revision={self.revision} is of the hub's data and data={self.data} a file: keep one")
        if self.data:
            read = from_file(Path(self.data), self.published, renamed)
        else:
            read = from_hub(self.name, self.published, self.revision, renamed)
        items: list[GradedQuestion] = []
        places: dict[str, str] = {}
        for row in read.rows:
            if made := self.item(row, template):
                if earlier := places.get(made.question.id):
                    raise UsageError(f"{row.place} has the id {made.question.id!r} that {earlier} has: ids are unique")
                places[made.question.id] = row.place
                items.append(made)
        return collected(self, items, read.origin, template, self.published.licence, shareable=self.shareable)


def collected(
    task: object,
    items: Sequence[GradedQuestion],
    origin: str,
    template: Template,
    licence: str,
    *,
    shareable: bool = True,
) -> TaskData:
    """The questions with what tells them from others.

    Raises:
        UsageError: there is no question.
    """
    if not items:
        raise UsageError(f"{spec_of(task)} has no questions: none of its rows is one of the benchmark's")
    hashed = data_hash([(item.question.id, document_of(item.question), *_references(item)) for item in items])
    source = Source(
        task=spec_of(task),
        origin=origin,
        data_hash=hashed,
        prompt=str(template),
        prompt_hash=template.hash(item.question.space for item in items),
        licence=licence,
        items=len(items),
        subset="all",
        shareable=shareable,
    )
    return TaskData(tuple(items), source)


def _references(item: GradedQuestion) -> tuple[str, ...]:
    """The reference answer, and what else is right or decides it."""
    match item.grader:
        case ByReference(aliases=others) | ByTests(tests=others):
            return (item.gold, *others)
    return (item.gold,)


def checked(row: Row, column: str, space: AnswerSpace, gold: str) -> str:
    """A reference answer that its space can read.

    Raises:
        UsageError: it cannot, so that no answer would ever be right.
    """
    if isinstance(space, MathSpace):
        fine = space.answer(gold) is not None
    elif isinstance(space, TextSpace):
        fine = bool(squad_normal(gold))
    else:
        fine = space.read(rf"\boxed{{{gold}}}") is not None
    if not fine:
        raise row.wrong(column, f"{gold!r:.60} cannot be read as an answer of kind {space.name}")
    return gold
