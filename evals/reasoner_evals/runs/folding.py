"""Putting together the record of each question out of its events, as they happen or as they are read back."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import ValidationError

from reasoner.blame import described
from reasoner.budget import Cost
from reasoner.trace import Began, Compared, Ended, Event, Prompted, Proposed, Refused, Sampled, Scored
from reasoner.types import Answer
from reasoner_evals.runs.records import Along, Arm, ItemRecord, ItemStatus, Reply


@dataclass(slots=True)
class Classes:
    """Which answers are one, by what comparisons found out: each class goes by its first member's key."""

    _parents: dict[str, str] = field(default_factory=dict)

    def key(self, key: str) -> str:
        """The key of the class that a key belongs to."""
        while (parent := self._parents.get(key)) is not None:
            key = parent
        return key

    def join(self, first: str, other: str) -> None:
        """Two keys are of one class."""
        first, other = self.key(first), self.key(other)
        if first != other:
            self._parents[other] = first


@dataclass(slots=True)
class _Course:
    """What is known of one question that is under way."""

    attempts: int = 0
    heads: set[str] = field(default_factory=set)
    drawn: dict[tuple[str, int], Sampled] = field(default_factory=dict)
    scored: dict[tuple[str, int], Scored] = field(default_factory=dict)
    proposed: list[Proposed] = field(default_factory=list)
    classes: Classes = field(default_factory=Classes)
    late: bool = False

    def take_in(self, event: Event) -> None:
        match event:
            case Began():
                self.attempts += 1
            case Prompted():
                self.heads.add(event.prompt)
            case Sampled():
                self.drawn.setdefault((event.prompt, event.index), event)
            case Scored() if event.against is None and event.value is not None:
                self.scored[event.prompt, event.index] = event
            case Proposed():
                self.proposed.append(event)
            case Compared():
                for (first, other), same in zip(event.pairs, event.same, strict=True):
                    if same:
                        self.classes.join(first, other)
            case Refused():
                self.late = self.late or event.unit == "seconds"
            case _:
                pass


@dataclass(slots=True)
class Folding:
    """The questions of an arm that are under way; a question's record is complete when it ends."""

    arm: Arm
    _courses: dict[str, _Course] = field(default_factory=dict)

    def take_in(self, event: Event) -> ItemRecord | None:
        """One more event; the record of the question that it ended, or None."""
        course = self._courses.setdefault(event.question_id, _Course())
        course.take_in(event)
        if not isinstance(event, Ended):
            return None
        if event.ended_by != "error":
            del self._courses[event.question_id]
        try:
            return self._record(course, event)
        except ValidationError as failure:
            return ItemRecord(
                question_id=event.question_id,
                attempt=course.attempts,
                status="error",
                ended_by="error",
                reason="its record cannot be kept",
                error=f"its record cannot be kept: {described(failure)}",
                cost=event.cost,
            )

    def _record(self, course: _Course, ended: Ended) -> ItemRecord:
        pool = tuple(_reply(course, event) for event in self._whole(course))
        last = course.proposed[-1] if course.proposed else None
        answer, key = _named(ended.answer, course.classes)
        return ItemRecord(
            question_id=ended.question_id,
            attempt=course.attempts,
            status=_status(ended, course, pool),
            answer=answer,
            key=key,
            rule=ended.answer.rule if ended.answer else "",
            share=last.standing.share if last and ended.answer else 0.0,
            confidence=ended.confidence,
            ended_by=ended.ended_by,
            reason=ended.reason,
            error=ended.reason if ended.ended_by == "error" else "",
            cost=ended.cost,
            pool=pool,
            along=tuple(_along(event, course.classes) for event in course.proposed),
        )

    def _whole(self, course: _Course) -> Iterable[Sampled]:
        """The whole replies in launch order: all of a pool, cut ones too; of a search, those that the model ended."""
        drawn = sorted(course.drawn.values(), key=lambda event: (event.op, event.index))
        if self.arm.pool:
            return [event for event in drawn if event.prompt in course.heads]
        return [event for event in drawn if event.finish_reason == "stop" and event.stop is None]


def _named(answer: Answer | None, classes: Classes) -> tuple[str, str]:
    """The answer as written and the key of its class; empty where there is none."""
    return ("", "") if answer is None else (answer.text, classes.key(answer.key))


def _reply(course: _Course, event: Sampled) -> Reply:
    score = course.scored.get((event.prompt, event.index))
    cost = event.cost + (score.cost if score else Cost())
    answer, key = _named(event.answer, course.classes)
    return Reply(
        index=event.index,
        status="read" if event.answer else "truncated" if event.finish_reason != "stop" else "no_answer",
        answer=answer,
        key=key,
        rule=event.answer.rule if event.answer else "",
        prompt_tokens=event.cost.prompt_tokens,
        cached_tokens=event.cost.cached_tokens,
        generated_tokens=event.cost.generated_tokens + event.cost.cancelled_tokens,
        verifier_tokens=cost.verifier_tokens,
        score=score.value if score else None,
    )


def _along(event: Proposed, classes: Classes) -> Along:
    answer, key = _named(event.answer, classes)
    standing = event.standing
    return Along(answer=answer, key=key, share=standing.share, samples=standing.samples, tokens=event.cost.tokens)


def _status(ended: Ended, course: _Course, pool: tuple[Reply, ...]) -> ItemStatus:
    if ended.ended_by == "error":
        return "error"
    if ended.answer is not None:
        return "answered"
    if course.late:
        return "timed_out"
    return "truncated" if pool and all(reply.status == "truncated" for reply in pool) else "no_answer"
