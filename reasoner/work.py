"""One sequence or one rating from start to end: reserve, run, settle, record."""

import asyncio
import hashlib
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, NamedTuple, NoReturn

from reasoner.admission import Admission, Floor, KvGate
from reasoner.budget import MIN_USEFUL_TOKENS, Cost, Ledger, Reservation
from reasoner.catalog import spec_of
from reasoner.errors import (
    BudgetExhausted,
    EngineError,
    LedgerViolation,
    PromptTooLong,
    ReasonerError,
    RequestLost,
    TraceError,
    UsageError,
)
from reasoner.past import NOTHING, Past
from reasoner.plan import Sample
from reasoner.protocols import Comparer, Engine, PairVerifier, Rendered, SampleRequest, Tab, Verifier
from reasoner.recorder import Draw, Recorder
from reasoner.types import CANCELLED, NOT_RATED, Answer, Completion, Prompt, Question, Rating, Usage

ATTEMPTS = 3
"""How often a request is tried when the engine loses it."""
LONGEST_FLOOR = 4096
"""Tokens beyond which no room is kept for a first sample before it is asked for."""
Why = Literal["cancelled", "deadline", "lost"]
"""What cut a request short, in the trace's words."""


class Books(NamedTuple):
    """Who writes down what became of a request, and whether it draws a sequence for the strategy."""

    done: Callable[[Completion, Cost], None]
    dropped: Callable[[Why, Usage | None, Cost], None]
    drawn: bool = True


def derive_seed(seed: int, question_id: str, prompt: str, index: int) -> int:
    """The seed of one sequence: a function of what it is, never of when it runs. 0 to 2^63 - 1."""
    path = f"{seed}\0{question_id}\0{prompt}\0{index}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(path, digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True, slots=True)
