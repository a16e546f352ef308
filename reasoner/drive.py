"""One question on its way: sends a plan its replies and keeps what it started."""

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, TypeVar

from reasoner.blame import Blaming, described, from_outside
from reasoner.budget import Cost
from reasoner.errors import BudgetExhausted, PlanError, ReasonerError, UsageError
from reasoner.launching import Draws, Passed, Started, drawn, each
from reasoner.plan import (
    Cancel,
    Compare,
    Extend,
    FindBlocks,
    Finished,
    Handle,
    Next,
    Note,
    Operation,
    Plan,
    Prefer,
    Propose,
    Sample,
    Score,
    Start,
    Weigh,
    Weight,
)
from reasoner.protocols import Confident, Recorded, StopRule, Strategy, Verifier
from reasoner.rating import rated
from reasoner.recorder import RunFacts
from reasoner.solution import EndedBy, Proposal, Solution
from reasoner.turns import Turn
from reasoner.types import NOT_RATED, Answer, Completion, Prompt, Rating, Usage
from reasoner.weighing import weighed
from reasoner.work import Worker

T = TypeVar("T")
THE_STRATEGY = Blaming("the strategy")
THE_STOP_RULE = Blaming("the stop rule")
THE_QUESTION = Blaming("answering this question")
INTERRUPTED = "interrupted"
"""The reason of a question that was cut off from outside."""
BRANCH = 1 << 20
"""How far apart the numbers of a prompt's sequences are in two branches."""


class _End(NamedTuple):
    answer: Answer | None
    by: EndedBy
    reason: str
    error: ReasonerError | None = None
    confidence: float | None = None


class _Returned(NamedTuple):
    answer: Answer | None


