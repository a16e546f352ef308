"""Plans side by side: several plans for one question; each receives its own replies only."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from reasoner import Answer, Completion, Question, VoteState
from reasoner.strategy import (
    BudgetExhausted,
    Cancel,
    Finished,
    Handle,
    Next,
    Note,
    Operation,
    Plan,
    Propose,
    Sample,
    Start,
    Startable,
    Strategy,
    Tally,
)
from reasoner_strategies._voting.pool import LaunchOrder

ABREAST: Final = 256
"""How many plans are active at once: each generates at least one sequence, and engines compute that many at once."""


def nested_vote(
    question: Question, of: Strategy, n: int, *, max_samples: int = 0
) -> Plan[tuple[VoteState, list[Completion | None]]]:
    """Run a strategy `n` times side by side, and propose the vote of the answers after each run.

    Returns the vote state, and for each run, in order, the last sequence that reads as its answer. `max_samples` is for
    stop rules that look ahead: `n` if the vote decides.
    """
    plans = enumerate(of.plan(question) for _ in range(n))
    gathering = Gathering(
        plans, question, n, LaunchOrder(Tally(question.space, max_samples=max_samples))
    )
    yield from gathering.run()
    return gathering.votes.vote_state, [
        gathering.evidence[number] for number in sorted(gathering.evidence)
    ]


@dataclass(slots=True)
class _Part:
    """One active plan."""

    plan: Plan[Answer | None]
    at: int | None
    """The virtual end of the latest result that it has received, or that it waited for before its start."""
    started: list[range] = field(default_factory=list)
    """The handles of what the plan itself started and receives by `Next`."""
    gone: set[Handle] = field(default_factory=set)
    """Those of them that have come back or were cancelled."""
    arrived: deque[Finished] = field(default_factory=deque)
    blocked_on: Handle | None = None
    """The operation that the plan waits for and that was started in its place."""
    proposal: Propose | None = None
    completions: list[Completion] = field(default_factory=list)

    def receive(self, finished: Finished) -> None:
        """Note a result that the plan receives."""
        self.at = max(self.at or 0, finished.end)


@dataclass(slots=True)
class Gathering:
    """Numbered plans for one question, `among` in all; at most `ABREAST` are active, and the next starts when one ends.

    What a plan generates, and when it does on the virtual clock, does not depend on the others. A refusal by the budget
    is raised into each plan that waits, and no further plan is started. `evidence` holds the plans that ended, in this
    order.
    """

    source: Iterator[tuple[int, Plan[Answer | None]]]
    question: Question
    among: int
    votes: LaunchOrder
    evidence: dict[int, Completion | None] = field(default_factory=dict)
    parts: dict[int, _Part] = field(default_factory=dict)
    first_handles: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    """The plan of each first handle. Handles count up, and several in a row may belong to one plan."""
    free_at: int | None = None
    """Where the plan ended that ended last; the next plan starts in its place."""

    def run(self) -> Plan[None]:
        """Run all plans, and propose the vote of their answers in the order of their numbers."""
        while True:
            while len(self.parts) < ABREAST and (following := next(self.source, None)):
                number, plan = following
                self.parts[number] = _Part(plan, self.free_at)
                yield from self._advance(number, None)
            if not self.parts:
                return
            try:
                finished: Finished = yield Next()
            except BudgetExhausted as refusal:
                self.source = iter(())
                for number, part in list(self.parts.items()):
                    # By now everything that was started has come back.
                    part.blocked_on, part.started = None, []
                    yield from self._advance(number, refusal)
                continue
            number = self.owners[bisect_right(self.first_handles, finished.handle) - 1]
            part = self.parts[number]
            part.completions += finished.completions
            if finished.handle == part.blocked_on:
                part.blocked_on = None
                part.receive(finished)
                reply = finished.completions or finished.ratings
                yield from self._advance(number, reply or finished.execution or ())
            else:
                part.gone.add(finished.handle)
                part.arrived.append(finished)
                if part.blocked_on is None:
                    yield from self._advance(number, part.arrived.popleft())

    def _advance(self, number: int, reply: object) -> Plan[None]:
        """Run one plan until it has to wait or ends."""
        part = self.parts[number]
        while True:
            if isinstance(reply, Finished):
                part.receive(reply)
            try:
                op = (
                    part.plan.throw(reply)
                    if isinstance(reply, BudgetExhausted)
                    else part.plan.send(reply)
                )
            except (StopIteration, BudgetExhausted) as end:
                yield from self._end(
                    number, end.value if isinstance(end, StopIteration) else None
                )
                return
            if isinstance(op, Start):
                branched = (
                    self._branched(op.op, number)
                    if isinstance(op.op, Sample)
                    else op.op
                )
                op = replace(op, op=branched, at=part.at if op.at is None else op.at)
            if isinstance(op, Sample):
                op = self._branched(op, number)
            if isinstance(op, Startable):
                part.blocked_on = yield Start(op, cancellable=False, at=part.at)
                self._own(part.blocked_on, number)
                return
            if isinstance(op, Next) and not part.arrived:
                return
            reply = (
                part.arrived.popleft()
                if isinstance(op, Next)
                else (yield from self._perform(number, op))
            )

    def _branched(self, op: Sample, number: int) -> Sample:
        """The operation in branches of its own, apart from those of the other plans."""
        return replace(op, branch=op.branch * self.among + number)

    def _own(self, handle: int, number: int) -> None:
        self.first_handles.append(handle)
        self.owners.append(number)

    def _perform(self, number: int, op: Operation) -> Plan[object]:
        """An operation that does not wait; a refusal is returned, for the plan that asked."""
        part = self.parts[number]
        if isinstance(op, Propose):
            part.proposal = op
            return None
        if isinstance(op, Note):
            # The reason why one plan ends is not a reason for all to end.
            op = replace(op, ends=False)
        try:
            reply: object = yield op
        except BudgetExhausted as refusal:
            return refusal
        if isinstance(op, Start):
            assert isinstance(reply, int)
            part.started.append(range(reply, reply + op.times))
            self._own(reply, number)
        if isinstance(op, Cancel):
            part.gone.add(op.handle)
            part.arrived = deque(
                finished for finished in part.arrived if finished.handle != op.handle
            )
        return reply

    def _end(self, number: int, answer: Answer | None) -> Plan[None]:
        """Cancel what the plan still has in flight, and count its answer, or else its last proposal."""
        part = self.parts.pop(number)
        self.free_at = part.at
        for handles in part.started:
            for handle in map(Handle, handles):
                if handle not in part.gone:
                    yield Cancel(handle)
        if answer is None and part.proposal:
            answer = part.proposal.answer
        readings = (
            (completion, self.question.read(completion))
            for completion in reversed(part.completions)
        )
        matching = (
            completion
            for completion, read in readings
            if answer and read and read.key == answer.key
        )
        self.evidence[number] = next(matching, None)
        yield from self.votes.add(answer, index=number)
