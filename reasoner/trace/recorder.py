"""Writes the events of one question to the trace."""

import time
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, TypeVar

from reasoner.answers.questions import Question
from reasoner.budget import Cost
from reasoner.engine import RenderedPrompt
from reasoner.trace.events import (
    Began,
    Dropped,
    Event,
    Prompted,
    Refusal,
    RunFacts,
    Sampled,
    Sink,
    Thought,
    Work,
    completion_fields,
)
from reasoner.trace.history import EMPTY, QuestionHistory
from reasoner.types import Answer, Completion, Prompt, Usage

W = TypeVar("W", bound=Work)
Why = Literal["cancelled", "deadline", "lost"]
"""What cut a request short."""


class Drop(NamedTuple):
    """Why work did not complete; `refusal` says what a deadline refused, where it cut the work."""

    why: Why
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class SequenceId:
    """A sequence to generate: its prompt, the prompt's digest, and its index among the prompt's sequences.

    `at` is where it starts on the question's virtual clock.
    """

    op: int
    prompt: Prompt
    digest: str
    index: int
    at: int = 0

    @property
    def named(self) -> dict[str, Any]:
        """The fields of its events that name it."""
        return {"op": self.op, "prompt": self.digest, "index": self.index}


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes one question's events to the run's sink; does nothing without a sink.

    Events that a resumed plan produces again are in the trace and are not written twice.
    """

    question: Question
    sink: Sink | None
    started: float
    history: QuestionHistory = EMPTY
    _heads: set[str] = field(default_factory=set)

    @property
    def _t(self) -> float:
        return round(time.monotonic() - self.started, 6)

    def write(self, kind: type[Event], **values: Any) -> None:
        """Write an event of this kind with these values of its fields."""
        if self.sink:
            event = kind(
                question_id=self.question.id,
                t=round(time.monotonic() - self.started, 6),
                **values,
            )
            if not self.history.attempts or not self.history.repeats(event):
                self.sink(event)

    def work(self, kind: type[W], **values: Any) -> W:
        """Write the outcome of a piece of work; the event is returned, also without a sink."""
        event = kind(question_id=self.question.id, t=self._t, **values)
        if self.sink:
            self.sink(event)  # type: ignore[arg-type]
        return event

    def write_again(self, event: Work, op: int) -> None:
        """Write an event of the recorded run, now as part of operation `op`."""
        if self.sink:
            self.sink(event.model_copy(update={"t": self._t, "op": op}))  # type: ignore[arg-type]

    def began(self, facts: RunFacts) -> None:
        """The question was started."""
        if not self.sink:
            return
        settings = {each.name: getattr(facts, each.name) for each in fields(facts)}
        space = self.question.space
        self.write(
            Began,
            text=self.question.text,
            answer_space=space.name,
            answer_rules=space.version,
            **settings,
        )

    def head(self, prompt: Prompt, digest: str, rendered: RenderedPrompt) -> None:
        """A prompt is used. One that continues no sample is written once; `Sampled.child` identifies the others."""
        asked, grown = self.question.prompt, (prompt.text, prompt.token_ids)
        if (
            self.sink
            and grown in (("", ()), (asked.text, asked.token_ids))
            and digest not in self._heads
        ):
            self._heads.add(digest)
            self.write(
                Prompted,
                prompt=digest,
                messages=prompt.messages,
                raw=prompt.raw,
                thinking_level=prompt.thinking_level,
                tools=prompt.tools,
                in_thinking=rendered.in_thinking,
                tokens=rendered.tokens,
                exact=rendered.token_ids is not None,
            )

    def sampled(
        self,
        sequence: SequenceId,
        completion: Completion,
        cost: Cost,
        answer: Answer | None,
    ) -> None:
        """A sequence was generated, and this answer was read in it."""
        self.write(
            Sampled,
            cost=cost,
            child=sequence.prompt.then(completion).digest,
            answer=answer,
            **completion_fields(completion) | sequence.named,
        )

    def thought(self, sequence: SequenceId, completion: Completion, cost: Cost) -> None:
        """The first request of a sequence ended at the limit of its thinking."""
        self.write(Thought, cost=cost, **completion_fields(completion) | sequence.named)

    def dropped(
        self, sequence: SequenceId, drop: Drop, usage: Usage | None, cost: Cost
    ) -> None:
        """A sequence did not complete; the engine had computed `usage`, None where that is unknown."""
        self.write(Dropped, cost=cost, usage=usage, **drop._asdict(), **sequence.named)
