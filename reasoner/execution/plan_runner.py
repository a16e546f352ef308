"""Runs the plan of one question: executes its operations, sends it the replies, and keeps what its solution tells."""

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, NamedTuple

from reasoner import strategy as ops
from reasoner.answers.equivalence import Equivalence
from reasoner.budget import Cost
from reasoner.errors import BudgetExhausted, NotRecorded, PlanError, ReasonerError, UsageError
from reasoner.execution.executor import OperationExecutor
from reasoner.execution.launching import SequenceIds, Started, each, sample_all
from reasoner.execution.probes import Probes
from reasoner.execution.programs import execute, with_output
from reasoner.execution.replies import RatingFailures, Replies
from reasoner.execution.sampling import resolved, sample_sequence
from reasoner.execution.scheduler import ScheduledQuestion
from reasoner.execution.scoring import measure_likelihoods, rate
from reasoner.execution.verdicts import Pairs, Verdicts
from reasoner.models.info import ModelInfo
from reasoner.solution import INTERRUPTED, Solution
from reasoner.strategy import StopRule, Strategy
from reasoner.system.foreign import ErrorsFrom, described, is_cancellation
from reasoner.trace.events import Cancelled, Delivered, Ended, Noted, Proposed, Refused, RunFacts
from reasoner.types import NOT_RATED, Answer, Completion, EndedBy, Extraction, Prompt, Proposal, Rating
from reasoner.verifier import Verifier

STRATEGY_ERRORS = ErrorsFrom("the strategy")
STOP_RULE_ERRORS = ErrorsFrom("the stop rule")
QUESTION_ERRORS = ErrorsFrom("answering this question")
Extractions = tuple[Extraction | None, ...]
Examination = ops.Score | ops.ComparePair | ops.Probe | ops.Execute
"""What a plan asks about replies that it has; it may wait for it at once, or start it."""


NOT_SCHEDULED: Final = nullcontext()


class _End(NamedTuple):
    answer: Answer | None
    by: EndedBy
    reason: str
    error: ReasonerError | None = None