class Worker:
    """Does a question's single pieces of work against the engine, the verifier and the ledger."""

    question: Question
    engine: Engine
    admission: Admission
    gate: KvGate | None
    recorder: Recorder
    comparer: Comparer
    seed: int
    priority: int
    past: Past = NOTHING
    notes: list[str] = field(default_factory=list)
    """What was not done as the plan asked for it."""

    @property
    def all_notes(self) -> tuple[str, ...]:
        """The engine's notes and the question's."""
        return (*self.engine.notes, *self.notes)

    async def sequence(self, draw: Draw, op: Sample, *, interruptible: bool = True) -> Completion:
        """Draw one sequence of an operation; `interruptible` says whether it may be cancelled alone before it ends.

        Raises:
            BudgetExhausted: the ledger refused it, or the deadline passed.
            PromptTooLong: the question fills the context window. (A chain or a conversation that has grown to fill it
                is cut, "length".)
        """
        rendered = await self.engine.render(draw.prompt)
        self.recorder.head(draw.prompt, draw.digest, rendered)
        if draw.op in self.past.cancelled:
            return await _until_cancelled()
        if drawn := self.past.reply(draw.op, draw.prompt, draw.digest, draw.index):
            return drawn
        most = await self._room(rendered, op)
        if most < 1:
            return Completion(draw.prompt, "", (), "length", index=draw.index)

        def price(tokens: int) -> Cost:
            cost = self.cost(Usage(rendered.tokens, 0, tokens))
            return cost + self._held_back(rendered.tokens + tokens, op.reserve) if op.reserve else cost

        seed = derive_seed(self.seed, self.question.id, draw.digest, draw.index)

        def ask(tokens: int) -> SampleRequest:
            params = replace(op.params, max_tokens=tokens)
            timed = self.admission.ledger.remaining_seconds() < math.inf
            return SampleRequest(
                self.question.id,
                draw.prompt,
                rendered,
                params,
                draw.index,
                seed,
                self.priority,
                floor=op.floor,
                interruptible=interruptible or timed,
            )

        books = Books(partial(self.recorder.sampled, draw), partial(self.recorder.dropped, draw))
        return await self.request(ask, draw.digest, price, books, most=most)

    def _held_back(self, prompt: int, tokens: int) -> Cost:
        """What a sequence of so many tokens would cost later; whether one may be drawn at all is asked then."""
        return replace(self.cost(Usage(prompt, 0, tokens)), requests=0, samples=0)

    async def _room(self, rendered: Rendered, op: Sample) -> int:
        """How many tokens may be drawn so that window and reserve allow it; less than 1 where nothing fits."""
        context = self.engine.model.context
        if not context or rendered.token_ids is None:
            return op.params.max_tokens
        room = context - rendered.tokens
        if room < 1:
            asked = await self.engine.render(self.question.prompt)
            if asked.tokens >= context:
                raise PromptTooLong(asked.tokens, context)
            self._note(f"cut: a prompt of {rendered.tokens:,} tokens filled the context window of {context:,}")
        return min(op.params.max_tokens, room - op.reserve if room > op.reserve else room)

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)

    async def request(
        self,
        ask: Callable[[int], SampleRequest],
        digest: str,
        price: Callable[[int], Cost],
        books: Books,
        *,
        most: int,
    ) -> Completion:
        """Reserve, run and book one request for up to `most` tokens; a lost one is reserved anew and tried again.

        `ask` makes the request for the tokens that were granted, `digest` is that of its prompt.

        Raises:
            BudgetExhausted: the ledger refused it, or the deadline passed.
        """
        for attempt in range(1, ATTEMPTS + 1):
            reservation, granted = await self.admission.admit(price, most=most)
            try:
                return await self._attempt(ask(granted), digest, reservation, books)
            except RequestLost as lost:
                if attempt == ATTEMPTS:
                    raise RequestLost(f"{lost} (tried {ATTEMPTS} times)") from lost
        raise AssertionError

    async def _attempt(self, request: SampleRequest, digest: str, reservation: Reservation, books: Books) -> Completion:
        began = time.monotonic()
        deadline, too_late = self._deadline()
        try:
            async with deadline:
                completion = await self._through_gate(request, digest)
        except BudgetExhausted:
            # A recorded refusal: nothing was drawn.
            self.admission.settle(reservation, Cost())
            raise
        except BaseException as failure:
            self._book_dropped(request, reservation, failure, books, time.monotonic() - began)
            if isinstance(failure, TimeoutError):
                raise too_late from None
            if isinstance(failure, Exception) and not isinstance(failure, ReasonerError):
                raise EngineError(f"the engine failed with {type(failure).__name__}: {failure}") from failure
            raise
        cost = self.cost_of(completion, drawn=books.drawn).taking(time.monotonic() - began)
        self._settle(reservation, cost, partial(books.done, completion, cost))
        return completion

    def _deadline(self) -> tuple[asyncio.Timeout, BudgetExhausted]:
        """A timeout at the nearest deadline, and what it means when it passes."""
        ledger = self.admission.ledger
        left = ledger.remaining_seconds()
        too_late = BudgetExhausted("seconds", needed=0, free=0, limit=round(left + ledger.elapsed, 3))
        return asyncio.timeout(None if left == math.inf else left), too_late

    async def _through_gate(self, request: SampleRequest, digest: str) -> Completion:
        if self.gate is None:
            return await self.engine.sample(request)
        request.meter.usage = Usage()
        grown = len(request.prompt.token_ids)
        head = (request.prompt.head_digest, request.rendered.tokens - grown)
        shared = (head, (digest, grown))
        own = request.params.max_tokens
        if await self.gate.enter(shared, own=own, place=self.priority):
            self._note(f"narrowed: not all sequences fit the KV cache's {self.gate.capacity:,} tokens at once")
        if head[0] == self.question.prompt.head_digest:
            self.gate.keep(*head)
        request.meter.usage = None
        try:
            return await self.engine.sample(request)
        finally:
            self.gate.leave(shared, own=own)

    def _book_dropped(
        self, request: SampleRequest, reservation: Reservation, failure: BaseException, books: Books, seconds: float
    ) -> None:
        usage = request.meter.usage
        unknown = Usage(request.rendered.tokens, 0, request.params.max_tokens)
        cost = self.cost(usage or unknown, seconds=seconds, cancelled=True, drawn=books.drawn)
        self._settle(reservation, cost, partial(books.dropped, why_dropped(failure), usage, cost))

    def _settle(self, reservation: Reservation, cost: Cost, record: Callable[[], None]) -> None:
        """Book an operation and record it, also one that turns out to have broken its reservation."""
        try:
            self.admission.settle(reservation, cost)
        finally:
            record()

    def cost(self, usage: Usage, *, seconds: float = 0.0, cancelled: bool = False, drawn: bool = True) -> Cost:
        """What one request with this usage costs; nothing, where it never reached the engine.

        Of sequences drawn in one request the first carries the prompt, and the request.
        """
        computed = usage.prompt_tokens - usage.cached_tokens
        flops = self.engine.model.flops(
            prompt=usage.prompt_tokens, cached=usage.cached_tokens, generated=usage.generated_tokens
        )
        return Cost(
            prompt_tokens=computed,
            cached_tokens=usage.cached_tokens,
            generated_tokens=0 if cancelled else usage.generated_tokens,
            cancelled_tokens=usage.generated_tokens if cancelled else 0,
            requests=int(usage.prompt_tokens > 0),
            samples=int(drawn and usage != Usage()),
            flops=flops,
            seconds=seconds,
        )

    def cost_of(self, completion: Completion, *, drawn: bool = True) -> Cost:
        """What a sequence cost: one that was cut while it was drawn is cancelled work."""
        return self.cost(completion.usage, cancelled=completion.finish_reason == "abort", drawn=drawn)

    def done(self) -> None:
        """The question is over: nothing of it is kept in the cache any more, nor in the budget."""
        self.admission.close()
        if self.gate:
            self.gate.let_go(self.question.prompt.head_digest)

    async def extend(self, prompt: Prompt, text: str) -> Prompt:
        """The prompt with a text put into the mouth of the reply, and the ids that spell it where they are known."""
        ids = await self.engine.encode(text)
        extended = prompt.extended(text, ids or ())
        self.recorder.head(prompt, prompt.digest, await self.engine.render(prompt))
        self.recorder.extended(prompt, extended, text, ids)
        return extended

    async def compare(self, pairs: Sequence[tuple[Answer, Answer]]) -> tuple[bool, ...]:
        """Which pairs of the question's answers are one.

        Raises:
            BudgetExhausted: the deadline passed.
        """
        deadline, too_late = self._deadline()
        known = [self.past.same.get(frozenset((a.key, b.key))) for a, b in pairs]
        if all(one is not None for one in known):
            return tuple(bool(one) for one in known)
        try:
            async with deadline:
                verdicts = await self.comparer.same_many(self.question.space, pairs)
        except TimeoutError:
            raise too_late from None
        self.recorder.compared(pairs, verdicts)
        return verdicts

    async def rating(
        self, op: int, verifier: Verifier, candidate: Completion, *, other: Completion | None = None, reserve: int = 0
    ) -> Rating:
        """Rate one candidate, or how much better it is than the other; what the verifier raises becomes an error.

        Raises:
            BudgetExhausted: the ledger refused it, or the deadline passed.
            UsageError: the verifier compares no pairs.
        """
        if other and not isinstance(verifier, PairVerifier):
            raise UsageError(
                f"the verifier {spec_of(verifier)} rates candidates and compares none: use one such as judge"
            )
        against = (other.prompt.digest, other.index) if other else None
        if op in self.past.cancelled:
            return await _until_cancelled()
        if rated := self.past.rating(op, (candidate.prompt.digest, candidate.index, against)):
            return rated
        try:
            worst = bound = await self._bound(verifier, candidate, other)
            if reserve:
                grown = await self.engine.render(candidate.prompt.then(candidate))
                worst += self._held_back(grown.tokens, reserve)
            reservation, _ = await self.admission.admit(lambda _: worst, most=1)
        except BudgetExhausted as refusal:
            self.recorder.scored(op, candidate, other, Rating(None, Cost(), error=f"{NOT_RATED}: {refusal}"), Cost())
            raise
        except (LedgerViolation, TraceError):
            raise
        except Exception as failure:
            rating = _failed(failure, Cost())
            self.recorder.scored(op, candidate, other, rating, Cost())
            return rating
        record = partial(self.recorder.scored, op, candidate, other)
        return await self._rate(partial(self._verdict, verifier, candidate, other), bound, reservation, record)

    async def _bound(self, verifier: Verifier, candidate: Completion, other: Completion | None) -> Cost:
        if other is None:
            return await verifier.bound(self.question, candidate, self.engine)
        assert isinstance(verifier, PairVerifier)
        return await verifier.bound_pair(self.question, candidate, other, self.engine)

    async def _verdict(self, verifier: Verifier, candidate: Completion, other: Completion | None, tab: Tab) -> Rating:
        if other is None:
            return await verifier.score(self.question, candidate, self.engine, tab)
        assert isinstance(verifier, PairVerifier)
        return await verifier.prefer(self.question, candidate, other, self.engine, tab)

    async def _rate(
        self,
        verdict: Callable[[Tab], Awaitable[Rating]],
        bound: Cost,
        reservation: Reservation,
        record: Callable[[Rating, Cost], None],
    ) -> Rating:
        began = time.monotonic()
        deadline, too_late = self._deadline()
        tab = Tab()
        cost = bound
        rating = Rating(None, cost, error=CANCELLED)
        try:
            async with deadline:
                rating = await verdict(tab)
            cost = rating.cost.taking(time.monotonic() - began)
        except TraceError:
            raise
        except BaseException as failure:
            cost = (bound if tab.cost is None else tab.cost).taking(time.monotonic() - began)
            rating = Rating(None, cost, error=CANCELLED)
            if not isinstance(failure, Exception):
                raise
            if deadline.expired():
                rating = Rating(None, cost, error=f"{NOT_RATED}: {too_late}")
                raise too_late from None
            rating = _failed(failure, cost)
        finally:
            self._settle(reservation, cost, lambda: record(rating, cost))
        return rating


