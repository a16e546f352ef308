"""Runs the plan of one question: executes its operations, sends it the replies, and keeps what its solution tells."""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from reasoner import strategy as ops
from reasoner.answers.equivalence import Equivalence
from reasoner.budget import Cost
from reasoner.errors import BudgetExhausted, PlanError, ReasonerError, UsageError
from reasoner.execution.executor import OperationExecutor, latest_end
from reasoner.execution.launching import STARTS, SequenceIds, each
from reasoner.execution.order import RunningOperations
from reasoner.execution.probes import Probes, probed_vote
from reasoner.execution.programs import execute
from reasoner.execution.sampling import OperationSampler, resolved
from reasoner.execution.scoring import rate
from reasoner.execution.seen import Examination, PlanView
from reasoner.execution.verdicts import QuestionVerdicts
from reasoner.models.info import ModelInfo
from reasoner.solution import INTERRUPTED, Solution
from reasoner.strategy import StopRule, Strategy
from reasoner.system.foreign import ForeignErrors, described, is_cancellation
from reasoner.trace.events import (
    Cancelled,
    Delivered,
    Ended,
    Noted,
    Proposed,
    Refused,
    RunFacts,
)
from reasoner.types import (
    NOT_RATED,
    Answer,
    Completion,
    EndedBy,
    Prompt,
    Proposal,
    Rating,
    SamplingParams,
)
from reasoner.verifier import Verifier

STRATEGY_ERRORS = ForeignErrors("the strategy")
QUESTION_ERRORS = ForeignErrors("answering this question")


class _End(NamedTuple):
    answer: Answer | None
    by: EndedBy
    reason: str
    error: ReasonerError | None = None


def _end_of(sequences: SequenceIds, completions: Sequence[Completion]) -> int:
    """Where the last of these sequences, with the probe that follows it, ended on the virtual clock."""
    lengths = (reply.usage.generated_tokens for reply in completions)
    probes = (reply.extraction.cost for reply in completions if reply.extraction)
    return latest_end(probes, sequences.at + max(lengths, default=0))