def _end_of(sequences: SequenceIds, completions: Sequence[Completion]) -> int:
    """Where the last of these sequences, with the probe that follows it, ended on the virtual clock."""
    end = sequences.at
    for completion in completions:
        probed = completion.extraction.cost.sequential_tokens if completion.extraction else 0
        end = max(end, sequences.at + completion.usage.generated_tokens, probed)
    return end


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
    scheduled: ScheduledQuestion | None = None
    _remarks: list[ops.Note] = field(default_factory=list)
    _proposals: list[Proposal] = field(default_factory=list)
    _confidence: float | None = None
    """That of the last proposal, where it has a leader."""
    _next_index: dict[tuple[str, int], int] = field(default_factory=dict)
    """The index of the next sequence, by the digest of its prompt and its branch."""
    _ends: dict[ops.Handle, int] = field(default_factory=dict)
    """Where the started operations that came back ended on the virtual clock."""
    _asked: dict[ops.Handle, Examination] = field(default_factory=dict)
    """The started operations, but samples, that have not come back."""
    _ops: int = 0
    _started: Started = field(init=False)
    _failures: RatingFailures = field(default_factory=RatingFailures)
    _replies: Replies = field(init=False)
    _seen: Cost = field(default_factory=Cost)
    """The cost of the results that the plan has received."""
    _refusal: BudgetExhausted | None = None
    """The refusal that was raised into the plan; a second one ends it."""
    _partial_refusal: BudgetExhausted | None = None
    _verdicts: Verdicts = field(init=False)
    _probes: Probes = field(init=False)

    def __post_init__(self) -> None:
        admission, held = self.executor.admission, self.scheduled is not None
        self._started = Started(admission, lambda: self._now, self.executor.history.delivered, held=held)
        self._verdicts = Verdicts(self.executor, self.comparer)
        self._probes = Probes(self.executor)
        self._replies = Replies(self.limits)

    async def solve(self) -> Solution:
        """The solution; a failure is in its `error`. On cancellation, work in flight is booked and the trace closed."""
        try:
            end = await self._run()
        except BaseException as failure:
            if is_cancellation(failure):
                self._record_end(_End(self._best(), "error", INTERRUPTED))
                raise
            error = QUESTION_ERRORS.error(failure)
            end = _End(self._best(), "error", str(error), error)
        if why := self._failures.unrated:
            self.executor.notes.append(f"{why}: the answer was chosen without ratings")
        end = self._record_end(end)
        text = ""
        with suppress(Exception):  # a foreign answer space may fail, after the question is answered
            text = self._replies.text_of(end.answer, self.executor.question.space)
        remarks = tuple(note.text for note in self._remarks)
        return Solution(
            self.executor.question.id, end.answer, self._cost, tuple(self._proposals),
            end.by, end.reason, end.error, self._notes, remarks, self._confidence, text, self._replies.cut,
            unrated=self._failures.unrated,
        )  # fmt: skip

    @property
    def _cost(self) -> Cost:
        """All that was computed, and the sequential tokens of what was waited for."""
        return self.executor.admission.ledger.settled.until(self._now)

    @property
    def _now(self) -> int:
        """The virtual time: where the latest of the results ended that the plan has received."""
        return self._seen.sequential_tokens

    @property
    def _notes(self) -> tuple[str, ...]:
        return (*self.executor.engine.notes, *self.executor.notes, *self._verdicts.notes, *self._probes.notes)

    def _record_end(self, end: _End) -> _End:
        """Record the end. If that fails, it is an error, recorded without the answer, which may be the cause."""
        try:
            self._ended(end)
        except Exception as failure:
            error = end.error or QUESTION_ERRORS.error(failure)
            end = _End(end.answer, "error", end.reason if end.error else str(error), error)
            with suppress(Exception):
                self._ended(end._replace(answer=None, reason=described(error)))
        return end

    def _ended(self, end: _End) -> None:
        self.executor.recorder.write(
            Ended, answer=end.answer, ended_by=end.by, reason=end.reason, cost=self._cost,
            notes=self._notes, confidence=self._confidence, cut=self._replies.cut,
        )  # fmt: skip

    async def _run(self) -> _End:
        try:
            self.executor.recorder.began(self.facts)
            with STRATEGY_ERRORS:
                plan = self.strategy.plan(self.executor.question)
            try:
                end = await self._follow(plan)
            except BudgetExhausted as refusal:
                end = self._refused_end(self._best(), refusal)
            except BaseException:
                self._propose_last(plan)
                raise
            finally:
                await self._close(plan)
            return end if end.answer else await self._fall_back(end)
        finally:
            self.executor.done(self.verifier)
            if self.scheduled:
                self.scheduled.close()

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
            await self._started.close()

    async def _fall_back(self, end: _End) -> _End:
        """The end with the answer of the chains that a limit cut, where no other reply has one."""
        with suppress(BudgetExhausted):
            return end._replace(answer=(await self._follow(self._probes.fallback())).answer)
        return end

    async def _follow(self, plan: ops.Plan[Answer | None]) -> _End:
        reply: object = None
        error: ReasonerError | None = None
        while True:
            with STRATEGY_ERRORS:
                try:
                    op: ops.Operation = plan.throw(error) if error else plan.send(reply)
                except StopIteration as finished:
                    return self._returned(finished.value)
            reply, error = None, None
            try:
                reply = await self._perform(op)
            except BudgetExhausted as refusal:
                if self._refusal:
                    raise
                self._record_refusal(self._started.late or self._ops, refusal)
                self._refusal = error = refusal
            except (PlanError, UsageError) as failure:
                error = failure
            if self.stop and isinstance(op, ops.Propose):
                last = self._proposals[-1]
                with STOP_RULE_ERRORS:
                    why = self.stop.stop(last.vote_state, last.cost)
                if why:
                    return _End(last.answer, "rule", why)

    def _returned(self, answer: Answer | None) -> _End:
        answer = answer or self._best()
        if self._remarks and self._remarks[-1].ends:
            return _End(answer, "rule", self._remarks[-1].text)
        if refusal := self._refusal or self._partial_refusal:
            return self._refused_end(answer, refusal)
        return _End(answer, "strategy", "the strategy finished")

    def _refused_end(self, answer: Answer | None, refusal: BudgetExhausted) -> _End:
        return _End(answer, "price" if refusal.unit == "price" else "budget", str(refusal))

    def _record_refusal(self, op: int, refusal: BudgetExhausted) -> None:
        self.executor.recorder.write(
            Refused, op=op, unit=refusal.unit, needed=refusal.needed, free=refusal.free, limit=refusal.limit
        )

    def _best(self) -> Answer | None:
        return self._proposals[-1].answer if self._proposals else None

    async def _perform(self, op: ops.Operation) -> object:
        match op:
            case ops.Sample():
                op = resolved(op, self.executor)
                sequences = self._name(op)
                with self.scheduled.blocking() if self.scheduled else nullcontext():
                    completions = await self._sample(sequences, op, interruptible=False)
                    return self._see_completions(completions, _end_of(sequences, completions))
            case ops.Score() | ops.ComparePair() | ops.Probe() | ops.Execute():
                self._ops += 1
                finished = await self._work(ops.Handle(self._ops), op, self._now)
                self._see_results(finished, op)
                return finished.execution or finished.extractions or finished.ratings
            case ops.LogLikelihood():
                self._ops += 1
                likelihoods, cost = await measure_likelihoods(self.executor, self._ops, op, at=self._now)
                self._seen += cost
                return likelihoods
            case ops.Next():
                return self._see(await self._started.next(self.scheduled.idle if self.scheduled else lambda: None))
            case ops.Prefill():
                return await self.executor.prefill(op)
            case ops.Cancel():
                await self._cancel(op.handle)
            case ops.FindBlocks():
                return await self._verdicts.blocks(op.answers)
            case ops.CheckEquivalent():
                self._ops += self._verdicts.by_model
                return await self._verdicts.same(op.pairs, partial(self._ask_model, self._ops))
            case _:
                return self._perform_at_once(op)
        return None

    def _see(self, finished: ops.Finished) -> ops.Finished:
        self.executor.recorder.write(Delivered, op=finished.handle)
        self._ends[finished.handle] = finished.end
        self._see_results(finished, self._asked.pop(finished.handle, None))
        return finished

    def _see_results(self, finished: ops.Finished, op: Examination | None) -> None:
        """Count the results of an operation; `op` is the examination, None for samples."""
        if op is None:
            self._see_completions(finished.completions, finished.end)
            return
        for rating in finished.ratings:
            self._seen += rating.cost
            self._failures.add(rating)
        if isinstance(op, ops.Probe):
            for chain, extraction in zip(op.chains, finished.extractions, strict=True):
                self._replies.add(replace(chain, extraction=extraction))
                self._seen += extraction.cost.taking(0) if extraction else Cost()
        program = finished.execution
        if isinstance(op, ops.Execute) and op.reply and program and not program.failure:
            self._replies.add(with_output(op.reply, program, self.executor.question.space))

    def _perform_at_once(self, op: ops.Operation) -> ops.Handle | ModelInfo | None:
        match op:
            case ops.Start():
                return self._start(op)
            case ops.DescribeModel():
                return self.facts.model
            case ops.Propose():
                proposal = Proposal(op.answer, op.vote_state.listed(), self._seen)
                self._proposals.append(proposal)
                self._confidence = op.confidence if op.vote_state.votes else None
                self.executor.recorder.write(
                    Proposed, answer=proposal.answer, vote_state=proposal.vote_state, cost=proposal.cost
                )
                if self.scheduled:
                    self.scheduled.update(proposal.vote_state)
            case ops.Note():
                self._remarks.append(op)
                self.executor.recorder.write(Noted, text=op.text, ends=op.ends)
            case _:
                raise PlanError(f"the strategy yielded {type(op).__name__}, which is not an operation")
        return None

    async def _ask_model(self, number: int, pairs: Pairs) -> tuple[bool | None, ...]:
        """The verdicts of the model; None for each that failed or was refused, which does not end the plan."""
        verdicts = self._unrefused(number, await self._verdicts.ask_model(number, pairs, at=self._now))
        self._seen += sum((verdict.cost.taking(0) for verdict in verdicts if verdict), Cost())
        return tuple(verdict.same if verdict else None for verdict in verdicts)

    def _unrefused(self, number: int, results: Sequence[Any]) -> tuple[Any, ...]:
        """What the model was asked, with None for each that was refused."""
        refusals = [result for result in results if isinstance(result, BudgetExhausted)]
        if refusals and not self._partial_refusal:
            self._partial_refusal = refusals[0]
            self._record_refusal(number, refusals[0])
        return tuple(None if isinstance(result, BudgetExhausted) else result for result in results)

    async def _probe(self, number: int, op: ops.Probe, at: int) -> Extractions:
        return self._unrefused(number, await self._probes.probe_all(number, op, at=at))

    def _see_completions(self, completions: tuple[Completion, ...], end: int) -> tuple[Completion, ...]:
        """Count the results of an operation that ended at the virtual time `end`."""
        for completion in completions:
            self._replies.add(completion)
            if completion.usage.prompt_tokens or completion.usage.generated_tokens:
                # Each is waited for until all of the operation have ended.
                self._seen += self.executor.cost_of(completion, at=end - completion.usage.generated_tokens)
            if completion.extraction:
                self._seen += completion.extraction.cost
        return completions

    def _name(self, op: ops.Sample, times: int = 1, after: ops.Handle | None = None) -> SequenceIds:
        """The sequences of an operation. Where it is started several times, they are those of the first."""
        heads: list[tuple[Prompt, str, int]] = []
        for prompt in op.prompts:
            digest = prompt.digest
            first = self._next_index.get((digest, op.branch), op.branch * ops.BRANCH)
            self._next_index[digest, op.branch] = first + op.n * times
            heads.append((prompt, digest, first))
        self._ops += times
        return SequenceIds(self._ops - times + 1, tuple(heads), op.n, self._start_after(after))

    def _start_after(self, handle: ops.Handle | None) -> int:
        """The virtual start of work that waited for the result of an operation; None is all results so far."""
        if handle is None:
            return self._now
        if handle not in self._ends:
            raise PlanError(f"the strategy starts an operation after {handle}, which has not come back")
        return self._ends[handle]

    async def _sample(self, sequences: SequenceIds, op: ops.Sample, *, interruptible: bool) -> tuple[Completion, ...]:
        """Generate the sequences when the scheduler starts them. Recorded ones do not wait."""
        needed = self.verifier.logprobs if self.verifier else None
        if needed is not None and (op.params.logprobs is None or op.params.logprobs < needed):
            op = replace(op, params=replace(op.params, logprobs=needed))
        if (probes := op.answers and self._probes.wanted) and (reserve := self._probes.reserve) > op.reserve:
            op = replace(op, reserve=reserve)
        line = self._started.clock.lines.get(ops.Handle(sequences.op))
        sample = partial(sample_sequence, self.executor, op, interruptible=interruptible, line=line)
        if probes:
            sample = partial(self._probes.reading, sample, op)
        history, scheduled = self.executor.history, self.scheduled
        if scheduled and history.settles(sequences.op, sequences.names()):
            scheduled = None
        waits = nullcontext if line else self.executor.admission.waits
        async with scheduled.draw(waits) if scheduled else NOT_SCHEDULED:
            if line and self.scheduled:
                line.clock.add(line)
            if line and len(sequences.heads) * sequences.n > 1:
                line.drawing, sample = 0, partial(line.counting, sample)
            drawn, refusals = await sample_all(sequences, sample, history.extent)
            if refusals:
                self._check_refusals(sequences.op, refusals, all_of_them=not drawn)
        aborted = not op.floor and [completion for completion in drawn if completion.finish_reason == "abort"]
        if aborted and not self._partial_refusal and (refusal := self._probes.ended_early(sequences.op)):
            self._partial_refusal = refusal
            self._record_refusal(sequences.op, refusal)
        for completion in drawn:
            self._replies.count(op.params.limit, completion, op.limited_by)
        return drawn

    async def _score(self, number: int, op: ops.Score | ops.ComparePair, at: int) -> tuple[Rating, ...]:
        if self.verifier is None:
            raise PlanError("the strategy asks for scores but says that it uses no verifier")
        rated = partial(rate, self.executor, number, self.verifier, at=at)
        if isinstance(op, ops.ComparePair):
            ratings = await each([partial(rated, first, other=second) for first, second in op.pairs])
        else:
            ratings = await each([partial(rated, candidate, reserve=op.reserve) for candidate in op.candidates])
        refusals = [rating for rating in ratings if isinstance(rating, BudgetExhausted)]
        self._check_refusals(number, refusals, all_of_them=len(refusals) == len(ratings))
        if isinstance(op, ops.Score):
            self._replies.rate(op.candidates, ratings)
        return tuple(
            Rating(None, Cost(), error=f"{NOT_RATED}: {rating}") if isinstance(rating, BudgetExhausted) else rating
            for rating in ratings
        )

    def _check_refusals(self, number: int, refusals: Sequence[BudgetExhausted], *, all_of_them: bool) -> None:
        """Raise if every result was refused; if only some were, record it, as the plan only gets a shorter reply."""
        if refusals and all_of_them:
            raise refusals[0]
        if refusals:
            self._partial_refusal = self._partial_refusal or refusals[0]
            self._record_refusal(number, refusals[0])

    def _start(self, start: ops.Start) -> ops.Handle:
        op = start.op
        if isinstance(op, ops.Sample):
            op = resolved(op, self.executor)
            # A stop rule of the run ends the plan at any proposal, also if the plan promised to wait.
            interruptible = start.cancellable or self.stop is not None
            sequences = self._name(op, start.times, start.after)
            [(_, digest, first), *_] = sequences.heads
            work = partial(self._sample_started, sequences, op, interruptible)
            self._started.launch(
                sequences.op,
                start.times,
                work,
                lambda: sequences.op + self.executor.history.extent(digest) - first,
                sequences.at if interruptible else None,
            )
            return ops.Handle(sequences.op)
        self._ops += 1
        handle = ops.Handle(self._ops)
        at = self._start_after(start.after)
        ordered = at if start.cancellable or self.stop is not None else None
        self._asked[handle] = op
        self._started.at_once(handle, self._work_started(handle, op, at), ordered)
        return handle

    async def _sample_started(
        self, first: SequenceIds, op: ops.Sample, interruptible: bool, handle: ops.Handle
    ) -> ops.Finished:
        before = (handle - first.op) * op.n
        heads = first.heads
        if before:  # what is started several times has one prompt
            [(prompt, digest, index)] = heads
            heads = ((prompt, digest, index + before),)
        try:
            sequences = SequenceIds(handle, heads, op.n, first.at)
            completions = await self._sample(sequences, op, interruptible=interruptible)
            return ops.Finished(handle, completions, end=_end_of(sequences, completions))
        except NotRecorded as missing:
            return await self._started.stall(handle, missing)

    async def _work_started(self, handle: ops.Handle, op: Examination, at: int) -> ops.Finished:
        try:
            return await self._work(handle, op, at)
        except NotRecorded as missing:
            return await self._started.stall(handle, missing)

    async def _work(self, handle: ops.Handle, op: Examination, at: int) -> ops.Finished:
        """The result of an operation that is no sample, with its virtual end."""
        if isinstance(op, ops.Execute):
            return ops.Finished(handle, end=at, execution=await execute(self.executor, handle, op, at=at))
        if isinstance(op, ops.Probe):
            extractions = await self._probe(handle, op, at)
            end = max([at, *(each.cost.sequential_tokens for each in extractions if each)])
            return ops.Finished(handle, end=end, extractions=extractions)
        ratings = await self._score(handle, op, at)
        return ops.Finished(handle, ratings=ratings, end=max([at, *(each.cost.sequential_tokens for each in ratings)]))

    async def _cancel(self, handle: ops.Handle) -> None:
        if self._started.holds(handle):
            self.executor.recorder.write(Cancelled, op=handle)
            await self._settle_replay()
            await self._started.cancel(handle)

    async def _settle_replay(self) -> None:
        """In a replay, book everything that the recorded run had started before anything is cancelled."""
        if self.executor.history.source:
            await self._started.settle()
