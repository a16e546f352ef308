"""Tasks and benchmarks: where questions with reference answers come from, and the base class of all benchmarks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import ClassVar, Protocol

from pydantic import ValidationError

from reasoner.answers import MathSpace, ReadsForms, TextSpace, squad_normal, with_options
from reasoner.errors import UsageError, require, shown
from reasoner.registry import check_types, spec_of
from reasoner.types import AnswerSpace
from reasoner_evals.tasks.data import Published, Row, Source, from_file, from_hub, parse_renames
from reasoner_evals.tasks.graders import ByReference, ByTests, GradedQuestion
from reasoner_evals.tasks.prompts import Template, data_hash, document_of, worked_examples


@dataclass(frozen=True, slots=True)
class TaskData:
    """The questions of a task, each with a unique id, and their source."""

    items: tuple[GradedQuestion, ...]
    source: Source


class Task(Protocol):
    """A benchmark; a frozen dataclass whose fields are its options, registered under `reasoner.tasks`."""

    def load(self) -> TaskData:
        """All questions, in the benchmark's order. A UsageError names file, line and column, or an alternative."""


def checked_data(task: Task, data: object) -> TaskData:
    """What a task's `load` returned, checked; its source names the spec by which the task is loaded again.

    Raises:
        UsageError: it is not `TaskData` of questions with valid text and ids of their own.
    """
    spec = spec_of(task)
    try:
        if not isinstance(data, TaskData) or not isinstance(data.source, Source):
            got = f"a source that is {shown(data.source)}" if isinstance(data, TaskData) else shown(data)
            raise UsageError(f"it must return TaskData with a Source (got {got})")
        Source.model_validate(data.source.model_dump(warnings=False))
        check_types(data)
        known: set[str] = set()
        for item in data.items:
            check_types(item)
            _check_texts(item, known)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(
            f"load() of the task {spec}: {first['loc'][0]} of its source: {first['msg'].lower()}"
        ) from None
    except UsageError as error:
        raise UsageError(f"load() of the task {spec}: {error}") from None
    return replace(data, source=data.source.model_copy(update={"task": spec}))


def _check_texts(item: GradedQuestion, known: set[str]) -> None:
    """Refuse an id that is empty or `known`, and text that no file can hold. Raises UsageError."""
    question = item.question
    if not question.id or question.id in known:
        raise UsageError(f"each question needs an id of its own (got {shown(question.id)}, which is empty or taken)")
    known.add(question.id)
    try:
        f"{question.id}{question.text}{item.gold}{item.group}{item.level}".encode()
    except UnicodeEncodeError:
        raise UsageError(f"the question {shown(question.id)} has text that is not valid Unicode") from None


@dataclass(frozen=True, slots=True)
class Benchmark(ABC):
    """A task whose rows come from the local file `data`, or from the Hugging Face hub at `revision`.

    `columns` maps column names to those in the file, as in `columns=[question:prompt,answer:target]`. `answer_pattern`
    is a regular expression by which answers are read first; `answer_options` are other options of the kind of answer,
    such as `extract=rules`; see `docs/answers.md`.
    """

    data: str = ""
    columns: tuple[str, ...] = ()
    revision: str = "main"
    answer_pattern: str = ""
    answer_options: str = field(default="", kw_only=True)

    name: ClassVar[str]
    published: ClassVar[Published]
    reads: ClassVar[tuple[str, ...]]
    """The columns that a row may have, by the benchmark's own names."""
    prompt: ClassVar[Template]
    shareable: ClassVar[bool] = True

    @property
    def template(self) -> Template:
        """The prompt template of its questions."""
        return self.prompt

    @abstractmethod
    def item(self, row: Row) -> GradedQuestion | None:
        """The question of a row, or None if the benchmark lacks it. A UsageError names row and column."""

    def load(self) -> TaskData:
        """All questions; see `Task.load`."""
        renames = parse_renames(self.columns, self.reads)
        pinned = next(field.default for field in fields(self) if field.name == "revision")
        if self.data and self.revision != pinned:
            raise UsageError(f"revision={self.revision} applies to the hub and data={self.data} is a file: keep one")
        if self.data:
            rows, origin = from_file(Path(self.data), renames, self.published)
        else:
            rows, origin = from_hub(self.name, self.published, self.revision, renames)
        items = with_pattern(items_from(rows, self.item), self.answer_pattern)
        items = with_answer_options(items, self.answer_options)
        return task_data(self, items, origin, self.template, self.published.licence, shareable=self.shareable)