@dataclass(slots=True)
class Drive:
    """Runs one plan to its end, whatever happens on the way."""

    strategy: Strategy
    verifier: Verifier | None
    stop: StopRule | None
    worker: Worker
    facts: RunFacts
    turn: Turn | None = None
    _remarks: list[Note] = field(default_factory=list)
    _proposals: list[Proposal] = field(default_factory=list)
    _children: dict[tuple[str, int], int] = field(default_factory=dict)
    _ops: int = 0
    _started: Started = field(default_factory=Started)
    _seen: Cost = field(default_factory=Cost)
    _told: BudgetExhausted | None = None
    _partly: BudgetExhausted | None = None

    async def solve(self) -> Solution:
        """The solution; whatever fails is in its `error`. Cancelling books what was in flight and closes the trace."""
        try:
            end = await self._run()
        except BaseException as failure:
            if from_outside(failure):
                self._record_end(_End(self._best(), "error", INTERRUPTED))
                raise
            error = THE_QUESTION.error(failure)
            end = _End(self._best(), "error", str(error), error)
        end = self._record_end(end)
        return Solution(
            self.worker.question.id,
            end.answer,
            self.worker.admission.ledger.settled,
            tuple(self._proposals),
            end.by,
            end.reason,
            end.error,
            self.worker.all_notes,
            tuple(note.text for note in self._remarks),
            end.confidence,
        )

    def _confidence(self) -> float | None:
        if not (isinstance(self.strategy, Confident) and self._proposals and self._proposals[-1].standing.votes):
            return None
        with THE_STRATEGY:
            return self.strategy.confidence(self._proposals[-1].standing)

    def _record_end(self, end: _End) -> _End:
        """The end as it was recorded: one that cannot be is an error, without the answer that may be at fault."""
        try:
            end = end._replace(confidence=self._confidence())
            self._ended(end)
        except Exception as failure:
            error = end.error or THE_QUESTION.error(failure)
            end = _End(end.answer, "error", end.reason if end.error else str(error), error)
            with suppress(Exception):
                self._ended(end._replace(answer=None, reason=described(error)))
        return end

    def _ended(self, end: _End) -> None:
        spent = self.worker.admission.ledger.settled
        self.worker.recorder.ended(end.answer, end.by, end.reason, spent, self.worker.all_notes, end.confidence)

    async def _run(self) -> _End:
        plan: Plan[Answer | None] | None = None
        try:
            if self.turn:
                # Those that wait for the question's turn are started a wave at a time.
                self._started = Started(self.turn.turns.allocation.wave)
            if isinstance(self.worker.engine, Recorded):
                self._started.follow(self.worker.engine.deliveries(self.worker.question.id))
            self._started.follow(self.worker.past.delivered)
            self.worker.recorder.began(self.facts)
            with THE_STRATEGY:
                plan = self.strategy.plan(self.worker.question)
            return await self._follow(plan)
        except BudgetExhausted as refusal:
            return self._refused(self._best(), refusal)
        finally:
            try:
                with THE_STRATEGY:
                    if plan is not None:
                        plan.close()
            finally:
                await self._quiet()
                await self._started.close()
                self.worker.done()
                if self.turn:
                    self.turn.over()

    async def _follow(self, plan: Plan[Answer | None]) -> _End:
        reply: object = None
        error: ReasonerError | None = None
        while True:
            op = _advanced(plan, reply, error)
            if isinstance(op, _Returned):
                answer = op.answer or self._best()
                if self._remarks and self._remarks[-1].ends:
                    return _End(answer, "rule", self._remarks[-1].text)
                if refusal := self._told or self._partly:
                    return self._refused(answer, refusal)
                return _End(answer, "strategy", "the strategy finished")
            reply, error = None, None
            try:
                reply = await self._perform(op)
            except BudgetExhausted as refusal:
                if self._told:
                    raise
                self.worker.recorder.refused(self._started.late or self._ops, refusal)
                self._told = error = refusal
            except (PlanError, UsageError) as failure:
                error = failure
            if isinstance(op, Propose) and self.stop:
                last = self._proposals[-1]
                with THE_STOP_RULE:
                    why = self.stop.stop(last.standing, last.cost)
                if why:
                    return _End(last.answer, "rule", why)

    def _refused(self, answer: Answer | None, refusal: BudgetExhausted) -> _End:
        return _End(answer, "price" if refusal.unit == "price" else "budget", str(refusal))

    def _best(self) -> Answer | None:
        return self._proposals[-1].answer if self._proposals else None

    async def _perform(self, op: Operation) -> object:
        match op:
            case Sample():
                draws = self._name(op)
                with self.turn.held_up() if self.turn else nullcontext():
                    return self._count(await self._in_turn(draws, op, _nothing, interruptible=False))
            case Score() | Prefer():
                self._ops += 1
                return self._rated(await self._score(self._ops, op))
            case Weigh():
                self._ops += 1
                return await self._weigh(op)
            case Next():
                finished = await self._started.next(self.turn.waits if self.turn else _nothing)
                self.worker.recorder.delivered(finished.handle)
                self._count(finished.completions)
                self._rated(finished.ratings)
                return finished
            case Extend():
                return await self.worker.extend(op.prompt, op.text)
            case FindBlocks():
                return await self.worker.in_time(self.worker.comparisons.blocks(op.answers))
            case Compare():
                return await self.worker.in_time(self.worker.comparisons.same(op.pairs))
            case Cancel():
                await self._give_up(op.handle)
                return None
        return self._perform_at_once(op)

    def _perform_at_once(self, op: Operation) -> Handle | None:
        match op:
            case Start():
                return self._start(op)
            case Propose():
                proposal = Proposal(op.answer, op.standing.listed(), self._seen)
                self._proposals.append(proposal)
                self.worker.recorder.proposed(proposal)
                if self.turn:
                    self.turn.told(proposal.standing)
            case Note():
                self._remarks.append(op)
                self.worker.recorder.noted(op.text, ends=op.ends)
            case _:
                raise PlanError(f"the strategy yielded {type(op).__name__}, which is no operation")
        return None

    def _count(self, completions: tuple[Completion, ...]) -> tuple[Completion, ...]:
        for one in completions:
            if one.usage != Usage():
                self._seen += self.worker.cost_of(one)
        return completions

    def _rated(self, ratings: tuple[Rating, ...]) -> tuple[Rating, ...]:
        for one in ratings:
            self._seen += one.cost
        return ratings

    async def _weigh(self, op: Weigh) -> tuple[Weight | None, ...]:
        found = await weighed(self.worker, self._ops, op)
        self._seen += found.cost
        return found.weights

    def _name(self, op: Sample, times: int = 1) -> Draws:
        """The sequences of an operation; of one that is started several times, those of the first."""
        first_op = self._ops + 1
        self._ops += times
        heads: list[tuple[Prompt, str, int]] = []
        for prompt in op.prompts:
            digest = prompt.digest
            first = self._children.get((digest, op.branch), op.branch * BRANCH)
            self._children[digest, op.branch] = first + op.n * times
            heads.append((prompt, digest, first))
        return Draws(first_op, tuple(heads), op.n)

    async def _in_turn(
        self, draws: Draws, op: Sample, passed: Passed, *, interruptible: bool
    ) -> tuple[Completion, ...]:
        """The sequences, when it is the question's turn; what an interrupted run had got waits for none."""
        if self.turn is None or self.worker.past.settles(draws.op, draws):
            return await self._sample(draws, op, passed, interruptible=interruptible)
        await self.turn.take()
        try:
            return await self._sample(draws, op, passed, interruptible=interruptible)
        finally:
            self.turn.gave()

    async def _sample(self, draws: Draws, op: Sample, passed: Passed, *, interruptible: bool) -> tuple[Completion, ...]:
        needed = self.verifier.logprobs if self.verifier else None
        if needed is not None and (op.params.logprobs is None or op.params.logprobs < needed):
            op = replace(op, params=replace(op.params, logprobs=needed))
        sequence = partial(self.worker.sequence, op, interruptible=interruptible)
        found = await drawn(draws, sequence, passed, self.worker.extent)
        self._look_for_refusals(draws.op, found)
        return tuple(one for one in found if not isinstance(one, BudgetExhausted))

    async def _score(self, number: int, op: Score | Prefer) -> tuple[Rating, ...]:
        if self.verifier is None:
            raise PlanError("the strategy asks for scores though it says that it uses no verifier")
        rate = partial(rated, self.worker, number, self.verifier)
        if isinstance(op, Prefer):
            work = [partial(rate, a, other=b) for a, b in op.pairs]
        else:
            work = [partial(rate, one, reserve=op.reserve) for one in op.candidates]
        found = await each(work)
        self._look_for_refusals(number, found)
        return tuple(_as_rating(one) for one in found)

    def _look_for_refusals(self, number: int, results: Sequence[object]) -> None:
        """Raise where all was refused; a part of it is told by the shorter reply, and in the trace and the end."""
        refusals = [one for one in results if isinstance(one, BudgetExhausted)]
        if refusals and len(refusals) == len(results):
            raise refusals[0]
        if refusals:
            self._partly = self._partly or refusals[0]
            self.worker.recorder.refused(number, refusals[0])

    def _start(self, start: Start) -> Handle:
        op = start.op
        if isinstance(op, Sample):
            # A stop rule of the run ends the plan at any proposal, whatever the plan promised.
            interruptible = start.cancellable or self.stop is not None
            draws = self._name(op, start.times)
            [(_, digest, first), *_] = draws.heads
            work = partial(self._sample_behind, draws, op, interruptible=interruptible)
            self._started.launch(draws.op, start.times, work, lambda: self.worker.extent(digest) - first)
            return Handle(draws.op)
        self._ops += 1
        handle = Handle(self._ops)
        self._started.at_once(handle, self._score_behind(handle, op))
        return handle

    async def _sample_behind(
        self, first: Draws, op: Sample, place: int, passed: Passed, *, interruptible: bool
    ) -> Finished:
        heads = tuple((prompt, digest, index + place * op.n) for prompt, digest, index in first.heads)
        draws = Draws(first.op + place, heads, op.n)
        completions = await self._in_turn(draws, op, passed, interruptible=interruptible)
        return Finished(Handle(draws.op), completions=completions)

    async def _score_behind(self, handle: Handle, op: Score | Prefer) -> Finished:
        return Finished(handle, ratings=await self._score(handle, op))

    async def _give_up(self, handle: Handle) -> None:
        if self._started.holds(handle):
            self.worker.recorder.cancelled(handle)
            await self._quiet()
            await self._started.cancel(handle)

    async def _quiet(self) -> None:
        """In a replay, let end what had ended by then, before the rest is cancelled."""
        if self._started.running and isinstance(self.worker.engine, Recorded):
            await self.worker.engine.quiet()


def _nothing() -> None:
    pass


def _advanced(plan: Plan[Answer | None], reply: object, error: ReasonerError | None) -> Operation | _Returned:
    """What the plan asks for next, or what it returned."""
    with THE_STRATEGY:
        try:
            op: Operation = plan.throw(error) if error else plan.send(reply)
        except StopIteration as finished:
            return _Returned(finished.value)
        return op


def _as_rating(found: Rating | BudgetExhausted) -> Rating:
    return Rating(None, Cost(), error=f"{NOT_RATED}: {found}") if isinstance(found, BudgetExhausted) else found
