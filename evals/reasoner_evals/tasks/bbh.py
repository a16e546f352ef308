"""BIG-Bench Hard: 27 tasks of reasoning with short answers (Suzgun 2022, 2210.09261).

A published row has an `input`, which ends in lines such as `(A) 05/01/2021` where it has options, and a `target`, such
as `(A)`. `dyck_languages` asks for brackets, which no kind of answer for words or formulas reads.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

from reasoner.answers.choices import ChoiceSpace
from reasoner.answers.forms import SENTENCE, Form, Opening
from reasoner.answers.numbers import NumberSpace
from reasoner.answers.reading import KeyedKind
from reasoner.answers.texts import TextSpace, YesNoSpace
from reasoner.errors import UnknownName, UsageError
from reasoner.types import Answer, AnswerSpace
from reasoner_evals.tasks.benchmark import Benchmark, TaskData, Template, checked
from reasoner_evals.tasks.data import DataRow, Renames, Rows, from_hub
from reasoner_evals.tasks.graders import GradedQuestion


@dataclass(frozen=True, slots=True)
class BracketSpace(KeyedKind):
    """A sequence of brackets; two are equal if they are the same without spaces."""

    name: ClassVar[str] = "brackets"
    version: ClassVar[int] = 1
    instruction: ClassVar[str] = (
        "Give the answer as the missing brackets alone, separated by spaces."
    )
    opening: ClassVar[Opening | None] = SENTENCE

    def forms(self, text: str) -> list[Form]:
        """Boxes, each to the last brace of its line: those inside need no partner."""
        return [
            Form(match[1], match.start(), match.end())
            for match in re.finditer(r"\\boxed\{([^\n]*)\}", text)
        ][::-1]

    def inside(self, text: str, reply: str) -> Answer | None:
        """All of a text of brackets and spaces."""
        written = text.strip("$`*. \n")
        key = "".join(written.split())
        return (
            Answer(written, key)
            if key and not re.search(r"[^()\[\]{}<>]", key)
            else None
        )

    def begins(self, text: str, reply: str) -> Answer | None:
        """The line with which it begins."""
        return self.inside(text.strip().partition("\n")[0], reply)

    alone = inside


WORDS: Final[Mapping[str, type[AnswerSpace]]] = {
    "boolean_expressions": TextSpace,
    "causal_judgement": YesNoSpace,
    "dyck_languages": BracketSpace,
    "formal_fallacies": TextSpace,
    "multistep_arithmetic_two": NumberSpace,
    "navigate": YesNoSpace,
    "object_counting": NumberSpace,
    "sports_understanding": YesNoSpace,
    "web_of_lies": YesNoSpace,
    "word_sorting": TextSpace,
}
"""The tasks without options, and their kinds of answer."""
CHOICES: Final = (
    "date_understanding",
    "disambiguation_qa",
    "geometric_shapes",
    "hyperbaton",
    "logical_deduction_five_objects",
    "logical_deduction_seven_objects",
    "logical_deduction_three_objects",
    "movie_recommendation",
    "penguins_in_a_table",
    "reasoning_about_colored_objects",
    "ruin_names",
    "salient_translation_error_detection",
    "snarks",
    "temporal_sequences",
    "tracking_shuffled_objects_five_objects",
    "tracking_shuffled_objects_seven_objects",
    "tracking_shuffled_objects_three_objects",
)
"""The tasks whose questions list options."""
TASKS: Final = tuple(sorted((*WORDS, *CHOICES)))
_FEW_SHOT: Final = Template("bbh-published-shots", 1, "")


@dataclass(frozen=True, slots=True)
class Bbh(Benchmark):
    """BIG-Bench Hard: 6,511 questions of 27 subtasks; `task` keeps one of them.

    Zero-shot, unless `shots` is the folder of the published worked examples, a `TASK.txt` each (`cot-prompts` of
    github.com/suzgunmirac/BIG-Bench-Hard). A row of `path` has `input` and `target` as published, or `question`,
    `answer` and a list of `choices`; its task is its `group`, the option `task` or the name of the file.
    """

    task: str = ""
    shots: str = ""

    reads: ClassVar = ("question", "answer", "choices", "group", "id")
    named: ClassVar = {
        "question": ("input", "question"),
        "answer": ("target", "answer"),
    }
    prompt: ClassVar = Template(
        "bbh-steps",
        1,
        "Reason step by step, and end with `So the answer is`, followed by the answer. {kind}",
    )

    def __post_init__(self) -> None:
        if self.task and self.task not in TASKS:
            raise UnknownName("task of BIG-Bench Hard", self.task, TASKS)

    def rows(self, renames: Renames) -> Rows:
        """The rows of a file, or of the configurations of the hub."""
        if self.path:
            return Benchmark.rows(self, renames)
        instead = self.published.alternative(self.name)
        tasks = [self.task] if self.task else TASKS
        parts = [
            from_hub(replace(self.published, config=task), renames, instead=instead)
            for task in tasks
        ]
        rows = (
            row.having("group", task)
            for task, part in zip(tasks, parts, strict=True)
            for row in part.rows
        )
        return Rows(rows, "; ".join(part.origin for part in parts))

    def load(self) -> TaskData:
        """All questions; the source names the prompt that was used."""
        data = Benchmark.load(self)
        if not self.shots:
            return data
        prompt = {"prompt": str(_FEW_SHOT), "prompt_hash": _FEW_SHOT.hash(())}
        return replace(data, source=data.source.model_copy(update=prompt))

    def item(self, row: DataRow) -> GradedQuestion | None:
        """The options as published, `(A) ...`, also of a row that lists them as `choices`."""
        task = row.optional("group") or self.task or row.location.partition(".")[0]
        if task not in TASKS:
            raise row.error(
                "group", f"{task!r:.60} is not a task of BIG-Bench Hard: add task=NAME"
            )
        if self.task and task != self.task:
            return None

        text, options = _question(row)
        space: AnswerSpace = (
            ChoiceSpace(options) if options else WORDS.get(task, TextSpace)()
        )
        gold = row.text("answer")
        if options:
            gold = gold.strip("()")
            if gold not in space.known:  # type: ignore[attr-defined] # a ChoiceSpace
                raise row.error(
                    "answer",
                    f"{gold!r:.20} is not the letter of one of {len(options)} options",
                )
        else:
            checked(row, "answer", space, gold)

        name = row.optional("id") or f"bbh/{task}/{row.index}"
        if self.shots:
            asked = f"Q: {text}\nA: Let's think step by step."
            question = _FEW_SHOT.ask(
                asked, space, id=name, context=_published_shots(Path(self.shots), task)
            )
        else:
            question = self.prompt.ask(text, space, id=name)
        return GradedQuestion(question, gold, subtask=task)


def _question(row: DataRow) -> tuple[str, tuple[str, ...]]:
    """The question with its options as published, and the options; () where it has none."""
    text = row.text("question")
    if row.has("choices"):
        options = row.texts("choices")
        listed = "\n".join(
            f"({chr(ord('A') + index)}) {option}"
            for index, option in enumerate(options)
        )
        return f"{text}\nOptions:\n{listed}", options
    if not (start := re.search(r"\n?Options:\n(?=\(A\))", text)):
        return text, ()
    _, *parts = re.split(r"^\(([A-Z])\) ?", text[start.end() :], flags=re.MULTILINE)
    return text, tuple(option.strip() for option in parts[1::2])


def _published_shots(folder: Path, task: str) -> str:
    """The worked examples of a task, without the line that marks them as data of a benchmark."""
    try:
        text = (folder / f"{task}.txt").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{folder / task}.txt cannot be read ({error}): give shots=FOLDER with the published prompts, TASK.txt each"
        ) from None
    return re.sub(r"\A.*canary GUID.*\n-----\n", "", text).strip()
