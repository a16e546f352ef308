"""Performs jobs: each is let in, run, booked and recorded by `perform`, and nowhere else."""

import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, TypeVar, cast

from reasoner.budget import NO_COST, Cost
from reasoner.engine import RenderedPrompt, SampleRequest
from reasoner.errors import (
    BudgetExhausted,
    EngineError,
    LedgerViolation,
    NotRecorded,
    ReasonerError,
    RequestLost,
    TraceError,
)
from reasoner.execution.admission import LedgerClaim
from reasoner.execution.executor import (
    ENGINE_ERRORS,
    CountedAs,
    OperationExecutor,
    derive_seed,
)
from reasoner.system.foreign import ForeignErrors, described, is_cancellation, where
from reasoner.trace.events import ATTEMPTS, Refusal, Work
from reasoner.trace.recorder import Drop, Why
from reasoner.types import (
    CANCELLED,
    Completion,
    Prompt,
    SamplingParams,
    TokenIds,
    Usage,
)

T = TypeVar("T")
W = TypeVar("W", bound=Work)


@dataclass(slots=True, eq=False)
class Job(LedgerClaim, Generic[T]):
    """Work that is paid for: how much it may cost, how it is run, and what is recorded of it.

    It asks for up to `max_tokens` tokens, from the virtual time `at` on, and is tried up to `tries` times. It may be
    part of an `inquiry`.
    """

    tries: ClassVar[int] = 1
    errors: ClassVar[ForeignErrors | None] = None
    """What the exceptions of foreign code become."""
    generates: ClassVar[bool] = False
    """Whether it waits for a turn of the event loop, to which work that follows a reply adds little."""

    executor: OperationExecutor
    at: int
    inquiry: "Inquiry[Any] | None"
    priority: int = field(default=0, init=False)
    """Of those that start now, the lowest starts first."""

    @abstractmethod
    async def run(self, granted: int) -> T:
        """Run it with this many tokens: the only code that calls an engine, a verifier or the sandbox."""

    def cost(self, _result: T) -> Cost:
        """What it cost, without its time."""
        return NO_COST

    def spent(self, _why: Why) -> Cost:
        """What it cost when it was cut short, without its time."""
        return NO_COST

    def record(self, _result: T | None, cost: Cost, _drop: Drop | None) -> None:
        """Record one try: its result, or why there is none."""
        if self.inquiry:
            self.inquiry.add(cost)


async def perform(job: Job[T]) -> T:
    """The result of a job: reserved, run, settled and recorded, and again where the engine has lost it.

    Raises:
        BudgetExhausted: the ledger refused it, or the deadline passed.
        NotRecorded: a replay does not have it.
    """
    executor, gate = job.executor, job.executor.limits.gate
    admission = executor.admission
    for _ in range(job.tries):
        if job.generates:
            job.priority = executor.priority()
            await executor.limits.turns.wait(job.priority)
        if short := gate.enter(job, admission):
            await executor.enter_later(gate.wait(job, admission, short))
        began, deadline = time.monotonic(), admission.deadline()
        result: T | None = None
        drop: Drop | None = None
        failure: BaseException | None = None
        try:
            async with deadline:
                result = await job.run(job.granted)
            cost = job.cost(result)
        except NotRecorded:
            gate.leave(job, admission)
            raise
        except BaseException as error:
            result = None
            drop, failure = _cut(
                job,
                error,
                late=admission.too_late() if deadline.expired() else None,
            )
            cost = job.spent(drop.why)
        job.actual = cost.taking(time.monotonic() - began)
        try:
            gate.leave(job, admission)
        except LedgerViolation as violation:
            failure = violation
        job.record(result, job.actual, drop)
        if failure is None:
            return cast("T", result)
        if not isinstance(failure, RequestLost) or job.tries == 1:
            raise failure
    raise RequestLost(f"{failure} (tried {job.tries} times)") from failure


def _cut(
    job: Job[Any], error: BaseException, *, late: BudgetExhausted | None
) -> tuple[Drop, BaseException]:
    """Why a job has no result, and what to raise; `late` is the refusal where the deadline passed."""
    if late:
        return Drop("deadline", Refusal.of(late)), error if is_cancellation(
            error
        ) else late
    if is_cancellation(error):
        return Drop("cancelled"), error
    return Drop("lost"), job.errors.error(error) if job.errors else error


@dataclass(slots=True, eq=False)
class EngineRequest(Job[Completion]):
    """One request to the engine: how a prompt continues."""

    tries: ClassVar[int] = ATTEMPTS
    errors: ClassVar[ForeignErrors | None] = ENGINE_ERRORS
    generates: ClassVar[bool] = True

    counted_as: CountedAs
    params: SamplingParams
    prompt: Prompt
    rendered: RenderedPrompt = field(init=False)
    sent: SampleRequest | None = field(default=None, init=False)

    @abstractmethod
    def request(self, granted: int) -> SampleRequest:
        """What the engine is asked for."""

    def most(self) -> int:
        """The most tokens that the engine generates of those that are granted."""
        return self.granted

    async def run(self, granted: int) -> Completion:
        """The reply of the engine."""
        self.sent = request = self.request(granted)
        try:
            completion = await self.executor.engine.sample(request)
        finally:
            if request.meter.preemptions:
                self.executor.note(
                    "preempted: the KV cache was full, so tokens were computed twice; they are counted once"
                )
        if fault := completion.usage.fault:
            request.meter.usage = None
            raise EngineError(f"the engine counted wrongly: {fault}")
        return completion

    def cost(self, result: Completion) -> Cost:
        """The price of its tokens."""
        return self.executor.cost_of(result, at=self.at, counted_as=self.counted_as)

    @property
    def usage(self) -> Usage | None:
        """What the engine says it has computed of one that did not complete."""
        usage = self.sent.meter.usage if self.sent else Usage()
        return None if usage and usage.fault else usage

    def spent(self, _why: Why) -> Cost:
        """The price of what the engine has computed, or else of all that it was granted; nobody waited for its end."""
        sent, usage = self.sent, self.usage
        if sent and usage is None:
            usage = Usage(sent.rendered.tokens, 0, sent.params.limit)
        return self.executor.cost(
            usage or Usage(), cancelled=True, counted_as=self.counted_as
        )


