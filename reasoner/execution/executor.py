"""Executes a question's single operations: look into the history, reserve, run, book, record."""

import asyncio
import hashlib
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, TypeVar, cast

from reasoner.budget import Cost, Reservation
from reasoner.engine import Engine, Rendered, SampleRequest
from reasoner.errors import (
    BudgetExhausted,
    EngineError,
    LedgerViolation,
    NotRecorded,
    PromptTooLong,
    ReasonerError,
    RequestLost,
    TraceError,
    UsageError,
    VerifierError,
)
from reasoner.execution.admission import Admission, KvCacheLimiter
from reasoner.execution.comparisons import Comparisons
from reasoner.operations import Sample
from reasoner.registry import spec_of
from reasoner.system.foreign import ErrorsFrom, described, fault_in, is_cancellation, where
from reasoner.trace.events import ATTEMPTS, Prefilled, Sampled, Scored, Work
from reasoner.trace.history import EMPTY, QuestionHistory
from reasoner.trace.recorder import Recorder, SequenceId, Why
from reasoner.types import CANCELLED, NOT_RATED, Completion, Prompt, Question, Rating, TokenIds, Usage
from reasoner.verifier import CostMeter, PairVerifier, Verifier

T = TypeVar("T")
W = TypeVar("W", bound=Work)
ENGINE_ERRORS = ErrorsFrom("the engine", EngineError)
COMPARER_ERRORS = ErrorsFrom("comparing answers")


class Bookkeeping(NamedTuple):
    """What to call when a request completes, is dropped, or is about to reach the engine."""

    done: Callable[[Completion, Cost], None]
    dropped: Callable[[Why, Usage | None, Cost], None]
    passed: Callable[[], None]
    is_sample: bool = True
    """Whether the request generates a sequence for the strategy."""


def derive_seed(seed: int, question_id: str, prompt: str, index: int) -> int:
    """The seed of one sequence, 0 to 2^63 - 1: it depends on what the sequence is, never on when it runs."""
    path = f"{seed}\0{question_id}\0{prompt}\0{index}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(path, digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True, slots=True)
