"""The benchmarks, by what their answers are: numbers and formulas, a choice, code.

GSM8K (Cobbe 2021, 2110.14168), MATH-500 (Lightman 2023, 2305.20050), AIME and AMC; ARC (Clark 2018, 1803.05457), MMLU
(Hendrycks 2020, 2009.03300), GPQA (Rein 2023, 2311.12022); HumanEval (Chen 2021, 2107.03374), MBPP (Austin 2021,
2108.07732).
"""

import hashlib
import re
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import ClassVar, Literal

from reasoner.answers.code import CodeSpace, functions_in
from reasoner.answers.maths import MathSpace
from reasoner.answers.numbers import NumberSpace
from reasoner_evals.tasks.benchmark import (
    BOXED,
    CHOICE,
    Benchmark,
    TaskData,
    Template,
    checked,
    choice_question,
)
from reasoner_evals.tasks.data import DataRow, Publication, published
from reasoner_evals.tasks.graders import (
    CodeGrader,
    GradedQuestion,
    ReferenceGrader,
    require_sandbox,
)


@dataclass(frozen=True, slots=True)
class Gsm8k(Benchmark):
    """GSM8K: 1,319 word problems with a number as their answer. Pinned."""

    reads: ClassVar = ("question", "answer", "id")
    prompt: ClassVar = BOXED

    def item(self, row: DataRow) -> GradedQuestion:
        """The reference answer is the number after the last `####`, or the whole answer if there is none."""
        _, hashes, gold = (
            part.strip() for part in row.text("answer").rpartition("####")
        )
        if not hashes and " " in gold:
            raise row.error("answer", "it does not end in `#### NUMBER`")
        space = NumberSpace()
        question = self.prompt.ask(
            row.text("question"), space, id=row.optional("id") or f"gsm8k/{row.index}"
        )
        return GradedQuestion(
            question, checked(row, "answer", space, gold.replace(",", ""))
        )


@dataclass(frozen=True, slots=True)
class Math500(Benchmark):
    """MATH-500: competition problems of levels 1 to 5, answered by a formula. Pinned."""

    reads: ClassVar = ("question", "answer", "id")
    named: ClassVar = {"question": ("problem",), "id": ("unique_id",)}
    kind: ClassVar = "math"
    prompt: ClassVar = BOXED


@dataclass(frozen=True, slots=True)
class Contest(Benchmark):
    """Problems with a number as their answer, compared exactly: `070` is 70 and `27.0` is 27."""

    named: ClassVar = {
        "question": ("problem", "question", "Problem"),
        "answer": ("answer", "expected_answer", "Answer"),
    }
    kind: ClassVar = "number"
    prompt: ClassVar = BOXED


@dataclass(frozen=True, slots=True)
class Aime24(Contest):
    """AIME 2024: 30 problems with an integer from 0 to 999 as their answer. Pinned."""


@dataclass(frozen=True, slots=True)
class Aime25(Contest):
    """AIME 2025: 30 problems with an integer from 0 to 999 as their answer. Pinned."""


@dataclass(frozen=True, slots=True)
class Aime26(Contest):
    """AIME 2026: 30 problems with an integer from 0 to 999 as their answer."""


@dataclass(frozen=True, slots=True)
class Amc23(Contest):
    """AMC 2023: 40 problems with a number as their answer. Pinned."""


@dataclass(frozen=True, slots=True)
class Hmmt(Contest):
    """HMMT: about 30 problems of a contest of Harvard and MIT, answered by a formula; `contest` is a month."""

    contest: Literal["feb_2025", "nov_2025", "feb_2026"] = "feb_2026"

    kind: ClassVar = "math"

    @property
    def published(self) -> Publication:
        """A data set per contest."""
        return replace(published(self.name), hub=f"MathArena/hmmt_{self.contest}")


