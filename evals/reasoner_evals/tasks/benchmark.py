"""Tasks and benchmarks: questions with reference answers, prompt templates, and the base class of all benchmarks."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import ascii_uppercase
from typing import ClassVar, Final, Protocol

from reasoner import Prompt, Question
from reasoner.answers.choices import ChoiceSpace
from reasoner.answers.grading import is_gradable, stated
from reasoner.answers.kinds import SPACES, space_for, with_options
from reasoner.answers.numbers import STEPS_AND_BOX
from reasoner.errors import UsageError, shown
from reasoner.registry import check_types, name_of, spec_of
from reasoner.system.tables import column_names
from reasoner.types import AnswerSpace, Message
from reasoner_evals.tasks.data import (
    DataRow,
    Publication,
    Renames,
    Rows,
    Source,
    from_file,
    from_hub,
    published,
)
from reasoner_evals.tasks.graders import GradedQuestion


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt template: a document if there is one, the question and an instruction.

    In the instruction `{kind}` is replaced by the answer space's, such as `Give the answer as a number.`
    Increment `version` with every change of the text.
    """

    name: str
    version: int
    instruction: str = "{kind}"

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    def hash(self, spaces: Iterable[AnswerSpace]) -> str:
        """The sha256 of all that it adds to questions with these answer spaces, 64 hex digits."""
        kinds = (
            sorted({space.instruction for space in spaces})
            if "{kind}" in self.instruction
            else []
        )
        return _sha256([self.instruction, kinds, []])

    def ask(
        self, text: str, space: AnswerSpace, *, id: str, context: str = ""
    ) -> Question:
        """The question with its prompt. A document comes first, so that questions about it share a prefix."""
        instruction = self.instruction.replace("{kind}", space.instruction)
        document = f"{context}\n\n" if context else ""
        asked = (
            f"{document}{text}\n\n{instruction}" if instruction else f"{document}{text}"
        )
        return Question(id, text, Prompt(messages=(Message("user", asked),)), space)


PLAIN: Final = Template("plain", 1)
"""The answer space's own instruction alone."""
BOXED: Final = Template("boxed-steps", 1, STEPS_AND_BOX)
"""Steps and a box, whatever the kind of answer."""
CHOICE: Final = Template(
    "choice-steps",
    1,
    "Reason step by step, and end with `The answer is`, followed by the letter of one option. {kind}",
)
"""The letter of one option, after reasoning."""


def listed_options(question: str, options: Sequence[str]) -> str:
    """A multiple-choice question followed by its options, one per line, with letters."""
    lines = (
        f"{letter}) {option}"
        for letter, option in zip(ascii_uppercase, options, strict=False)
    )
    return f"{question}\n\n" + "\n".join(lines)


def choice_question(
    template: Template, question: str, options: Sequence[str], right: int, *, id: str
) -> GradedQuestion:
    """A multiple-choice question; its reference answer is the letter of `options[right]`."""
    space = ChoiceSpace(tuple(options))
    return GradedQuestion(
        template.ask(listed_options(question, options), space, id=id),
        space.known[right],
    )


