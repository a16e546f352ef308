"""Executes a question's single operations: look into the history, reserve, run, book, record."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar, cast

from reasoner.answers.questions import Question
from reasoner.budget import NO_COST, Cost, Reservation
from reasoner.engine import Engine, Rendered, SampleRequest, TextPiece, release
from reasoner.errors import BudgetExhausted, EngineError, LedgerViolation, NotRecorded, RequestLost, TraceError
from reasoner.execution.admission import Admission, NoDeadline, Pace
from reasoner.models.info import ModelInfo
from reasoner.models.thinking import Forced, forced
from reasoner.strategy import Prefill
from reasoner.system.foreign import ErrorsFrom, described, fault_in, is_cancellation
from reasoner.trace.events import ATTEMPTS, Prefilled, Refusal, Work
from reasoner.trace.history import EMPTY, QuestionHistory
from reasoner.trace.recorder import Drop, Recorder, Why
from reasoner.types import CANCELLED, Completion, Prompt, SamplingParams, TokenIds, Usage
from reasoner.verifier import Verifier, verifier_cost

if TYPE_CHECKING:
    from reasoner.execution.kv_limiter import KvCacheLimiter

T = TypeVar("T")
W = TypeVar("W", bound=Work)
ENGINE_ERRORS = ErrorsFrom("the engine", EngineError)
COMPARER_ERRORS = ErrorsFrom("comparing answers")


CountedAs = Literal["sample", "request", "likelihood", "probe", "verdict"]
"""How a request is booked: a sequence for the strategy, policy tokens without a sample (a part of a sequence, a part of
a likelihood, which is prompt work, or a probe, which may fail), or verifier tokens."""


class Attempt(NamedTuple):
    """One try of a request: its completion, or why there is none; what it cost; and what it raised."""

    outcome: Completion | Drop
    cost: Cost
    failure: BaseException | None

    @property
    def lost(self) -> bool:
        """Whether the engine lost it, so that it is tried again."""
        return self.failure is not None and isinstance(self.failure, RequestLost)

    def result(self) -> Completion:
        """The completion; raises what the request raised, after the last try."""
        if self.failure is None and not isinstance(self.outcome, Drop):
            return self.outcome
        assert self.failure
        if self.lost:
            raise RequestLost(f"{self.failure} (tried {ATTEMPTS} times)") from self.failure
        raise self.failure


def derive_seed(seed: int, question_id: str, prompt: str, index: int) -> int:
    """The seed of one sequence, 0 to 2^63 - 1: it depends on what the sequence is, never on when it runs."""
    path = f"{seed}\0{question_id}\0{prompt}\0{index}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(path, digest_size=8).digest(), "big") >> 1


@dataclass(slots=True, eq=False)
class OperationExecutor:
    """Executes the operations of one question against engine, verifier and ledger."""

    question: Question
    engine: Engine
    admission: Admission
    kv_limiter: "KvCacheLimiter | None"
    pace: Pace
    recorder: Recorder
    seed: int
    priority: int
    history: QuestionHistory = EMPTY
    notes: list[str] = field(default_factory=list)
    """What was done differently from what the plan asked for."""
    kept: set[str] = field(default_factory=set)  # the heads in the KV cache: one for each thinking level
    on_text: Callable[[TextPiece], None] | None = None
    """Receives the first sequence of the question while it is generated; see `SampleRequest`."""
    model: ModelInfo = field(init=False)
    _rendered: tuple[Prompt, Rendered] | None = None

    def __post_init__(self) -> None:
        self.model = self.engine.model

    def recorded(self, op: int, kind: type[W], *name: object) -> W | None:
        """The outcome of a piece of work in the history; None where it is still to be done.

        A replay books and writes what it takes from the history. Raises as `QuestionHistory.outcome`.
        """
        if not self.history.attempts:
            return None
        events = self.history.take(op, kind, *name)
        if self.history.source:
            ledger = self.admission.ledger
            for event in events:
                ledger.settle(ledger.reserve(event.cost), event.cost)
                self.recorder.write_again(event, op)
        return cast("W | None", self.history.outcome(op, (kind, *name), events))

    def reserved_cost(self, prompt: int, tokens: int, *, at: int) -> Cost:
        """What a later sequence of so many tokens would cost; its request and sample are not counted yet."""
        return replace(self.cost(Usage(prompt, 0, tokens), at=at), requests=0, samples=0)

    async def render(self, prompt: Prompt) -> Rendered:
        """The prompt as the engine reads it; the last one is kept, as the samples of a question share theirs."""
        if self._rendered and self._rendered[0] is prompt:
            return self._rendered[1]
        with ENGINE_ERRORS:
            rendered = await self.engine.render(prompt)
            if fault := fault_in([("tokens", rendered.tokens)]):
                raise EngineError(f"the engine counted wrongly: {fault}")
        self._rendered = prompt, rendered
        return rendered

    async def encode(self, text: str) -> TokenIds | None:
        """The token ids of a text, where the engine knows them."""
        with ENGINE_ERRORS:
            return await self.engine.encode(text)

    def note(self, line: str) -> None:
        """Note what was done differently, once."""
        if line not in self.notes:
            self.notes.append(line)

    async def admit(self, price: Callable[[int], Cost], *, max_tokens: int) -> tuple[Reservation, int]:
        """A reservation for a request of up to `max_tokens` tokens, and how many were granted, once it may begin.

        Raises:
            BudgetExhausted: the ledger refused it.
        """
        if turn := self.pace.begin(self):
            await turn
        return await self.admission.admit(price, max_tokens=max_tokens)

    async def attempt(
        self, request: SampleRequest, reservation: Reservation, *, at: int, counted_as: CountedAs = "sample",
        droppable: bool = False,
    ) -> Attempt:  # fmt: skip
        """Run and book one request that starts `at` a virtual time. It must be recorded before its `result` is taken.

        One that is `droppable` does not wait for room in the KV cache, and ends early where that is full.

        Raises:
            NotRecorded: a replay does not have it.
        """
        began, deadline, failure = time.monotonic(), self.admission.deadline(), None
        outcome: Completion | Drop
        try:
            async with deadline:
                if self.kv_limiter or droppable:
                    outcome = completion = await self._within_cache(request, droppable=droppable)
                else:
                    outcome = completion = await self.engine.sample(request)
                if fault := completion.usage.fault:
                    request.meter.usage = None
                    raise EngineError(f"the engine counted wrongly: {fault}")
            cost = self.cost_of(completion, at=at, seconds=time.monotonic() - began, counted_as=counted_as)
        except NotRecorded:
            self.admission.settle(reservation, NO_COST)
            raise
        except BaseException as error:
            failure = error
            why: Why = "deadline" if deadline.expired() else "cancelled" if is_cancellation(error) else "lost"
            usage = None if request.meter.usage and request.meter.usage.fault else request.meter.usage
            late = self.admission.too_late() if why == "deadline" else None
            outcome = Drop(why, usage, Refusal.of(late) if late else None)
            spent = usage or Usage(request.rendered.tokens, 0, request.params.limit)
            cost = self.cost(spent, seconds=time.monotonic() - began, cancelled=True, counted_as=counted_as)
            if late and not is_cancellation(error):
                failure = late
            elif why == "lost" and not isinstance(error, RequestLost):
                failure = ENGINE_ERRORS.error(error)
        try:
            self.admission.settle(reservation, cost)
        except LedgerViolation as violation:
            failure = violation
        if request.progress:
            request.progress.over(outcome.usage.generated_tokens if isinstance(outcome, Completion) else None)
        return Attempt(outcome, cost, failure)

    async def _within_cache(self, request: SampleRequest, *, droppable: bool) -> Completion:
        """What the engine generates, once there is room in its KV cache, or as far as there is."""
        if self.kv_limiter is None:
            if droppable:
                self.note("when_full=drop has no effect: the engine does not tell what its KV cache holds")
            return await self.engine.sample(request)
        request.meter.usage = Usage()
        grown = len(request.prompt.token_ids)
        head = (request.prompt.head_digest, request.rendered.tokens - grown)
        pieces, limit = (head, (request.prompt.digest, grown)), request.params.limit
        kind = (replace(request.params, max_tokens=1), grown > 0)
        with self.admission.waits():
            charge = await self.kv_limiter.enter(
                pieces, kind=kind, limit=limit, priority=self.priority, droppable=droppable
            )
        if charge.waited:
            self.note(f"narrowed: not all sequences fit the KV cache's {self.kv_limiter.capacity:,} tokens at once")
        if head[0] == self.question.prompt.at_level(request.prompt.thinking_level).head_digest:
            self.kv_limiter.keep(*head)
            self.kept.add(head[0])
        request.meter.usage = None
        completion: Completion | None = None
        drop_timer = asyncio.timeout(None) if droppable else NoDeadline()
        try:
            async with drop_timer:
                if isinstance(drop_timer, asyncio.Timeout) and request.progress:
                    self.kv_limiter.watch(charge, request.progress, partial(drop_timer.reschedule, 0.0))
                completion = await self.engine.sample(request)
        except TimeoutError:
            if not drop_timer.expired():
                raise
            self.note("dropped: the KV cache was full, so samples ended early and do not vote")
            spent = request.meter.usage or Usage(request.rendered.tokens, 0, limit)
            # Its text is not kept, so that it has no parts.
            spent = replace(spent, thinking_tokens=0)
            completion = Completion(
                request.prompt, "", (), "abort", usage=spent, index=request.index, seed=request.seed
            )
        finally:
            usage = completion.usage if completion else request.meter.usage
            generated = None if usage is None or usage.fault else usage.generated_tokens
            ended = completion is not None and completion.finish_reason == "stop"
            self.kv_limiter.leave(charge, generated, ended=ended)
            if request.meter.preemptions:
                self.note("preempted: the KV cache was full, so tokens were computed twice; they are counted once")
        return completion

    def cost(
        self, usage: Usage, *, at: int | None = None, seconds: float = 0.0, cancelled: bool = False,
        counted_as: CountedAs = "sample",
    ) -> Cost:  # fmt: skip
        """What one request with this usage costs; nothing if it never reached the engine.

        `at` is where it started on the question's virtual clock; None where nothing waited for its end.
        """
        end = 0 if at is None else at if counted_as == "likelihood" else at + usage.generated_tokens
        if counted_as == "verdict":
            return verifier_cost(self.model, usage).taking(seconds).until(end)
        prompt, cached, generated = usage.prompt_tokens, usage.cached_tokens, usage.generated_tokens
        flops = self.model.flops(prompt=prompt, cached=cached, generated=generated)
        return Cost(
            prompt_tokens=prompt - cached,
            cached_tokens=cached,
            generated_tokens=0 if cancelled else generated,
            cancelled_tokens=generated if cancelled else 0,
            requests=int(prompt > 0),
            samples=int(counted_as == "sample" and (prompt > 0 or generated > 0)),
            flops=flops,
            seconds=seconds,
            thinking_tokens=usage.thinking_tokens,
            sequential_tokens=end,
        )

    def cost_of(
        self, completion: Completion, *, at: int, seconds: float = 0.0, counted_as: CountedAs = "sample"
    ) -> Cost:
        """What a sequence cost. One that was aborted while it was generated is cancelled work."""
        aborted = completion.finish_reason == "abort"
        return self.cost(completion.usage, at=at, seconds=seconds, cancelled=aborted, counted_as=counted_as)

    def done(self, verifier: Verifier | None) -> None:
        """Release what the question holds in the budget, in the engine and its KV cache, and in the verifier."""
        self.admission.close()
        release(self.question.id, self.engine, verifier)
        if self.kv_limiter:
            for head in self.kept:
                self.kv_limiter.release(head)

    async def prefill(self, op: Prefill) -> Prompt:
        """The prompt with a text appended to the reply, with its token ids where they are known."""
        rendered, digest = await self.render(op.prompt), op.prompt.digest
        self.recorder.head(op.prompt, digest, rendered)
        extended, appended, ids = await self.extended(op, rendered)
        if appended.thinking or appended.text:
            self.recorder.write(Prefilled, prompt=digest, child=extended.digest, token_ids=ids, **appended._asdict())
        return extended

    async def extended(self, op: Prefill, rendered: Rendered) -> tuple[Prompt, Forced, TokenIds | None]:
        """The prompt with the text appended, what was appended, and its token ids where they are known."""
        appended = forced(op.text, op.thinking, self.model.thinking, in_thinking=rendered.in_thinking)
        if not (appended.thinking or appended.text):
            return op.prompt, appended, None
        ids = await self.encode(appended.thinking + appended.text)
        return op.prompt.extended(appended.text, ids or (), thinking=appended.thinking), appended, ids

    async def before_deadline(self, work: Awaitable[T], errors: ErrorsFrom = COMPARER_ERRORS) -> T:
        """Await work that takes no tokens, up to the deadline.

        Raises:
            BudgetExhausted: the deadline passed.
        """
        deadline = self.admission.deadline()
        try:
            async with deadline:
                with errors:
                    return await work
        except TimeoutError:
            raise self.admission.too_late() from None


@dataclass(slots=True)
class Inquiry(Generic[W]):
    """The requests for one verdict, likelihood or probe: reserved and booked one by one, recorded as one event.

    `name` is what the history finds the event by, and `values` are its other fields, which change while it is asked
    for. `at` is where it starts on the question's virtual clock, and then where its last request ended. `refused`
    begins the error of an inquiry that the ledger refused, in whole or in part.
    """

    executor: OperationExecutor
    op: int
    kind: type[W]
    name: tuple[object, ...]
    counted_as: CountedAs
    refused: str
    values: dict[str, Any]
    at: int
    _cost: Cost = NO_COST

    async def request(
        self, prompt: Prompt, rendered: Rendered, params: SamplingParams, *, watch: TokenIds = ()
    ) -> Completion:
        """The reply to one prompt of up to `params.max_tokens` tokens.

        Raises:
            BudgetExhausted: the ledger refused it, or the deadline passed.
            EngineError: it failed.
        """
        executor = self.executor
        seed = derive_seed(executor.seed, executor.question.id, prompt.digest, 0)

        def price(tokens: int) -> Cost:
            return executor.cost(Usage(rendered.tokens, 0, tokens), at=self.at, counted_as=self.counted_as)

        for _ in range(ATTEMPTS):
            reservation, granted = await executor.admit(price, max_tokens=params.limit)
            limited, question = replace(params, max_tokens=granted), executor.question.id
            request = SampleRequest(question, prompt, rendered, limited, 0, seed, executor.priority, watch=watch)
            attempt = await executor.attempt(request, reservation, at=self.at, counted_as=self.counted_as)
            self._cost += attempt.cost
            self.at = max(self.at, attempt.cost.sequential_tokens)
            if not attempt.lost:
                break
        return attempt.result()

    async def reply(self, prompt: Prompt, params: SamplingParams, *, watch: TokenIds = ()) -> Completion:
        """The reply to one prompt, within the context window. Raises as `request`."""
        rendered, context = await self.executor.render(prompt), self.executor.model.context
        room = context - rendered.tokens if context else params.limit
        if room < 1:
            raise EngineError(f"the prompt of {rendered.tokens:,} tokens fills the context window of {context:,}")
        return await self.request(prompt, rendered, replace(params, max_tokens=min(params.limit, room)), watch=watch)

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
            error = ""
        except BudgetExhausted as refusal:
            error, self.values["refusal"] = f"{self.refused}: {refusal}", Refusal.of(refusal)
            raise
        except (LedgerViolation, TraceError):
            raise
        except Exception as failure:
            error = described(failure)
            if self.counted_as == "likelihood":
                raise
        finally:
            cost = self._cost.taking(time.monotonic() - began)
            event = self.executor.recorder.work(self.kind, op=self.op, error=error, cost=cost, **self.values)
        return event