@dataclass(frozen=True, slots=True)
class OlympiadBench(Benchmark):
    """OlympiadBench: 674 open-ended problems in English, without pictures, answered by formulas or numbers.

    `part` is another configuration with open-ended problems. Proofs and problems with pictures are left out.
    """

    part: str = "OE_TO_maths_en_COMP"

    reads: ClassVar = (
        "question",
        "final_answer",
        "id",
        "context",
        "is_multiple_answer",
        "unit",
        "error",
        "image_1",
    )
    prompt: ClassVar = BOXED

    @property
    def published(self) -> Publication:
        """A configuration per part."""
        return replace(published(self.name), config=self.part)

    def item(self, row: DataRow) -> GradedQuestion | None:
        """The first reference answer counts, as in the published judge; `error` is how far a number may be off."""
        if row.has("image_1") or not row.has("final_answer"):
            return None
        space, text, gold = (
            MathSpace(),
            row.text("question"),
            row.texts("final_answer")[0],
        )
        if row.has("is_multiple_answer") and row.value("is_multiple_answer"):
            text += "\n\nGive all answers, separated by commas."
        if unit := row.optional("unit"):
            text += f"\n\nGive the answer in {unit}, without the unit."
        name = f"olympiadbench/{row.optional('id') or row.index}"
        question = self.prompt.ask(
            text, space, id=name, context=row.optional("context")
        )
        try:
            grader = ReferenceGrader(error=float(row.optional("error") or 0))
        except (
            ValueError
        ):  # One for each of several answers: they are compared exactly.
            grader = ReferenceGrader()
        return GradedQuestion(
            question, checked(row, "final_answer", space, gold), grader=grader
        )


@dataclass(frozen=True, slots=True)
class Arc(Benchmark):
    """Science questions with 3 to 5 options; the reference answer is the letter of the right one."""

    reads: ClassVar = ("id", "question", "choices", "answerKey")
    prompt: ClassVar = CHOICE

    def item(self, row: DataRow) -> GradedQuestion:
        """The labels become letters."""
        match row.value("choices"):
            case {"text": [*texts], "label": [*labels]}:
                options, labels = (
                    [str(text).strip() for text in texts],
                    [str(label) for label in labels],
                )
            case _:
                raise row.error("choices", "it has no lists `text` and `label`")
        key = row.text("answerKey")
        if (
            not 2 <= len(options) <= 26
            or len(labels) != len(options)
            or not all(options)
        ):
            counts = f"{len(options)} options and {len(labels)} labels"
            raise row.error("choices", f"{counts}: give 2 to 26, with one label each")
        if labels.count(key) != 1:
            raise row.error(
                "answerKey", f"{key!r:.20} is not one of the labels {', '.join(labels)}"
            )
        name = f"{self.name}/{row.optional('id') or row.index}"
        return choice_question(
            self.prompt, row.text("question"), options, labels.index(key), id=name
        )


@dataclass(frozen=True, slots=True)
class ArcChallenge(Arc):
    """ARC-Challenge: 1,172 science questions of 3 to 5 options. Pinned."""


@dataclass(frozen=True, slots=True)
class ArcEasy(Arc):
    """ARC-Easy: 2,376 science questions of 3 to 5 options. Pinned."""


@dataclass(frozen=True, slots=True)
class Subjects(Benchmark):
    """Questions of several options each; `subject` keeps one subject."""

    subject: str = ""

    reads: ClassVar = ("question", "subject", "choices", "answer")
    prompt: ClassVar = CHOICE

    def item(self, row: DataRow) -> GradedQuestion | None:
        """Its id is its place in the whole benchmark."""
        return (
            None
            if self.subject and row.text("subject") != self.subject
            else Benchmark.item(self, row)
        )


@dataclass(frozen=True, slots=True)
class Mmlu(Subjects):
    """MMLU: 14,042 questions of four options on 57 subjects; `subject` keeps one of them. Pinned."""

    def item(self, row: DataRow) -> GradedQuestion | None:
        """Files write the answer as an index or as a letter."""
        answer, letters = (
            row.text("answer"),
            ascii_uppercase[: len(row.texts("choices"))],
        )
        if answer.isdecimal() and int(answer) < len(letters):
            return Subjects.item(self, row.having("answer", letters[int(answer)]))
        if answer not in tuple(letters):
            raise row.error(
                "answer",
                f"{answer!r:.20} is not an option: write 0 to {len(letters) - 1}, or a letter",
            )
        return Subjects.item(self, row)


@dataclass(frozen=True, slots=True)
class MmluPro(Subjects):
    """MMLU-Pro: 12,032 questions of up to ten options on 14 subjects; `subject` keeps one of them."""

    named: ClassVar = {"choices": ("options",), "subject": ("category",)}


@dataclass(frozen=True, slots=True)
class SuperGpqa(Subjects):
    """SuperGPQA: 26,529 questions of up to ten options on 13 disciplines; `subject` keeps one of them."""

    named: ClassVar = {
        "choices": ("options",),
        "answer": ("answer_letter",),
        "subject": ("discipline",),
    }


