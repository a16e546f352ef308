"""IFEval (Zhou 2023, 2311.07911): prompts with instructions that a program can check."""

import json
from dataclasses import dataclass, field
from statistics import fmean
from typing import ClassVar

from reasoner import Answer, Completion, Question
from reasoner.answers.equivalence import Equivalence
from reasoner.answers.whole import FreeSpace
from reasoner.errors import UsageError
from reasoner.system.machine import require_extra
from reasoner.system.process_pool import FailedCall
from reasoner.trace.replies import GradeStatus
from reasoner_evals.tasks import Benchmark, DataRow, GradedQuestion, TaskData, Template


@dataclass(frozen=True, slots=True)
class InstructedSpace(FreeSpace):
    """The whole reply to a prompt with instructions.

    `row` is the JSON of the prompt, the ids of its instructions and their options, as published.
    """

    row: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class InstructionGrader:
    """Grades a whole reply by the checker of lm-evaluation-harness: right is one that follows every instruction.

    The reference answer is the row of `InstructedSpace`.
    """

    name: ClassVar[str] = "instructions"
    version: ClassVar[int] = 1

    async def grade(
        self, item: GradedQuestion, answer: Answer, equivalence: Equivalence
    ) -> GradeStatus:
        """The strict grade of the prompt; a checker that raises or hangs gives none."""
        outcome = await equivalence.pool.call(
            _follows,
            item.gold,
            answer.text,
            # The time limit of a grade, the import of the checker included
            seconds=120.0,
        )
        if isinstance(outcome, FailedCall):
            return "grader_timeout" if outcome.kind == "timeout" else "grader_crash"
        return "right" if outcome and all(outcome.value) else "wrong"


def _follows(row: str, reply: str) -> list[bool]:
    """Whether a reply follows each instruction."""
    import langdetect  # type: ignore[import-not-found]
    from lm_eval.tasks.ifeval import utils  # type: ignore[import-not-found]

    # Else the language of a short text is another one now and then.
    langdetect.DetectorFactory.seed = 0
    asked = utils.InputExample(key=0, **json.loads(row))
    return list(
        map(
            bool,
            utils.test_instruction_following_strict(
                asked, reply
            ).follow_instruction_list,
        )
    )


def followed(question: Question, candidate: Completion) -> float:
    """The share of the instructions that a reply follows, as a function for the verifier `rules`.

    They are part of the prompt, so this is no oracle. Raises UsageError for a question of another task.
    """
    if not isinstance(question.space, InstructedSpace):
        raise UsageError(
            f"{question.id} has no instructions: use this rule with the task ifeval"
        )
    answer = question.read(candidate)
    return fmean(_follows(question.space.row, answer.text)) if answer else 0.0


@dataclass(frozen=True, slots=True)
class IfEval(Benchmark):
    """IFEval: 541 prompts with instructions on the form of the reply; all must be followed; needs `ifeval`.

    The answer is the whole reply, so choose among samples by a verifier. The checks themselves are one, as the prompt
    states them: `rules:call=reasoner_evals.tasks.instructions:followed`. Numbers of sentences are checked once `python
    -m nltk.downloader punkt_tab` was run.
    """

    reads: ClassVar = ("key", "prompt", "instruction_id_list", "kwargs")
    prompt: ClassVar = Template("as-published", 1, "")

    def load(self) -> TaskData:
        """All prompts; refused without the checker."""
        require_extra("ifeval", "the task ifeval")
        return Benchmark.load(self)

    def item(self, row: DataRow) -> GradedQuestion:
        """The prompt is asked as it is."""
        names, options = row.texts("instruction_id_list"), row.value("kwargs")
        if not isinstance(options, list) or len(options) != len(names):
            raise row.error(
                "kwargs",
                f"it is no list with options for each of {len(names)} instructions",
            )
        text = row.text("prompt")
        record = json.dumps(
            {"prompt": text, "instruction_id_list": names, "kwargs": options},
            sort_keys=True,
        )
        question = self.prompt.ask(
            text,
            InstructedSpace(record),
            id=f"ifeval/{row.optional('key') or row.index}",
        )
        return GradedQuestion(question, record, grader=InstructionGrader())
