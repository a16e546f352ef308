"""Several plans as one: they run side by side, and what each comes to is told as soon as it is there."""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

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
    started: list[range] = field(default_factory=list)
    """What the plan itself started, and waits for by `Next`: handles."""
    gone: set[Handle] = field(default_factory=set)
    """What of it has come back, or was cancelled."""
    arrived: deque[Finished] = field(default_factory=deque)
    blocked_on: Handle | None = None
    """What the plan waits for without having started it itself."""
    proposal: Propose | None = None
    seen: list[Completion] = field(default_factory=list)

    def outcome(self, answer: Answer | None) -> Outcome:
        if answer is None and self.proposal:
            answer = self.proposal.answer
        evidence = None
        if answer is not None:
            read = ((one, self.question.read(one)) for one in reversed(self.seen))
            evidence = next((one for one, found in read if found and found.key == answer.key), None)
        return Outcome(answer, self.proposal.standing if self.proposal else Standing(), evidence)


Told = Callable[[int, Outcome], Plan[None]]
ABREAST: Final = 256
"""How many plans are under way at once: each draws at least one sequence, and engines compute so many at once."""


def together(plans: Iterable[Plan[Answer | None]], question: Question, told: Told, *, among: int) -> Plan[None]:
    """Run up to `among` plans for one question side by side; `told(place, outcome)` is run as each of them ends.

    What one draws does not depend on the others. Their proposals are not passed on: what the whole proposes is for
    `told` to say. A refusal by the budget is raised into each plan that waits, and no further one is begun. Where there
    are very many, the next one is begun when one ends.
    """
    source: Iterator[tuple[int, Plan[Answer | None]]] = enumerate(plans)
    parts: dict[int, _Part] = {}
    owners = _Owners()
    while True:
        while len(parts) < ABREAST and (begun := next(source, None)):
            place, plan = begun
            parts[place] = _Part(plan, question, among)
            yield from _advance(parts, place, owners, told, None)
        if not parts:
            return
        try:
            finished: Finished = yield Next()
        except BudgetExhausted as refusal:
            source = iter(())
            for place, part in list(parts.items()):
                # All that was started has come back by then.
                part.blocked_on, part.started = None, []
                yield from _advance(parts, place, owners, told, refusal)
            continue
        place = owners.of(finished.handle)
        part = parts[place]
        part.seen += finished.completions
        if finished.handle == part.blocked_on:
            part.blocked_on = None
            yield from _advance(parts, place, owners, told, finished.completions or finished.ratings)
        else:
            part.gone.add(finished.handle)
            part.arrived.append(finished)
            if part.blocked_on is None:
                yield from _advance(parts, place, owners, told, part.arrived.popleft())


@dataclass(slots=True)
class _Owners:
    """Whose a handle is: handles count up, and several in a row may be of one plan."""

    _firsts: list[int] = field(default_factory=list)
    _places: list[int] = field(default_factory=list)

    def add(self, handle: int, place: int) -> None:
        self._firsts.append(handle)
        self._places.append(place)

    def of(self, handle: int) -> int:
        return self._places[bisect_right(self._firsts, handle) - 1]


def _advance(parts: dict[int, _Part], place: int, owners: _Owners, told: Told, reply: object) -> Plan[None]:
    """Run one plan until it has to wait, or ends; then it is no longer among the parts."""
    part = parts[place]
    while True:
        try:
            op = part.plan.throw(reply) if isinstance(reply, BudgetExhausted) else part.plan.send(reply)
        except StopIteration as end:
            yield from _end(parts.pop(place))
            yield from told(place, part.outcome(end.value))
            return
        except BudgetExhausted:
            yield from _end(parts.pop(place))
            yield from told(place, part.outcome(None))
            return
        if isinstance(op, Start) and isinstance(op.op, Sample):
            op = replace(op, op=replace(op.op, branch=op.op.branch * part.among + place))
        if isinstance(op, Sample):
            op = replace(op, branch=op.branch * part.among + place)
        if isinstance(op, Sample | Score | Prefer):
            part.blocked_on = yield Start(op, cancellable=False)
            owners.add(part.blocked_on, place)
            return
        if isinstance(op, Next) and not part.arrived:
            return
        reply = part.arrived.popleft() if isinstance(op, Next) else (yield from _perform(part, place, owners, op))


def _perform(part: _Part, place: int, owners: _Owners, op: Operation) -> Plan[object]:
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
        part.started.append(range(reply, reply + op.times))
        owners.add(reply, place)
    if isinstance(op, Cancel):
        part.gone.add(op.handle)
        part.arrived = deque(one for one in part.arrived if one.handle != op.handle)
    return reply


def _end(part: _Part) -> Plan[None]:
    for handles in part.started:
        for handle in map(Handle, handles):
            if handle not in part.gone:
                yield Cancel(handle)