@dataclass(frozen=True, slots=True)
class GpqaDiamond(Benchmark):
    """GPQA-diamond: 198 hard questions of four options, never shown in a report. Pinned, gated.

    The options are shuffled by a hash of the question and `repeat`: the same in every process, and another order for
    another `repeat`.
    """

    repeat: int = 0

    reads: ClassVar = (
        "Question",
        "Correct Answer",
        "Incorrect Answer 1",
        "Incorrect Answer 2",
        "Incorrect Answer 3",
        "Record ID",
    )
    prompt: ClassVar = CHOICE
    shareable: ClassVar = False

    def item(self, row: DataRow) -> GradedQuestion:
        """The right option is the first of the row."""
        text = row.text("Question")
        options = [row.text(column) for column in self.reads[1:5]]
        name = (
            row.optional("Record ID")
            or hashlib.sha256("\0".join([text, *options]).encode()).hexdigest()[:16]
        )

        def key(index: int) -> bytes:
            identity = f"{name}\0{self.repeat}\0{index}".encode(
                "utf-8", "surrogatepass"
            )
            return hashlib.blake2b(identity, digest_size=16).digest()

        order = sorted(range(len(options)), key=key)
        shuffled = [options[index] for index in order]
        return choice_question(
            self.prompt, text, shuffled, order.index(0), id=f"gpqa/{name}"
        )


@dataclass(frozen=True, slots=True)
class CodeBenchmark(Benchmark):
    """Functions to write. `seconds` is the processor time that the tests of one answer may take.

    `allow_unsandboxed` runs the code without a sandbox where the machine offers none.
    """

    seconds: float = 5.0
    allow_unsandboxed: bool = False

    def load(self) -> TaskData:
        """All questions; refused if this machine cannot confine code."""
        require_sandbox(self.name, allow_unsandboxed=self.allow_unsandboxed)
        return Benchmark.load(self)

    def _grader(
        self, tests: tuple[str, ...], entry_point: str = "", preamble: str = ""
    ) -> CodeGrader:
        return CodeGrader(
            tests, entry_point, preamble, self.seconds, self.allow_unsandboxed
        )


@dataclass(frozen=True, slots=True)
class HumanEval(CodeBenchmark):
    """HumanEval: 164 functions to complete, graded by unit tests in the sandbox. Pinned."""

    reads: ClassVar = ("task_id", "prompt", "canonical_solution", "test", "entry_point")
    prompt: ClassVar = Template(
        "complete-function",
        1,
        "Complete the function above. Give the whole function, its imports included, in one ```python block.",
    )

    def item(self, row: DataRow) -> GradedQuestion:
        """What the prompt defines above the function is available to every answer."""
        row.text("prompt")
        head, body = str(row.value("prompt")), str(row.value("canonical_solution"))
        entry_point = row.text("entry_point")
        starts = [
            match.start()
            for match in re.finditer(
                rf"^def {re.escape(entry_point)}\b", head, re.MULTILINE
            )
        ]
        if not starts:
            raise row.error(
                "entry_point", f"{entry_point!r:.60} is not defined in the prompt"
            )
        grader = self._grader((row.text("test"),), entry_point, head[: starts[-1]])
        question = self.prompt.ask(
            head.strip(),
            CodeSpace((entry_point,)),
            id=row.optional("task_id") or f"humaneval/{row.index}",
        )
        return GradedQuestion(question, head + body, grader=grader)


@dataclass(frozen=True, slots=True)
class Mbpp(CodeBenchmark):
    """MBPP: 500 functions to write, graded by the assertions that the question shows, in the sandbox. Pinned."""

    reads: ClassVar = ("task_id", "text", "code", "test_list", "test_setup_code")
    named: ClassVar = {"text": ("text", "prompt")}
    prompt: ClassVar = Template(
        "write-function",
        1,
        "Give the function, its imports included, in one ```python block.",
    )

    def item(self, row: DataRow) -> GradedQuestion:
        """The assertions are part of the question, as in the paper: only they name the function."""
        tests = row.texts("test_list")
        if not tests:
            raise row.error("test_list", "it has no test")
        setup = row.optional("test_setup_code")
        text = (
            f"{row.text('text')}\n\nYour code shall pass these tests:\n\n"
            + "\n".join(tests)
        )
        question = self.prompt.ask(
            text,
            CodeSpace(functions_in("\n".join(tests))),
            id=f"mbpp/{row.optional('task_id') or row.index}",
        )
        grader = self._grader(
            tuple(f"{setup}\n{test}" if setup else test for test in tests)
        )
        return GradedQuestion(question, row.text("code"), grader=grader)
