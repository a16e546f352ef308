"""Runs a plan without an engine: a test says what each operation is answered with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from reasoner.budget import Cost
from reasoner.engine import SampleRequest
from reasoner.errors import BudgetExhausted
from reasoner.strategy import (
    Finished,
    Handle,
    Next,
    Note,
    Operation,
    Plan,
    Prefill,
    Propose,
    Sample,
    Score,
    Start,
)
from reasoner.types import Answer, Rating, VoteState

REFUSED = BudgetExhausted("tokens", needed=9, free=0, limit=5)
Running = list[tuple[Handle, Any]]
Reply = Callable[[Any], Any]
"""What an operation is answered with; an exception is raised into the plan."""


@dataclass(slots=True)
class Course:
    """What a plan asked for, in order, and its outcome."""

    answer: Answer | None = None
    error: BudgetExhausted | None = None
    samples: list[Sample] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    forced: list[str] = field(default_factory=list)
    """The texts that were prefilled."""
    proposals: list[Propose] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    most: int = 0
    """The most operations in flight at a time."""

    @property
    def key(self) -> str | None:
        return self.answer.key if self.answer else None

    @property
    def vote_states(self) -> list[VoteState]:
        return [proposal.vote_state for proposal in self.proposals]

    def keep(self, op: Operation) -> None:
        match op:
            case Sample():
                self.samples.append(op)
            case Score():
                self.scores.append(op)
            case Prefill():
                self.forced.append(op.text)


C = TypeVar("C", bound=Course)


def follow(
    plan: Plan[Answer | None],
    reply: Reply,
    course: C,
    *,
    which: Callable[[Running], int] = lambda running: 0,
) -> C:
    """Run a plan to its end; `which` of the operations in flight finishes next."""
    running: Running = []
    sent: Any = None
    while True:
        try:
            op = plan.throw(sent) if isinstance(sent, Exception) else plan.send(sent)
        except StopIteration as end:
            course.answer = end.value
            return course
        except BudgetExhausted as error:
            course.error = error
            return course
        sent = None
        match op:
            case Propose():
                assert op.answer == op.vote_state.leader or course.forced
                course.proposals.append(op)
            case Note():
                course.notes.append(op.text)
            case Start(op=started):
                course.keep(started)
                sent = Handle(len(course.samples) + len(course.scores))
                running.append((sent, started))
                course.most = max(course.most, len(running))
            case Next():
                sent = _next(running, reply, which)
            case _:
                course.keep(op)
                sent = reply(op)


def _next(
    running: Running, reply: Reply, which: Callable[[Running], int]
) -> Finished | Exception:
    """The next operation that ends; the refusal where all of them are refused."""
    refused: Exception = REFUSED
    while running:
        handle, op = running.pop(which(running))
        outcome: Sequence[Any] | Exception = reply(op)
        if not isinstance(outcome, Exception):
            ratings = isinstance(op, Score)
            return Finished(
                handle,
                () if ratings else tuple(outcome),
                tuple(outcome) if ratings else (),
            )
        refused = outcome
    return refused


def chains(lengths: Sequence[int], keys: str = "") -> Callable[[SampleRequest], str]:
    """Chain i has this many tokens, its end among them, and says the key i, or nothing for a blank; continued anywhere."""

    def say(request: SampleRequest) -> str:
        before = request.prompt.text.split()
        place = int(before[0][1:]) if before else request.index
        key = keys[place] if keys else str(place)
        said = "nothing at all" if key == " " else f"answer is {key}"
        words = [f"c{place}", *["so"] * (lengths[place] - 5), *said.split()]
        return "".join(
            f" {word}" if at or before else word
            for at, word in enumerate(words[len(before) :])
        )

    return say


def rating(value: float | None) -> Rating:
    return Rating(value, Cost(), error="" if value is not None else "broken")
