"""Several plans as one: they run side by side, and what each comes to is told as soon as it is there."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from reasoner.errors import BudgetExhausted
from reasoner.plan import Cancel, Finished, Handle, Next, Note, Operation, Plan, Prefer, Propose, Sample, Score, Start
from reasoner.types import Answer, Completion, Question, Standing


class Outcome(NamedTuple):
    """What one of several plans came to.

    `evidence` is the last sequence it saw that reads as its answer; None where there is none.
    """

    answer: Answer | None
    standing: Standing
    evidence: Completion | None


@dataclass(slots=True)
class _Part:
    plan: Plan[Answer | None]
    question: Question
    among: int
    """How many there are: each has branches of its own."""
    running: set[Handle] = field(default_factory=set)
    """What the plan itself started, and waits for by `Next`."""
    arrived: deque[Finished] = field(default_factory=deque)
    blocked_on: Handle | None = None
    """What the plan waits for without having started it itself."""
    proposal: Propose | None = None
    seen: list[Completion] = field(default_factory=list)
    over: bool = False

    def outcome(self, answer: Answer | None) -> Outcome:
        if answer is None and self.proposal:
            answer = self.proposal.answer
        evidence = None
        if answer is not None:
            read = ((one, self.question.read(one)) for one in reversed(self.seen))
            evidence = next((one for one, found in read if found and found.key == answer.key), None)
        return Outcome(answer, self.proposal.standing if self.proposal else Standing(), evidence)


Told = Callable[[int, Outcome], Plan[None]]


def together(plans: Sequence[Plan[Answer | None]], question: Question, told: Told) -> Plan[None]:
    """Run plans for one question side by side; `told(place, outcome)` is run as each of them ends.

    What one draws does not depend on the others. Their proposals are not passed on: what the whole proposes is for
    `told` to say. A refusal by the budget is raised into each plan that waits.
    """
    parts = [_Part(plan, question, len(plans)) for plan in plans]
    for place, part in enumerate(parts):
        yield from _advance(part, place, told, None)
    while any(not part.over for part in parts):
        try:
            finished: Finished = yield Next()
        except BudgetExhausted as refusal:
            for place, part in enumerate(parts):
                if not part.over:
                    part.blocked_on = None
                    yield from _advance(part, place, told, refusal)
            continue
        place = next(at for at, part in enumerate(parts) if finished.handle in {part.blocked_on, *part.running})
        part = parts[place]
        part.seen += finished.completions
        if finished.handle == part.blocked_on:
            part.blocked_on = None
            yield from _advance(part, place, told, finished.completions or finished.ratings)
        else:
            part.running.discard(finished.handle)
            part.arrived.append(finished)
            if part.blocked_on is None:
                yield from _advance(part, place, told, part.arrived.popleft())


def _advance(part: _Part, place: int, told: Told, reply: object) -> Plan[None]:
    """Run one plan until it has to wait, or ends."""
    while True:
        try:
            op = part.plan.throw(reply) if isinstance(reply, BudgetExhausted) else part.plan.send(reply)
        except StopIteration as end:
            yield from _end(part)
            yield from told(place, part.outcome(end.value))
            return
        except BudgetExhausted:
            yield from _end(part)
            yield from told(place, part.outcome(None))
            return
        if isinstance(op, Start) and isinstance(op.op, Sample):
            op = replace(op, op=replace(op.op, branch=op.op.branch * part.among + place))
        if isinstance(op, Sample):
            op = replace(op, branch=op.branch * part.among + place)
        if isinstance(op, Sample | Score | Prefer):
            part.blocked_on = yield Start(op, cancellable=False)
            return
        if isinstance(op, Next) and not part.arrived:
            return
        reply = part.arrived.popleft() if isinstance(op, Next) else (yield from _perform(part, op))


def _perform(part: _Part, op: Operation) -> Plan[object]:
    """An operation that needs no waiting; a refusal is returned, for the plan that asked."""
    if isinstance(op, Propose):
        part.proposal = op
        return None
    if isinstance(op, Note):
        # What ends one of them is no reason for the whole to end.
        op = replace(op, ends=False)
    try:
        reply: object = yield op
    except BudgetExhausted as refusal:
        return refusal
    if isinstance(op, Start):
        assert isinstance(reply, int)
        part.running.add(Handle(reply))
    if isinstance(op, Cancel):
        part.running.discard(op.handle)
        part.arrived = deque(one for one in part.arrived if one.handle != op.handle)
    return reply


def _end(part: _Part) -> Plan[None]:
    part.over = True
    for handle in sorted(part.running):
        yield Cancel(handle)