class OperationExecutor:
    """Executes the operations of one question against engine, verifier and ledger."""

    question: Question
    engine: Engine
    admission: Admission
    kv_limiter: KvCacheLimiter | None
    recorder: Recorder
    comparisons: Comparisons
    seed: int
    priority: int
    history: QuestionHistory = EMPTY
    notes: list[str] = field(default_factory=list)
    """What was done differently from what the plan asked for."""
    kept: set[str] = field(default_factory=set)  # the heads in the KV cache: one for each thinking level

    @property
    def all_notes(self) -> tuple[str, ...]:
        """The engine's notes and the question's."""
        return (*self.engine.notes, *self.notes, *self.comparisons.notes)

    async def sample(
        self, op: Sample, sequence: SequenceId, passed: Callable[[], None], *, interruptible: bool = True
    ) -> Completion:
        """Generate one sequence of an operation; `passed` is called when it is about to reach the engine.

        `interruptible` says whether it may be cancelled alone before it ends.

        Raises:
            BudgetExhausted: the ledger refused it, or the deadline passed.
            PromptTooLong: the question fills the context window. (A chain or a conversation that has grown to fill it
                ends with "length".)
        """
        rendered = await self.render(sequence.prompt)
        self.recorder.head(sequence.prompt, sequence.digest, rendered)
        max_tokens = await self._room(rendered, op)
        if max_tokens < 1:
            return Completion(sequence.prompt, "", (), "length", index=sequence.index)
        if event := self.recorded(sequence.op, Sampled, sequence.digest, sequence.index):
            return event.completion(sequence.prompt)

        def price(tokens: int) -> Cost:
            cost = self.cost(Usage(rendered.tokens, 0, tokens))
            return cost + self.held_back(rendered.tokens + tokens, op.reserve) if op.reserve else cost

        seed = derive_seed(self.seed, self.question.id, sequence.digest, sequence.index)

        def ask(tokens: int) -> SampleRequest:
            params = replace(op.params, max_tokens=tokens)
            timed = self.admission.ledger.remaining_seconds() < math.inf
            return SampleRequest(
                self.question.id, sequence.prompt, rendered, params, sequence.index, seed, self.priority,
                floor=op.floor, interruptible=interruptible or timed,
            )  # fmt: skip

        books = Bookkeeping(partial(self.recorder.sampled, sequence), partial(self.recorder.dropped, sequence), passed)
        return await self.request(ask, sequence.digest, price, books, max_tokens=max_tokens)

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

    def held_back(self, prompt: int, tokens: int) -> Cost:
        """What a later sequence of so many tokens would cost; its request and sample are not counted yet."""
        return replace(self.cost(Usage(prompt, 0, tokens)), requests=0, samples=0)

    async def _room(self, rendered: Rendered, op: Sample) -> int:
        """How many tokens the context window and the reserve allow; less than 1 where nothing fits."""
        context = self.engine.model.context
        if not context:
            return op.params.limit
        room = context - rendered.tokens
        if rendered.token_ids is None:
            # The prompt is shorter than its bound: only a limit that is most of the window is lowered.
            return min(op.params.limit, max(room, context // 2))
        if room < 1:
            question = await self.render(self.question.prompt)
            if question.tokens >= context:
                raise PromptTooLong(question.tokens, context)
            self.note(f"cut: a prompt of {rendered.tokens:,} tokens filled the context window of {context:,}")
        return min(op.params.limit, room - op.reserve if room > op.reserve else room)

    async def render(self, prompt: Prompt) -> Rendered:
        """The prompt as the engine reads it."""
        with ENGINE_ERRORS:
            rendered = await self.engine.render(prompt)
            if fault := fault_in([("tokens", rendered.tokens)]):
                raise EngineError(f"the engine counted wrongly: {fault}")
            return rendered

    async def encode(self, text: str) -> TokenIds | None:
        """The token ids of a text, where the engine knows them."""
        with ENGINE_ERRORS:
            return await self.engine.encode(text)

    def note(self, line: str) -> None:
        """Tell the user once that something is not as the plan asked for."""
        if line not in self.notes:
            self.notes.append(line)

    async def request(
        self,
        ask: Callable[[int], SampleRequest],
        digest: str,
        price: Callable[[int], Cost],
        books: Bookkeeping,
        *,
        max_tokens: int,
    ) -> Completion:
        """Reserve, run and book one request for up to `max_tokens` tokens; a lost one is reserved and tried again.

        `ask` makes the request for the granted number of tokens; `digest` is that of its prompt.

        Raises:
            BudgetExhausted: the ledger refused it, or the deadline passed.
        """
        for attempt in range(1, ATTEMPTS + 1):
            reservation, granted = await self.admission.admit(price, max_tokens=max_tokens)
            try:
                return await self._attempt(ask(granted), digest, reservation, books)
            except RequestLost as lost:
                if attempt == ATTEMPTS:
                    raise RequestLost(f"{lost} (tried {ATTEMPTS} times)") from lost
        raise AssertionError

    async def _attempt(
        self, request: SampleRequest, digest: str, reservation: Reservation, books: Bookkeeping
    ) -> Completion:
        began = time.monotonic()
        deadline = self.deadline()
        try:
            async with deadline:
                completion = await self._within_cache(request, digest, books.passed)
                if fault := completion.usage.fault:
                    request.meter.usage = None
                    raise EngineError(f"the engine counted wrongly: {fault}")
        except NotRecorded:
            self.admission.settle(reservation, Cost())
            raise
        except BaseException as failure:
            why: Why = "deadline" if deadline.expired() else "cancelled" if is_cancellation(failure) else "lost"
            usage = None if request.meter.usage and request.meter.usage.fault else request.meter.usage
            spent = usage or Usage(request.rendered.tokens, 0, request.params.limit)
            cost = self.cost(spent, seconds=time.monotonic() - began, cancelled=True, is_sample=books.is_sample)
            self.settle(reservation, cost, partial(books.dropped, why, usage, cost))
            if is_cancellation(failure):
                raise
            if deadline.expired():
                raise self.too_late() from None
            raise ENGINE_ERRORS.error(failure) from failure
        cost = self.cost_of(completion, is_sample=books.is_sample).taking(time.monotonic() - began)
        self.settle(reservation, cost, partial(books.done, completion, cost))
        return completion

    def deadline(self) -> asyncio.Timeout:
        """A timeout at the nearest deadline."""
        left = self.admission.ledger.remaining_seconds()
        return asyncio.timeout(None if left == math.inf else left)

    def too_late(self) -> BudgetExhausted:
        """The refusal to raise when the nearest deadline passed."""
        ledger = self.admission.ledger
        return BudgetExhausted("seconds", needed=0, free=0, limit=round(ledger.remaining_seconds() + ledger.elapsed, 3))

    async def _within_cache(self, request: SampleRequest, digest: str, passed: Callable[[], None]) -> Completion:
        if self.kv_limiter is None:
            passed()
            return await self.engine.sample(request)
        request.meter.usage = Usage()
        grown = len(request.prompt.token_ids)
        head = (request.prompt.head_digest, request.rendered.tokens - grown)
        shared = (head, (digest, grown))
        own = request.params.limit
        if await self.kv_limiter.enter(shared, own=own, priority=self.priority):
            self.note(f"narrowed: not all sequences fit the KV cache's {self.kv_limiter.capacity:,} tokens at once")
        if head[0] == self.question.prompt.at_level(request.prompt.thinking_level).head_digest:
            self.kv_limiter.keep(*head)
            self.kept.add(head[0])
        request.meter.usage = None
        passed()
        try:
            return await self.engine.sample(request)
        finally:
            self.kv_limiter.leave(shared, own=own)

    def settle(self, reservation: Reservation, cost: Cost, record: Callable[[], None]) -> None:
        """Book an operation and record it, even if it exceeded its reservation."""
        try:
            self.admission.settle(reservation, cost)
        finally:
            record()

    def cost(self, usage: Usage, *, seconds: float = 0.0, cancelled: bool = False, is_sample: bool = True) -> Cost:
        """What one request with this usage costs; nothing if it never reached the engine.

        Of several sequences from one request, the first carries the cost of the prompt and of the request.
        """
        prompt, cached, generated = usage.prompt_tokens, usage.cached_tokens, usage.generated_tokens
        flops = self.engine.model.flops(prompt=prompt, cached=cached, generated=generated)
        return Cost(
            prompt_tokens=prompt - cached,
            cached_tokens=cached,
            generated_tokens=0 if cancelled else generated,
            cancelled_tokens=generated if cancelled else 0,
            requests=int(prompt > 0),
            samples=int(is_sample and usage != Usage()),
            flops=flops,
            seconds=seconds,
            thinking_tokens=usage.thinking_tokens,
        )

    def cost_of(self, completion: Completion, *, is_sample: bool = True) -> Cost:
        """What a sequence cost. One that was aborted while it was generated is cancelled work."""
        return self.cost(completion.usage, cancelled=completion.finish_reason == "abort", is_sample=is_sample)

    def done(self) -> None:
        """Release what the question holds in the budget and in the KV cache."""
        self.admission.close()
        if self.kv_limiter:
            for head in self.kept:
                self.kv_limiter.release(head)

    async def prefill(self, prompt: Prompt, text: str) -> Prompt:
        """The prompt with a text appended to the reply, with its token ids where they are known."""
        ids = await self.encode(text)
        extended = prompt.extended(text, ids or ())
        self.recorder.head(prompt, prompt.digest, await self.render(prompt))
        self.recorder.write(Prefilled, prompt=prompt.digest, child=extended.digest, text=text, token_ids=ids)
        return extended

    async def before_deadline(self, work: Awaitable[T]) -> T:
        """Await work that takes no tokens, up to the deadline.

        Raises:
            BudgetExhausted: the deadline passed.
        """
        deadline = self.deadline()
        try:
            async with deadline:
                with COMPARER_ERRORS:
                    return await work
        except TimeoutError:
            raise self.too_late() from None

    async def rate(
        self, op: int, verifier: Verifier, candidate: Completion, *, other: Completion | None = None, reserve: int = 0
    ) -> Rating:
        """Rate one candidate, or how much better it is than `other`. What the verifier raises becomes an error.

        Raises:
            BudgetExhausted: the ledger refused it, or the deadline passed.
            UsageError: the verifier does not compare pairs.
        """
        if other is None:
            bound_of = partial(verifier.bound, self.question, candidate, self.engine)
            rate = partial(verifier.score, self.question, candidate, self.engine)
        elif isinstance(verifier, PairVerifier):
            bound_of = partial(verifier.bound_pair, self.question, candidate, other, self.engine)
            rate = partial(verifier.compare_pair, self.question, candidate, other, self.engine)
        else:
            raise UsageError(
                f"the verifier {spec_of(verifier)} rates candidates and does not compare pairs: use one such as judge"
            )
        digest, against = candidate.prompt.digest, (other.prompt.digest, other.index) if other else None
        if event := self.recorded(op, Scored, digest, candidate.index, against):
            return event.rating

        record = partial(self.recorder.scored, op, candidate, digest, against)
        try:
            worst = bound = _checked(await bound_of())
            if reserve:
                grown = await self.render(candidate.prompt.then(candidate))
                worst += self.held_back(grown.tokens, reserve)
            reservation, _ = await self.admission.admit(lambda _: worst, max_tokens=1)
        except BudgetExhausted as refusal:
            record(Rating(None, Cost(), error=f"{NOT_RATED}: {refusal}"), Cost())
            raise
        except (LedgerViolation, TraceError):
            raise
        except BaseException as failure:
            if is_cancellation(failure):
                raise
            rating = Rating(None, Cost(), error=_failure(failure))
            record(rating, Cost())
            return rating
        return await self._rate(rate, bound, reservation, record)

    async def _rate(
        self,
        rate: Callable[[CostMeter], Awaitable[Rating]],
        bound: Cost,
        reservation: Reservation,
        record: Callable[[Rating, Cost], None],
    ) -> Rating:
        """Run, book and record one rating; one that does not complete is booked at its meter, or else at its bound."""
        began = time.monotonic()
        deadline = self.deadline()
        cost_meter, cost = CostMeter(), bound
        rating = Rating(None, cost, error=CANCELLED)
        try:
            async with deadline:
                rating = await rate(cost_meter)
            cost = _checked(rating.cost).taking(time.monotonic() - began)
        except TraceError:
            raise
        except BaseException as failure:
            spent = bound if cost_meter.cost is None or cost_meter.cost.fault() else cost_meter.cost
            cost = spent.taking(time.monotonic() - began)
            rating = Rating(None, cost, error=CANCELLED)
            if is_cancellation(failure):
                raise
            if deadline.expired():
                refusal = self.too_late()
                rating = Rating(None, cost, error=f"{NOT_RATED}: {refusal}")
                raise refusal from None
            rating = Rating(None, cost, error=_failure(failure))
        finally:
            self.settle(reservation, cost, lambda: record(rating, cost))
        return rating


def _checked(cost: Cost) -> Cost:
    if fault := cost.fault():
        raise VerifierError(f"the verifier counted wrongly: {fault}")
    return cost


def _failure(failure: BaseException) -> str:
    """The failure of a verifier in one line, with its location in foreign code."""
    return described(failure) + ("" if isinstance(failure, ReasonerError) else where(failure))