async def keep_floors(run: Ledger, workers: Sequence[Worker]) -> None:
    """Keep room for one sample of each question: half an equal share each, or what is just useful where that is more.

    The other half lets first samples be as long as they may, most of which need less. Where the budget is too small for
    all, the first questions have theirs.
    """
    if not workers or not str(run.budget):
        return
    share = run.budget.divided(2 * len(workers))
    for worker in workers:
        rendered = await worker.engine.render(worker.question.prompt)

        def price(tokens: int, prompt: int = rendered.tokens, worker: Worker = worker) -> Cost:
            return worker.cost(Usage(prompt, 0, tokens))

        try:
            tokens = Ledger(share, prices=run.prices).fit(price, most=LONGEST_FLOOR)
        except BudgetExhausted:
            tokens = MIN_USEFUL_TOKENS
        if run.shortfall(price(tokens)):
            return
        worker.admission.floor = Floor(run, price(tokens))


def _failed(failure: Exception, cost: Cost) -> Rating:
    return Rating(None, cost, error=f"{type(failure).__name__}: {failure}"[:500])


async def _until_cancelled() -> NoReturn:
    """What the plan once gave up is not begun again; it gives it up again."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError


def why_dropped(failure: BaseException) -> Why:
    """What cut a sequence short, in the trace's words."""
    if isinstance(failure, TimeoutError):
        return "deadline"
    return "cancelled" if isinstance(failure, asyncio.CancelledError) else "lost"
