"""Builds the record of each question from its events, live or read back from a trace."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from reasoner.budget import Cost
from reasoner.execution.plan_runner import RatingFailures
from reasoner.system.foreign import described
from reasoner.trace.events import (
    AnswerExtracted,
    Began,
    Ended,
    EquivalenceChecked,
    Event,
    Prompted,
    Proposed,
    Refused,
    Sampled,
    Scored,
    Thought,
)
from reasoner.types import Answer
from reasoner_evals.runs.records import Along, Arm, ItemRecord, ItemStatus, Reply


@dataclass(slots=True)
class _Question:
    """The events of one question that its record is made of."""

    attempts: int = 0
    prompts: set[str] = field(default_factory=set)
    samples: dict[tuple[str, int], Sampled] = field(default_factory=dict)
    thoughts: dict[tuple[str, int], Cost] = field(default_factory=dict)
    """What the first requests of sequences cost whose thinking was limited."""
    scores: dict[tuple[str, int], Scored] = field(default_factory=dict)
    proposals: list[Proposed] = field(default_factory=list)
    representatives: dict[str, str] = field(default_factory=dict)
    """By key of an answer the key of an equivalent one, which may have another representative in turn."""
    out_of_time: bool = False
    failures: RatingFailures = field(default_factory=RatingFailures)

    def take_in(self, event: Event) -> None:
        match event:
            case Began():
                self.attempts += 1
            case Prompted():
                self.prompts.add(event.prompt)
            case Sampled():
                self.samples.setdefault((event.prompt, event.index), event)
            case Thought():
                self.thoughts.setdefault((event.prompt, event.index), event.cost)
            case AnswerExtracted():
                self.extract(event)
            case Scored():
                self._take_rating(event)
            case Proposed():
                self.proposals.append(event)
            case EquivalenceChecked():
                self.merge(event)
            case Refused():
                self.out_of_time = self.out_of_time or event.unit == "seconds"
            case _:
                pass

    def merge(self, event: EquivalenceChecked) -> None:
        """Give equivalent answers one representative."""
        for (first, second), same in zip(event.pairs, event.same, strict=True):
            if same and self.key(first) != self.key(second):
                self.representatives[self.key(second)] = self.key(first)

    def _take_rating(self, event: Scored) -> None:
        self.failures.add(event.rating)
        if event.against is None and event.value is not None:
            self.scores[event.prompt, event.index] = event

    def extract(self, event: AnswerExtracted) -> None:
        """Add the answer that the model extracted, and the cost of that, to the sequence."""
        if sampled := self.samples.get((event.prompt, event.index)):
            spent = sampled.cost.verifier_tokens + event.cost.verifier_tokens
            cost = replace(sampled.cost, verifier_tokens=spent)
            update = {"answer": sampled.answer or event.answer, "cost": cost}
            self.samples[event.prompt, event.index] = sampled.model_copy(update=update)

    def key(self, key: str) -> str:
        """The key of the first member of its equivalence class."""
        while (representative := self.representatives.get(key)) is not None:
            key = representative
        return key

    def named(self, answer: Answer | None) -> dict[str, Any]:
        """The answer as written and the key of its class; empty without an answer."""
        return {"answer": answer.text if answer else "", "key": self.key(answer.key) if answer else ""}

    def reply(self, event: Sampled) -> Reply:
        score = self.scores.get((event.prompt, event.index))
        cost = event.cost + self.thoughts.get((event.prompt, event.index), Cost())
        return Reply(
            index=event.index,
            status="read" if event.answer else "truncated" if event.truncated else "no_answer",
            **self.named(event.answer),
            rule=event.answer.rule if event.answer else "",
            prompt_tokens=cost.prompt_tokens,
            cached_tokens=cost.cached_tokens,
            generated_tokens=cost.generated_tokens + cost.cancelled_tokens,
            verifier_tokens=cost.verifier_tokens + (score.cost.verifier_tokens if score else 0),
            thinking_tokens=cost.thinking_tokens,
            score=score.value if score else None,
        )

    def along(self, event: Proposed) -> Along:
        votes, tokens = event.vote_state, event.cost.tokens
        return Along(**self.named(event.answer), share=votes.share, samples=votes.samples, tokens=tokens)

    def status(self, ended: Ended, drawn: Collection[Sampled]) -> ItemStatus:
        """What came of the question, of which these sequences were drawn."""
        if ended.ended_by == "error":
            return "error"
        if ended.answer is not None:
            return "answered"
        if self.out_of_time:
            return "timed_out"
        return "truncated" if drawn and all(event.truncated for event in drawn) else "no_answer"


@dataclass(slots=True)
class RecordBuilder:
    """The unfinished questions of an arm; a question's record is complete when it ends."""

    arm: Arm
    _questions: dict[str, _Question] = field(default_factory=dict)

    def take_in(self, event: Event) -> ItemRecord | None:
        """Process one event; the record of the question that it ended, or None."""
        question = self._questions.setdefault(event.question_id, _Question())
        question.take_in(event)
        if not isinstance(event, Ended):
            return None
        if event.ended_by != "error":
            del self._questions[event.question_id]
        try:
            return self._record(question, event)
        except ValidationError as failure:
            return ItemRecord(
                question_id=event.question_id,
                attempt=question.attempts,
                status="error",
                ended_by="error",
                reason="its record cannot be kept",
                error=f"its record cannot be kept: {described(failure)}",
                cost=event.cost,
            )

    def _record(self, question: _Question, ended: Ended) -> ItemRecord:
        # All complete replies of a pool in launch order, truncated ones too; else those that the model ended.
        samples = question.samples.values()
        if self.arm.pool:
            # By index alone: the operations of reused samples are those of the arm that drew them.
            complete = [event for event in samples if event.prompt in question.prompts]
            complete.sort(key=lambda event: event.index)
        else:
            complete = [event for event in samples if event.finish_reason == "stop" and event.stop is None]
            complete.sort(key=lambda event: (event.op, event.index))
        last = question.proposals[-1] if question.proposals else None
        return ItemRecord(
            question_id=ended.question_id,
            attempt=question.attempts,
            # An arm that is no pool keeps no truncated reply, but a question of which all were cut is truncated.
            status=question.status(ended, complete if self.arm.pool else samples),
            **question.named(ended.answer),
            rule=ended.answer.rule if ended.answer else "",
            share=last.vote_state.share if last and ended.answer else 0.0,
            confidence=ended.confidence,
            ended_by=ended.ended_by,
            reason=ended.reason,
            error=ended.reason if ended.ended_by == "error" else "",
            unrated=question.failures.unrated,
            cost=ended.cost,
            cut=ended.cut,
            pool=tuple(map(question.reply, complete)),
            along=tuple(question.along(event) for event in question.proposals),
        )