@dataclass(frozen=True, slots=True)
class FewShotBenchmark(Benchmark):
    """A benchmark with worked examples in `examples.toml`, of which the first `shots` are shown."""

    shots: int = 0

    examples: ClassVar[str] = ""
    """Their key in the file; its own name if empty."""

    @property
    def template(self) -> Template:
        """The prompt template with the worked examples."""
        known = worked_examples(self.examples or self.name)
        require(self.shots, f"shots of {self.name}", at_least=0, at_most=len(known))
        return replace(self.prompt, shots=known[: self.shots])


def items_from(rows: Iterable[Row], item: Callable[[Row], GradedQuestion | None]) -> list[GradedQuestion]:
    """The questions that `item` makes of rows, without None. Raises UsageError if two have the same id."""
    items: list[GradedQuestion] = []
    locations: dict[str, str] = {}
    for row in rows:
        if graded := item(row):
            if earlier := locations.get(graded.question.id):
                raise UsageError(f"{row.location} has the id {graded.question.id!r} of {earlier}: ids must be unique")
            locations[graded.question.id] = row.location
            items.append(graded)
    return items


def with_pattern(items: list[GradedQuestion], pattern: str) -> list[GradedQuestion]:
    """The same questions, whose answers are read by a regular expression first; unchanged if it is empty.

    Raises:
        UsageError: it is no regular expression, or the kind of answer has no such option.
    """
    return [_patterned(item, pattern) for item in items] if pattern else items


def with_answer_options(items: list[GradedQuestion], options: str) -> list[GradedQuestion]:
    """The same questions, whose kind of answer has these options, as after its colon in `reasoner solve --answer`.

    Raises:
        UsageError: the kind of answer has no such option, or its value is not valid.
    """
    if not options:
        return items
    return [
        replace(item, question=replace(item.question, space=with_options(item.question.space, options)))
        for item in items
    ]


def _patterned(item: GradedQuestion, pattern: str) -> GradedQuestion:
    space = item.question.space
    if not isinstance(space, ReadsForms):
        raise UsageError(f"answer kind {space.name} cannot read by answer_pattern: leave it out")
    return replace(item, question=replace(item.question, space=replace(space, pattern=pattern)))


def task_data(
    task: object, items: list[GradedQuestion], origin: str, template: Template, licence: str, *, shareable: bool = True
) -> TaskData:
    """The questions with their source. Raises UsageError if there are none."""
    if not items:
        raise UsageError(f"{spec_of(task)} has no questions: no row is part of the benchmark")
    source = Source(
        task=spec_of(task),
        origin=origin,
        data_hash=data_hash([(item.question.id, document_of(item.question), *_references(item)) for item in items]),
        prompt=str(template),
        prompt_hash=template.hash(item.question.space for item in items),
        licence=licence,
        items=len(items),
        subset="all",
        shareable=shareable,
    )
    return TaskData(tuple(items), source)


def _references(item: GradedQuestion) -> tuple[str, ...]:
    """The reference answer, and the aliases or tests that also decide the grade."""
    match item.grader:
        case ByReference(aliases=others) | ByTests(tests=others):
            return (item.gold, *others)
    return (item.gold,)


def checked(row: Row, column: str, space: AnswerSpace, gold: str) -> str:
    """The reference answer `gold`. Raises UsageError if its space cannot read it, as no answer would ever be right."""
    if isinstance(space, MathSpace):
        readable = space.answer(gold) is not None
    elif isinstance(space, TextSpace):
        readable = bool(squad_normal(gold))
    else:
        readable = space.read(rf"\boxed{{{gold}}}") is not None
    if not readable:
        raise row.error(column, f"{gold!r:.60} cannot be read as an answer of kind {space.name}")
    return gold