def failed(failure: BaseException) -> str:
    """A failure in one line, with its location in foreign code."""
    return described(failure) + (
        "" if isinstance(failure, ReasonerError) else where(failure)
    )


@dataclass(slots=True)
class Inquiry(Generic[W]):
    """Work of one or several jobs that is recorded as one event: a probe, a rating, a program.

    `name` is what the history finds the event by, and `values` are its other fields, which change while it is asked
    for. `at` is where it starts on the question's virtual clock, and then where its last job ended. `refused` begins
    the error of an inquiry that the ledger refused, in whole or in part; `error` is the error of one that failed.
    """

    executor: OperationExecutor
    op: int
    kind: type[W]
    name: tuple[object, ...]
    counted_as: CountedAs
    refused: str
    values: dict[str, Any]
    at: int
    error: str = ""
    _cost: Cost = NO_COST

    def add(self, cost: Cost) -> None:
        """Add what a job of it cost."""
        self._cost += cost
        self.at = max(self.at, cost.sequential_tokens)

    async def request(
        self,
        prompt: Prompt,
        rendered: RenderedPrompt,
        params: SamplingParams,
        *,
        watch: TokenIds = (),
    ) -> Completion:
        """The reply to one prompt of up to `params.max_tokens` tokens.

        Raises:
            BudgetExhausted: the ledger refused it, or the deadline passed.
            EngineError: it failed.
        """
        return await perform(
            _Asked(
                params.limit,
                self.executor,
                self.at,
                self,
                self.counted_as,
                params,
                prompt,
                rendered,
                watch,
            )
        )

    async def reply(
        self, prompt: Prompt, params: SamplingParams, *, watch: TokenIds = ()
    ) -> Completion:
        """The reply to one prompt, within the context window. Raises as `request`."""
        rendered, context = (
            await self.executor.render(prompt),
            self.executor.model.context,
        )
        room = context - rendered.tokens if context else params.limit
        if room < 1:
            raise EngineError(
                f"the prompt of {rendered.tokens:,} tokens fills the context window of {context:,}"
            )
        return await self.request(
            prompt,
            rendered,
            replace(params, max_tokens=min(params.limit, room)),
            watch=watch,
        )

    def recorded(self, missing: str = "") -> W | None:
        """The event of the history, None without one. Raises as `OperationExecutor.recorded`.

        Raises:
            NotRecorded: a replay does not have it; `missing` says what that is and how to replay.
        """
        event = self.executor.recorded(self.op, self.kind, *self.name)
        if event is None and missing and (source := self.executor.history.source):
            raise NotRecorded(f"the trace {source} does not say {missing}")
        return event

    async def outcome(self, ask: Callable[[], Awaitable[None]]) -> W:
        """Ask, and record the outcome with its cost: a failure is one, a cancellation is to be done again.

        Raises:
            BudgetExhausted: the ledger refused a part of it, or the deadline passed.
        """
        began, error = time.monotonic(), CANCELLED
        try:
            await ask()
            error = self.error
        except BudgetExhausted as refusal:
            error, self.values["refusal"] = (
                f"{self.refused}: {refusal}",
                Refusal.of(refusal),
            )
            raise
        except BaseException as failure:
            if isinstance(failure, LedgerViolation | TraceError) or is_cancellation(
                failure
            ):
                raise
            error = failed(failure)
        finally:
            cost = self._cost.taking(time.monotonic() - began)
            event = self.executor.recorder.work(
                self.kind, op=self.op, error=error, cost=cost, **self.values
            )
        return event


@dataclass(slots=True, eq=False)
class _Asked(EngineRequest):
    """A request of an inquiry."""

    rendered: RenderedPrompt
    watch: TokenIds

    def price(self, tokens: int) -> Cost:
        """The price of this number of tokens after a prompt that is not cached."""
        return self.executor.cost(
            Usage(self.rendered.tokens, 0, tokens), counted_as=self.counted_as
        )

    def request(self, granted: int) -> SampleRequest:
        """Its seed depends on the prompt alone."""
        executor, params = self.executor, replace(self.params, max_tokens=granted)
        question, prompt = executor.question.id, self.prompt
        seed = derive_seed(executor.seed, question, prompt.digest, 0)
        return SampleRequest(
            question,
            prompt,
            self.rendered,
            params,
            0,
            seed,
            self.priority,
            watch=self.watch,
            original=executor.question.asked_by(prompt),
        )