@dataclass(slots=True)
class PlanRunner:
    """Runs the plan of one question to its end. Every failure becomes the error of its solution."""

    strategy: Strategy
    verifier: Verifier | None
    stop: StopRule | None
    comparer: Equivalence
    executor: OperationExecutor
    facts: RunFacts
    limits: frozenset[int]
    """The most tokens of its sequences."""
    _next_index: dict[tuple[str, int], int] = field(default_factory=dict)
    """The index of the next sequence, by the digest of its prompt and its branch."""
    _asked: dict[ops.Handle, Examination] = field(default_factory=dict)
    """The started operations, but samples, that have not come back."""
    _ops: int = 0
    _running: RunningOperations = field(init=False)
    _seen: PlanView = field(init=False)
    _refusal: BudgetExhausted | None = None
    """The refusal that was raised into the plan; a second one ends it."""
    _partial_refusal: BudgetExhausted | None = None
    _verdicts: QuestionVerdicts = field(init=False)
    _probes: Probes = field(init=False)

    def __post_init__(self) -> None:
        self._running = self.executor.running
        self._verdicts = QuestionVerdicts(self.executor, self.comparer)
        self._probes = Probes(self.executor)
        self._seen = PlanView(self.executor, self.limits)

    async def solve(self) -> Solution:
        """The solution; a failure is in its `error`. On cancellation, work in flight is booked and the trace closed."""
        try:
            end = await self._run()
        except BaseException as failure:
            if is_cancellation(failure):
                self._record_end(_End(self._seen.best, "error", INTERRUPTED))
                raise
            error = QUESTION_ERRORS.error(failure)
            end = _End(self._seen.best, "error", str(error), error)
        if why := self._seen.failures.unrated:
            self.executor.notes.append(f"{why}: the answer was chosen without ratings")
        end = self._record_end(end)
        text = ""
        with suppress(
            Exception
        ):  # a foreign answer space may fail, after the question is answered
            text = self._seen.text_of(end.answer, self.executor.question.space)
        remarks = tuple(note.text for note in self._seen.remarks)
        return Solution(
            self.executor.question.id,
            end.answer,
            self._cost,
            tuple(self._seen.proposals),
            end.by,
            end.reason,
            end.error,
            self._notes,
            remarks,
            self._seen.confidence,
            text,
            self._seen.cut,
            unrated=self._seen.failures.unrated,
        )

    @property
    def _cost(self) -> Cost:
        """All that was computed, and where the last of what was waited for ended on the virtual clock."""
        return self.executor.admission.ledger.settled.until(self._seen.now)

    @property
    def _notes(self) -> tuple[str, ...]:
        return (
            *self.executor.engine.notes,
            *self.executor.notes,
            *self._verdicts.notes,
            *self._probes.notes,
        )

    def _record_end(self, end: _End) -> _End:
        """Record the end. If that fails, it is an error, recorded without the answer, which may be the cause."""
        try:
            self._ended(end)
        except Exception as failure:
            error = end.error or QUESTION_ERRORS.error(failure)
            end = _End(
                end.answer, "error", end.reason if end.error else str(error), error
            )
            with suppress(Exception):
                self._ended(end._replace(answer=None, reason=described(error)))
        return end

    def _ended(self, end: _End) -> None:
        self.executor.recorder.write(
            Ended,
            answer=end.answer,
            ended_by=end.by,
            reason=end.reason,
            cost=self._cost,
            notes=self._notes,
            confidence=self._seen.confidence,
            cut=self._seen.cut,
        )

    async def _run(self) -> _End:
        try:
            self.executor.recorder.began(self.facts)
            with STRATEGY_ERRORS:
                plan = self.strategy.plan(self.executor.question)
            try:
                end = await self._follow(plan)
            except BudgetExhausted as refusal:
                end = self._refused_end(self._seen.best, refusal)
            except BaseException:
                self._propose_last(plan)
                raise
            finally:
                await self._close(plan)
            if not end.answer and (cut := self._probes.cut_chains()):
                # The chains that a limit cut give the answer, where no other reply has one.
                with suppress(BudgetExhausted):
                    last = await self._follow(await self._fallback(cut))
                    end = end._replace(answer=last.answer)
            return end
        finally:
            self.executor.done(self.verifier)
            if self._running.scheduled:
                self._running.scheduled.close()

    async def _fallback(
        self, cut: Sequence[tuple[Completion, SamplingParams]]
    ) -> ops.Plan[Answer | None]:
        """The vote of these chains, which are probed."""
        self._ops += 1
        probe = partial(self._probes.probe, self._ops, at=self._seen.now)
        asked = await each([partial(probe, chain, params) for chain, params in cut])
        extractions = self._unrefused(self._ops, asked)
        self._seen.receive_probes([chain for chain, _ in cut], extractions)
        return probed_vote(self.executor.question, extractions)

    def _propose_last(self, plan: ops.Plan[Answer | None]) -> None:
        """Record what a plan that cannot continue proposes of all that it has received."""
        with suppress(Exception):  # it has ended, or asks for more
            op = plan.throw(BudgetExhausted("seconds", needed=0, free=0, limit=0))
            while isinstance(op, ops.Propose):
                self._perform_at_once(op)
                op = plan.send(None)

    async def _close(self, plan: ops.Plan[Answer | None]) -> None:
        """Close the plan, and cancel what it left running."""
        try:
            with STRATEGY_ERRORS:
                plan.close()
        finally:
            await self._settle_replay()
            await self._running.close()

    async def _follow(self, plan: ops.Plan[Answer | None]) -> _End:
        reply: object = None
        error: ReasonerError | None = None
        operations = 0
        while True:
            operations += 1
            if operations % STARTS == 0:
                # A plan that has much to start, or to read, would otherwise do it all in one turn of the event loop.
                await asyncio.sleep(0)
            with STRATEGY_ERRORS:
                try:
                    op: ops.Operation = plan.throw(error) if error else plan.send(reply)
                except StopIteration as finished:
                    return self._returned(finished.value)
            reply, error = None, None
            try:
                reply = await self._perform(op)
                self._running.now = self._seen.now
            except BudgetExhausted as refusal:
                if self._refusal:
                    raise
                self._record_refusal(self._running.late or self._ops, refusal)
                self._refusal = error = refusal
            except (PlanError, UsageError) as failure:
                error = failure
            if self.stop and isinstance(op, ops.Propose):
                last = self._seen.proposals[-1]
                with ForeignErrors("the stop rule"):
                    why = self.stop.stop(last.vote_state, last.cost)
                if why:
                    return _End(last.answer, "rule", why)

    def _returned(self, answer: Answer | None) -> _End:
        answer = answer or self._seen.best
        if self._seen.remarks and self._seen.remarks[-1].ends:
            return _End(answer, "rule", self._seen.remarks[-1].text)
        if refusal := self._refusal or self._partial_refusal:
            return self._refused_end(answer, refusal)
        return _End(answer, "strategy", "the strategy finished")

    def _refused_end(self, answer: Answer | None, refusal: BudgetExhausted) -> _End:
        return _End(
            answer, "price" if refusal.unit == "price" else "budget", str(refusal)
        )

    def _record_refusal(self, op: int, refusal: BudgetExhausted) -> None:
        self.executor.recorder.write(
            Refused,
            op=op,
            unit=refusal.unit,
            needed=refusal.needed,
            free=refusal.free,
            limit=refusal.limit,
        )

    async def _perform(self, op: ops.Operation) -> object:
        match op:
            case ops.Sample():
                op = resolved(op, self.executor, self.verifier)
                sequences = self._name(op)
                with (
                    self._running.scheduled.blocking()
                    if self._running.scheduled
                    else nullcontext()
                ):
                    completions = await self._sample(sequences, op, interruptible=False)
                    self._seen.receive_completions(
                        completions, _end_of(sequences, completions)
                    )
                    return completions
            case ops.Score() | ops.Execute():
                self._ops += 1
                finished = await self._work(op, self._seen.now, ops.Handle(self._ops))
                self._seen.receive(finished, op)
                return finished.execution or finished.ratings
            case ops.Next():
                finished = await self._running.next()
                self.executor.recorder.write(Delivered, op=finished.handle)
                self._seen.receive(finished, self._asked.pop(finished.handle, None))
                return finished
            case ops.Prefill():
                return await self.executor.prefill(op)
            case ops.Cancel():
                await self._cancel(op.handle)
            case ops.FindBlocks():
                return await self._verdicts.blocks(op.answers)
            case ops.CheckEquivalent():
                return await self._verdicts.same(op.pairs)
            case _:
                return self._perform_at_once(op)
        return None

    def _perform_at_once(self, op: ops.Operation) -> ops.Handle | ModelInfo | None:
        match op:
            case ops.Start():
                return self._start(op)
            case ops.DescribeModel():
                return self.facts.model
            case ops.Propose():
                proposal = Proposal(op.answer, op.vote_state.listed(), self._seen.cost)
                self._seen.proposals.append(proposal)
                self._seen.confidence = op.confidence if op.vote_state.votes else None
                self.executor.recorder.write(
                    Proposed,
                    answer=proposal.answer,
                    vote_state=proposal.vote_state,
                    cost=proposal.cost,
                )
                if self._running.scheduled:
                    self._running.scheduled.vote_state = proposal.vote_state
            case ops.Note():
                self._seen.remarks.append(op)
                self.executor.recorder.write(Noted, text=op.text, ends=op.ends)
            case _:
                raise PlanError(
                    f"the strategy yielded {type(op).__name__}, which is not an operation"
                )
        return None

    def _unrefused(self, number: int, results: Sequence[Any]) -> tuple[Any, ...]:
        """What the model was asked, with None for each that was refused."""
        refusals = [result for result in results if isinstance(result, BudgetExhausted)]
        if refusals and not self._partial_refusal:
            self._partial_refusal = refusals[0]
            self._record_refusal(number, refusals[0])
        return tuple(
            None if isinstance(result, BudgetExhausted) else result
            for result in results
        )

    def _name(
        self, op: ops.Sample, times: int = 1, at: int | None = None
    ) -> SequenceIds:
        """The sequences of an operation. Where it is started several times, they are those of the first."""
        heads: list[tuple[Prompt, str, int]] = []
        for prompt in op.prompts:
            digest = prompt.digest
            first = self._next_index.get((digest, op.branch), op.branch * ops.BRANCH)
            self._next_index[digest, op.branch] = first + op.n * times
            heads.append((prompt, digest, first))
        self._ops += times
        return SequenceIds(
            self._ops - times + 1,
            tuple(heads),
            op.n,
            self._seen.now if at is None else at,
        )

    async def _sample(
        self, sequences: SequenceIds, op: ops.Sample, *, interruptible: bool
    ) -> tuple[Completion, ...]:
        """Generate the sequences, with a probe of each that needs one."""
        if (probes := op.answers and self._probes.wanted) and (
            reserve := self._probes.reserve
        ) > op.reserve:
            op = replace(op, reserve=reserve)
        line = self._running.lines.get(ops.Handle(sequences.op))
        if line and len(sequences.heads) * sequences.n > 1:
            line.drawing = 0
        sampler = OperationSampler(
            self.executor, op, interruptible, line, self._probes if probes else None
        )
        scheduled = self._running.scheduled
        if scheduled:
            if self.executor.history.settles(sequences.op, sequences.names()):
                scheduled = None  # What is recorded does not wait.
            else:
                with nullcontext() if line else self._running.waits():
                    await scheduled.start()
            if line:
                self._running.hold_back(line)
        try:
            drawn, refusals = await sampler.sample_all(sequences)
            if refusals:
                self._check_refusals(sequences.op, refusals, all_of_them=not drawn)
        finally:
            if scheduled:
                scheduled.over()
        for completion in drawn:
            self._seen.count(op.params.limit, completion, op.limited_by)
        return drawn

    async def _score(self, number: int, op: ops.Score, at: int) -> tuple[Rating, ...]:
        if self.verifier is None:
            raise PlanError(
                "the strategy asks for scores but says that it uses no verifier"
            )
        rated = partial(rate, self.executor, number, self.verifier, at=at)
        ratings = await each(
            [
                partial(rated, candidate, reserve=op.reserve)
                for candidate in op.candidates
            ]
        )
        refusals = [rating for rating in ratings if isinstance(rating, BudgetExhausted)]
        self._check_refusals(
            number, refusals, all_of_them=len(refusals) == len(ratings)
        )
        self._seen.rate(op.candidates, ratings)
        return tuple(
            Rating(None, Cost(), error=f"{NOT_RATED}: {rating}")
            if isinstance(rating, BudgetExhausted)
            else rating
            for rating in ratings
        )

    def _check_refusals(
        self, number: int, refusals: Sequence[BudgetExhausted], *, all_of_them: bool
    ) -> None:
        """Raise if every result was refused; if only some were, record it, as the plan only gets a shorter reply."""
        if refusals and all_of_them:
            raise refusals[0]
        if refusals:
            self._partial_refusal = self._partial_refusal or refusals[0]
            self._record_refusal(number, refusals[0])

    def _start(self, start: ops.Start) -> ops.Handle:
        op = start.op
        if isinstance(op, ops.Sample):
            op = resolved(op, self.executor, self.verifier)
            # A stop rule of the run ends the plan at any proposal, also if the plan promised to wait.
            interruptible = start.cancellable or self.stop is not None
            sequences = self._name(op, start.times, start.at)
            work = partial(self._sample_started, sequences, op, interruptible)
            self._running.launch(sequences, start.times, work, ordered=interruptible)
            return ops.Handle(sequences.op)
        self._ops += 1
        handle = ops.Handle(self._ops)
        at = self._seen.now if start.at is None else start.at
        ordered = at if start.cancellable or self.stop is not None else None
        self._asked[handle] = op
        self._running.start(handle, partial(self._work, op, at), ordered)
        return handle

    async def _sample_started(
        self,
        first: SequenceIds,
        op: ops.Sample,
        interruptible: bool,
        handle: ops.Handle,
    ) -> ops.Finished:
        before = (handle - first.op) * op.n
        heads = first.heads
        if before:  # what is started several times has one prompt
            [(prompt, digest, index)] = heads
            heads = ((prompt, digest, index + before),)
        sequences = SequenceIds(handle, heads, op.n, first.at)
        completions = await self._sample(sequences, op, interruptible=interruptible)
        return ops.Finished(handle, completions, end=_end_of(sequences, completions))

    async def _work(self, op: Examination, at: int, handle: ops.Handle) -> ops.Finished:
        """The result of an operation that is no sample, with its virtual end."""
        if isinstance(op, ops.Execute):
            return ops.Finished(
                handle,
                end=at,
                execution=await execute(self.executor, handle, op, at=at),
            )
        ratings = await self._score(handle, op, at)
        return ops.Finished(
            handle,
            ratings=ratings,
            end=latest_end((each.cost for each in ratings), at),
        )

    async def _cancel(self, handle: ops.Handle) -> None:
        if self._running.holds(handle):
            self.executor.recorder.write(Cancelled, op=handle)
            await self._settle_replay()
            await self._running.cancel(handle)

    async def _settle_replay(self) -> None:
        """In a replay, book everything that the recorded run had started before anything is cancelled."""
        if self.executor.history.source:
            await self._running.settle()
