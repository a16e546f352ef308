"""One question on its way: sends a plan its replies and keeps what it started."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from reasoner.budget import Cost
from reasoner.errors import BudgetExhausted, PlanError, ReasonerError, UsageError
from reasoner.plan import (
    Cancel,
    Compare,
    Extend,
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
from reasoner.recorder import Draw, RunFacts
from reasoner.solution import EndedBy, Proposal, Solution
from reasoner.turns import Turn
from reasoner.types import NOT_RATED, Answer, Completion, Rating, Usage
from reasoner.weighing import weighed
from reasoner.work import Worker

T = TypeVar("T")
BRANCH = 1 << 20
"""How far apart the numbers of a prompt's sequences are in two branches."""


class _End(NamedTuple):
    answer: Answer | None
    by: EndedBy
    reason: str
    error: ReasonerError | None = None
    confidence: float | None = None


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
    _running: dict[Handle, asyncio.Task[Finished]] = field(default_factory=dict)
    _arrived: deque[Handle] = field(default_factory=deque)
    _script: deque[Handle] = field(default_factory=deque)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: Cost = field(default_factory=Cost)
    _told: BudgetExhausted | None = None
    _untold: tuple[Handle, BudgetExhausted] | None = None
    _late: int = 0
    _cancellable: set[int] = field(default_factory=set)
    _partly: BudgetExhausted | None = None

    async def solve(self) -> Solution:
        """The solution; failures are in its `error`. Cancelling books what was in flight and closes the trace."""
        try:
            if isinstance(self.worker.engine, Recorded):
                self._script += map(Handle, self.worker.engine.deliveries(self.worker.question.id))
            self._script += map(Handle, self.worker.past.delivered)
            self.worker.recorder.began(self.facts)
            end = await self._run()
        except asyncio.CancelledError:
            self._record_end(_End(self._best(), "error", "interrupted"))
            raise
        except ReasonerError as error:
            end = _End(self._best(), "error", str(error), error)
        end = self._record_end(end)
        cost = self.worker.admission.ledger.settled
        return Solution(
            self.worker.question.id,
            end.answer,
            cost,
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
        with _blaming("the strategy"):
            return self.strategy.confidence(self._proposals[-1].standing)

    def _record_end(self, end: _End) -> _End:
        try:
            spent = self.worker.admission.ledger.settled
            end = end._replace(confidence=self._confidence())
            self.worker.recorder.ended(end.answer, end.by, end.reason, spent, self.worker.all_notes, end.confidence)
        except ReasonerError as error:
            return _End(end.answer, "error", str(error), end.error or error)
        return end

    async def _run(self) -> _End:
        plan: Plan[Answer | None] | None = None
        try:
            with _blaming("the strategy"):
                plan = self.strategy.plan(self.worker.question)
            return await self._follow(plan)
        except BudgetExhausted as refusal:
            return self._refused(self._best(), refusal)
        finally:
            try:
                with _blaming("the strategy"):
                    if plan is not None:
                        plan.close()
            finally:
                await self._cancel(list(self._running))
                self.worker.done()
                if self.turn:
                    self.turn.over()

    async def _follow(self, plan: Plan[Answer | None]) -> _End:
        reply: object = None
        error: ReasonerError | None = None
        while True:
            try:
                with _blaming("the strategy"):
                    op = plan.throw(error) if error else plan.send(reply)
            except StopIteration as finished:
                answer = finished.value or self._best()
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
                self.worker.recorder.refused(self._late or self._ops, refusal)
                self._told = error = refusal
            except (PlanError, UsageError) as failure:
                error = failure
            if isinstance(op, Propose) and self.stop:
                last = self._proposals[-1]
                with _blaming("the stop rule"):
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
                    return self._count(await self._in_turn(draws, op))
            case Score() | Prefer():
                self._ops += 1
                return self._rated(await self._score(self._ops, op))
            case Weigh():
                self._ops += 1
                return await self._weigh(op)
            case Next():
                finished = await self._next()
                self._count(finished.completions)
                self._rated(finished.ratings)
                return finished
            case Extend():
                return await self.worker.extend(op.prompt, op.text)
            case Compare():
                return await self.worker.compare(op.pairs)
            case Cancel():
                await self._give_up(op.handle)
                return None
        return self._perform_at_once(op)

    def _perform_at_once(self, op: Operation) -> Handle | None:
        match op:
            case Start():
                return self._start(op.op, cancellable=op.cancellable)
            case Propose():
                proposal = Proposal(op.answer, op.standing, self._seen)
                self._proposals.append(proposal)
                self.worker.recorder.proposed(proposal)
                if self.turn:
                    self.turn.told(op.standing)
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

    def _name(self, op: Sample) -> list[Draw]:
        self._ops += 1
        draws: list[Draw] = []
        for prompt in op.prompts:
            digest = prompt.digest
            first = self._children.get((digest, op.branch), op.branch * BRANCH)
            self._children[digest, op.branch] = first + op.n
            draws.extend(Draw(self._ops, prompt, digest, index) for index in range(first, first + op.n))
        return draws

    async def _in_turn(self, draws: Sequence[Draw], op: Sample) -> tuple[Completion, ...]:
        """The sequences, when it is the question's turn; what an interrupted run had got waits for none."""
        if self.turn is None or self.worker.past.settles(draws):
            return await self._sample(draws, op)
        await self.turn.take()
        try:
            return await self._sample(draws, op)
        finally:
            self.turn.gave()

    async def _sample(self, draws: Sequence[Draw], op: Sample) -> tuple[Completion, ...]:
        needed = self.verifier.logprobs if self.verifier else None
        if needed is not None and (op.params.logprobs is None or op.params.logprobs < needed):
            op = replace(op, params=replace(op.params, logprobs=needed))
        interruptible = draws[0].op in self._cancellable
        drawn = await _each([partial(self.worker.sequence, draw, op, interruptible=interruptible) for draw in draws])
        self._look_for_refusals(draws[0].op, drawn)
        return tuple(one for one in drawn if not isinstance(one, BudgetExhausted))

    async def _score(self, number: int, op: Score | Prefer) -> tuple[Rating, ...]:
        if self.verifier is None:
            raise PlanError("the strategy asks for scores though it says that it uses no verifier")
        rate = partial(self.worker.rating, number, self.verifier)
        if isinstance(op, Prefer):
            work = [partial(rate, a, other=b) for a, b in op.pairs]
        else:
            work = [partial(rate, one, reserve=op.reserve) for one in op.candidates]
        rated = await _each(work)
        self._look_for_refusals(number, rated)
        return tuple(_as_rating(one) for one in rated)

    def _look_for_refusals(self, number: int, results: Sequence[object]) -> None:
        """Raise where all was refused; a part of it is told by the shorter reply, and in the trace and the end."""
        refusals = [one for one in results if isinstance(one, BudgetExhausted)]
        if refusals and len(refusals) == len(results):
            raise refusals[0]
        if refusals:
            self._partly = self._partly or refusals[0]
            self.worker.recorder.refused(number, refusals[0])

    def _start(self, op: Sample | Score | Prefer, *, cancellable: bool) -> Handle:
        if isinstance(op, Sample):
            draws = self._name(op)
            handle = Handle(self._ops)
            if cancellable or self.stop:
                # A stop rule of the run ends the plan at any proposal, whatever the plan promised.
                self._cancellable.add(handle)
            task = asyncio.ensure_future(self._sample_behind(handle, draws, op))
        else:
            self._ops += 1
            handle = Handle(self._ops)
            task = asyncio.ensure_future(self._score_behind(handle, op))
        self._running[handle] = task
        task.add_done_callback(lambda done: self._arrive(handle, done))
        return handle

    async def _sample_behind(self, handle: Handle, draws: Sequence[Draw], op: Sample) -> Finished:
        return Finished(handle, completions=await self._in_turn(draws, op))

    async def _score_behind(self, handle: Handle, op: Score | Prefer) -> Finished:
        return Finished(handle, ratings=await self._score(handle, op))

    def _arrive(self, handle: Handle, task: "asyncio.Task[Finished]") -> None:
        # Looking at the exception tells asyncio that one which the plan never waits for was not overlooked.
        if not task.cancelled():
            task.exception()
        self._arrived.append(handle)
        self._news.set()

    async def _next(self) -> Finished:
        while self._running:
            handle = self._due()
            if handle is None:
                self._news.clear()
                if self.turn:
                    self.turn.waits()
                await self._news.wait()
                continue
            task = self._running.pop(handle)
            failure = task.exception()
            if failure is None:
                self.worker.recorder.delivered(handle)
                return task.result()
            if not isinstance(failure, BudgetExhausted):
                raise failure
            self._untold = self._untold or (handle, failure)
        if self._untold:
            (self._late, refusal), self._untold = self._untold, None
            raise refusal
        raise PlanError("the strategy waits for a result and has started nothing")

    def _due(self) -> Handle | None:
        """What is handed over next, if it is there: the first that arrived; in a replay, what was next then."""
        while self._script and self._script[0] not in self._running:
            self._script.popleft()
        if self._script:
            return self._script.popleft() if self._running[self._script[0]].done() else None
        while self._arrived:
            handle = self._arrived.popleft()
            if handle in self._running:
                return handle
        return None

    async def _give_up(self, handle: Handle) -> None:
        if handle in self._running:
            self.worker.recorder.cancelled(handle)
            await self._cancel([handle])

    async def _cancel(self, handles: Sequence[Handle]) -> None:
        if handles and isinstance(self.worker.engine, Recorded):
            # What had ended by then is to end again before the rest is cancelled.
            await self.worker.engine.quiet()
        await cancel_all([self._running.pop(handle) for handle in handles])


@contextmanager
def _blaming(who: str) -> Iterator[None]:
    """Turns what foreign code raises into a `PlanError`."""
    try:
        yield
    except (ReasonerError, StopIteration):
        raise
    except Exception as failure:
        raise PlanError(f"{who} failed with {type(failure).__name__}: {failure}") from failure


def _as_rating(rated: Rating | BudgetExhausted) -> Rating:
    return Rating(None, Cost(), error=f"{NOT_RATED}: {rated}") if isinstance(rated, BudgetExhausted) else rated


async def _each(work: Sequence[Callable[[], Awaitable[T]]]) -> list[T | BudgetExhausted]:
    """Run all at once, refusals as values; the first other failure cancels the rest.

    One alone goes the same way as many: operations then arrive in the order in which their last piece was done.
    """
    tasks = [asyncio.ensure_future(_refusal_as_value(one)) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        await cancel_all(tasks)


async def _refusal_as_value(work: Callable[[], Awaitable[T]]) -> T | BudgetExhausted:
    try:
        return await work()
    except BudgetExhausted as refusal:
        return refusal


async def cancel_all(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel what still runs and wait until it is booked."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
