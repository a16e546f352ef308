"""The completions of a trace, and their grades: a JSONL file next to it, so that it can be graded again."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, get_args

from reasoner.errors import TraceError
from reasoner.trace.events import (
    AnswerExtracted,
    Event,
    Prefilled,
    Prompted,
    Sampled,
    Scored,
    adapter_of,
)
from reasoner.types import Answer, Completion, Prompt

VERSION: Final = 2
TRACE: Final = "trace.jsonl"
GRADES: Final = "grades.jsonl"
GradeStatus = Literal[
    "right",
    "wrong",
    "no_answer",
    "truncated",
    "too_complex",
    "grader_timeout",
    "grader_crash",
]
STATUSES: Final[tuple[GradeStatus, ...]] = get_args(GradeStatus)


@dataclass(frozen=True, slots=True)
class Reply:
    """One completion of a question, the answer read from it, and its last score; None where there is none.

    `score` is a verifier's rating, 0 to 1. Only complete replies have an answer.
    """

    completion: Completion
    answer: Answer | None
    score: float | None

    @property
    def text(self) -> str:
        """All that was generated since the question: earlier steps of the same chain, then this completion."""
        return self.completion.chain


def replies_in(events: Sequence[Event]) -> tuple[Reply, ...]:
    """Each completion with the answer and the last score that the events have for it.

    Raises:
        TraceError: the events begin after the prompt of a completion.
    """
    scores = {
        (event.question_id, event.prompt, event.index): event.value
        for event in events
        if type(event) is Scored and event.value is not None
    }
    return tuple(
        Reply(
            completion,
            event.answer,
            scores.get((event.question_id, event.prompt, event.index)),
        )
        for event, completion in completions_in(events)
    )


def completions_in(events: Iterable[Event]) -> Iterator[tuple[Sampled, Completion]]:
    """Each generated sequence, with the answer that the model extracted if no rule read one, and its completion.

    The prompt of a completion is rebuilt from the events before it.

    Raises:
        TraceError: a sequence comes before its prompt.
    """
    events = list(events)
    # Types are compared as they are, which takes no call: this is for each event of each served request.
    extracted = {
        (event.question_id, event.prompt, event.index): event.answer
        for event in events
        if type(event) is AnswerExtracted
    }
    continued = {
        event.prompt
        for event in events
        if type(event) is Sampled or type(event) is Prefilled
    }
    prompts: dict[tuple[str, str], Prompt] = {}
    for event in events:
        question = event.question_id
        if type(event) is Prompted:
            level = event.thinking_level
            prompts[question, event.prompt] = Prompt(
                event.messages, event.raw, thinking_level=level
            )
        elif type(event) is Prefilled and (
            parent := prompts.get((question, event.prompt))
        ):
            ids = event.token_ids or ()
            prompts[question, event.child] = parent.extended(
                event.text, ids, thinking=event.thinking
            )
        elif type(event) is Sampled:
            prompt = prompts.get((question, event.prompt))
            if prompt is None:
                raise TraceError(
                    f"the trace holds sample {event.index} of {question} without its prompt"
                )
            completion = event.completion(prompt)
            if event.child in continued:
                prompts[question, event.child] = prompt.then(completion)
            answer = event.answer or extracted.get(
                (question, event.prompt, event.index)
            )
            yield (
                event.model_copy(update={"answer": answer})
                if answer != event.answer
                else event,
                completion,
            )


@dataclass(frozen=True, kw_only=True)
class Grade:
    """The grade of the sequence that (`question_id`, `prompt`, `index`) names in the trace.

    A sequence that the grader could not judge has a status of its own and is neither right nor wrong.
    """

    v: Literal[2] = VERSION
    question_id: str
    prompt: str
    index: int
    status: GradeStatus
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def model_dump_json(self) -> str:
        """The grade as JSON."""
        return adapter_of(Grade).dump_json(self).decode()