def _sha256(content: object) -> str:
    text = json.dumps(
        content, ensure_ascii=False, sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def document_of(question: Question) -> str:
    """The last turn of a question up to its instruction: the document, if any, and the text."""
    last = question.prompt.messages[-1].content
    start = last.rfind(question.text)
    return last[: start + len(question.text)] if start >= 0 else question.text


def data_hash(items: Sequence[tuple[str, ...]]) -> str:
    """The sha256 of all items: id, text with its document, reference answers or tests."""
    return _sha256([list(item) for item in items])


@dataclass(frozen=True, slots=True)
class TaskData:
    """The questions of a task, each with a unique id, and their source."""

    items: tuple[GradedQuestion, ...]
    source: Source


class Task(Protocol):
    """A benchmark: a frozen dataclass with its options as fields, registered under `reasoner.tasks`."""

    def load(self) -> TaskData:
        """All questions, in the benchmark's order. A UsageError names file, line and column, or an alternative."""


def checked_data(
    task: Task,
    data: object,
    cut: Callable[[TaskData], TaskData] = lambda data: data,
) -> TaskData:
    """The questions to ask of what a task's `load` returned; the source names the spec by which it is loaded again.

    `cut` leaves the questions to ask. Only these are checked: a task may have thousands more.

    Raises:
        UsageError: it is not `TaskData`, or the questions have no valid text and ids of their own.
    """
    spec = spec_of(task)
    try:
        if not (isinstance(data, TaskData) and isinstance(data.source, Source)):
            raise UsageError(
                f"it must return TaskData with a Source (got {shown(data)})"
            )
        check_types(data)
        if not data.items:
            raise UsageError("it has no questions: choose data with at least one")
        asked, known = cut(data), set[str]()
        for item in asked.items:
            check_types(item)
            _check_texts(item, known)
    except UsageError as error:
        raise UsageError(f"load() of the task {spec}: {error}") from None
    return replace(asked, source=asked.source.model_copy(update={"task": spec}))


def _check_texts(item: GradedQuestion, known: set[str]) -> None:
    """Refuse an id that is empty or `known`, and text that no file can hold. Raises UsageError."""
    question = item.question
    if not question.id or question.id in known:
        raise UsageError(
            f"each question needs an id of its own (got {shown(question.id)}, which is empty or taken)"
        )
    known.add(question.id)
    try:
        f"{question.id}{question.text}{item.gold}{item.group}".encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"the question {shown(question.id)} has text that is not valid Unicode"
        ) from None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A task with rows from the local file `path`, or from the Hugging Face hub at a pinned revision.

    `columns` maps column names to those in the file, as in `columns=[question:prompt,answer:target]`. `answer_options`
    are options of the kind of answer, such as `extract=rules` or `pattern=REGEX`; see `docs/answers.md`.
    """

    path: str = ""
    columns: tuple[str, ...] = ()
    answer_options: str = field(default="", kw_only=True)

    reads: ClassVar[tuple[str, ...]] = ("question", "answer")
    """The columns that a row may have, by the benchmark's own names."""
    named: ClassVar[Renames] = {}
    """The names of columns in published editions, where they are others."""
    kind: ClassVar[str] = "auto"
    """The kind of answer of every question."""
    prompt: ClassVar[Template]
    shareable: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The name by which it is registered; one of another package may have a class variable instead."""
        return name_of(type(self))

    @property
    def published(self) -> Publication:
        """Where it is published, by our table; a benchmark of another package has a class variable instead."""
        return published(self.name)

    def item(self, row: DataRow) -> GradedQuestion | None:
        """The question of a row, or None if the benchmark lacks it. A UsageError names row and column."""
        return question_of(
            row,
            self.prompt,
            id=f"{self.name}/{row.index}",
            kind=self.kind,
            reads=self.reads,
        )

    def rows(self, renames: Renames) -> Rows:
        """The rows of the file `path`, or of the hub. A UsageError says what to do instead."""
        if self.path:
            return from_file(Path(self.path), renames)
        return from_hub(
            self.published, renames, instead=self.published.alternative(self.name)
        )

    def load(self) -> TaskData:
        """All questions; see `Task.load`."""
        read = self.rows({**self.named, **column_names(self.columns, self.reads)})
        items, licence = items_from(read.rows, self.item), self.published.licence
        return task_data(
            self,
            items,
            read.origin,
            self.prompt,
            licence,
            shareable=self.shareable,
        )


COLUMNS: Final = ("question", "answer", "id", "context", "kind", "choices", "group")
"""The columns of a question."""
KINDS: Final = tuple(kind for kind in SPACES if kind not in ("code", "json", "free"))
"""The kinds of answer that a reference answer in words can grade."""


def question_of(
    row: DataRow,
    template: Template,
    *,
    id: str,
    kind: str = "auto",
    reads: Collection[str] = COLUMNS,
) -> GradedQuestion:
    """The question of a row by its `COLUMNS`; only `question` and `answer` must be there.

    `id` and `kind` are those of a row without them. With `choices`, the answer is a letter, one of them or an index
    from 0. Of a worked solution, the answer is the one that it states in a form, such as a box.

    Raises:
        UsageError: a column is missing or has no valid value; the message names row and column.
    """
    text = row.text("question")
    space: AnswerSpace
    if "choices" in reads and row.has("choices"):
        options = row.texts("choices")
        if not 2 <= len(options) <= 26:
            raise row.error("choices", f"{len(options)} options: give 2 to 26")
        text, space = listed_options(text, options), ChoiceSpace(options)
        gold = _letter(row, space)
    else:
        space = _space(row, row.optional("kind") if "kind" in reads else "", kind, text)
        gold = stated(space, row.text("answer"))
        checked(row, "answer", space, gold)
    name, context, group = (
        row.optional(column) if column in reads else ""
        for column in ("id", "context", "group")
    )
    return GradedQuestion(
        template.ask(text, space, id=name or id, context=context), gold, group
    )


def _letter(row: DataRow, space: ChoiceSpace) -> str:
    """The letter of the right option."""
    gold, options = row.text("answer"), space.options
    if gold in space.known:
        return gold
    named = {index for index, option in enumerate(options) if option == gold}
    named |= (
        {int(gold)}
        if isinstance(row.value("answer"), int) and 0 <= int(gold) < len(options)
        else set()
    )
    if len(named) != 1:
        allowed = f"a letter from A to {space.known[-1]}"
        raise row.error(
            "answer",
            f"{gold!r:.40} is neither {allowed} nor exactly one of the choices or an index from 0",
        )
    return space.known[named.pop()]


def _space(row: DataRow, written: str, default: str, text: str) -> AnswerSpace:
    kind = written or default
    if kind not in KINDS:
        raise row.error("kind", f"{kind!r:.30} is not one of {', '.join(KINDS)}")
    try:
        return space_for(kind, text)
    except UsageError as error:
        raise row.error("kind", str(error)) from None


def items_from(
    rows: Iterable[DataRow], item: Callable[[DataRow], GradedQuestion | None]
) -> list[GradedQuestion]:
    """The questions that `item` makes of rows, without None. Raises UsageError if two have the same id."""
    items: list[GradedQuestion] = []
    locations: dict[str, str] = {}
    for row in rows:
        if graded := item(row):
            if earlier := locations.get(graded.question.id):
                raise UsageError(
                    f"{row.location} has the id {graded.question.id!r} of {earlier}: ids must be unique"
                )
            locations[graded.question.id] = row.location
            items.append(graded)
    return items


def task_data(
    task: object,
    items: list[GradedQuestion],
    origin: str,
    template: Template,
    licence: str,
    *,
    shareable: bool = True,
    notes: tuple[str, ...] = (),
) -> TaskData:
    """The questions with their source.

    Where the task has `answer_options`, these are options of their kind of answer, as after its colon in `reasoner
    solve --answer`.

    Raises:
        UsageError: there are no questions, or the kind of answer has no such option or value.
    """
    if not items:
        raise UsageError(
            f"{spec_of(task)} has no questions: no row is part of the benchmark"
        )
    if options := getattr(task, "answer_options", ""):
        spaces = [with_options(item.question.space, options) for item in items]
        items = [
            replace(item, question=replace(item.question, space=space))
            for item, space in zip(items, spaces, strict=True)
        ]
    content = [
        (
            item.question.id,
            document_of(item.question),
            item.gold,
            *getattr(item.grader, "references", ()),
        )
        for item in items
    ]
    source = Source(
        task=spec_of(task),
        origin=origin,
        data_hash=data_hash(content),
        prompt=str(template),
        prompt_hash=template.hash(item.question.space for item in items),
        licence=licence,
        items=len(items),
        subset="all",
        shareable=shareable,
        notes=notes,
    )
    return TaskData(tuple(items), source)


def checked(row: DataRow, column: str, space: AnswerSpace, gold: str) -> str:
    """The reference answer `gold`. Raises UsageError if its space cannot read it, as no answer would ever be right."""
    if not is_gradable(space, gold):
        raise row.error(
            column, f"{gold!r:.60} cannot be read as an answer of kind {space.name}"
        )
    return gold
