"""One sequence from start to end: reserve, run, settle, record."""

import asyncio
import hashlib
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, NamedTuple, NoReturn, TypeVar

from reasoner.admission import Admission, KvGate
from reasoner.blame import Blaming, from_outside
from reasoner.budget import Cost, Reservation
from reasoner.comparisons import Comparisons
from reasoner.counts import fault_in
from reasoner.errors import (
    BudgetExhausted,
    EngineError,
    PlanError,
    PromptTooLong,
    RequestLost,
)
from reasoner.past import NOTHING, Past
from reasoner.plan import Sample
from reasoner.protocols import Engine, Recorded, Rendered, SampleRequest
from reasoner.recorder import Draw, Recorder
from reasoner.types import Completion, Prompt, Question, TokenIds, Usage

T = TypeVar("T")
ATTEMPTS = 3
"""How often a request is tried when the engine loses it."""
THE_ENGINE = Blaming("the engine", EngineError)
THE_COMPARER = Blaming("comparing answers", PlanError)
Why = Literal["cancelled", "deadline", "lost"]
"""What cut a request short, in the trace's words."""


class Books(NamedTuple):
    """Who is told what becomes of a request, and whether it draws a sequence for the strategy."""

    done: Callable[[Completion, Cost], None]
    dropped: Callable[[Why, Usage | None, Cost], None]
    passed: Callable[[], None]
    """Called each time the request is about to reach the engine."""
    drawn: bool = True


def derive_seed(seed: int, question_id: str, prompt: str, index: int) -> int:
    """The seed of one sequence: a function of what it is, never of when it runs. 0 to 2^63 - 1."""
    path = f"{seed}\0{question_id}\0{prompt}\0{index}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(path, digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True, slots=True)
class Worker:
    """Does a question's single pieces of work against the engine and the ledger."""

    question: Question
    engine: Engine
    admission: Admission
    gate: KvGate | None
    recorder: Recorder
    comparisons: Comparisons
    seed: int
    priority: int
    past: Past = NOTHING
    notes: list[str] = field(default_factory=list)
    """What was not done as the plan asked for it."""

    @property
    def all_notes(self) -> tuple[str, ...]:
        """The engine's notes and the question's."""
        return (*self.engine.notes, *self.notes, *self.comparisons.notes)

    async def sequence(
        self, op: Sample, draw: Draw, passed: Callable[[], None], *, interruptible: bool = True
    ) -> Completion:
        """Draw one sequence of an operation; `passed` is called when it is about to reach the engine.

        `interruptible` says whether it may be cancelled alone before it ends.

        Raises:
            BudgetExhausted: the ledger refused it, or the deadline passed.
            PromptTooLong: the question fills the context window. (A chain or a conversation that has grown to fill it
                is cut, "length".)
        """
        rendered = await self.render(draw.prompt)
        self.recorder.head(draw.prompt, draw.digest, rendered)
        if draw.op in self.past.cancelled:
            passed()
            return await until_cancelled()
        if drawn := self.past.reply(draw.op, draw.prompt, draw.digest, draw.index):
            return drawn
        most = await self._room(rendered, op)
        if most < 1:
            return Completion(draw.prompt, "", (), "length", index=draw.index)

        def price(tokens: int) -> Cost:
            cost = self.cost(Usage(rendered.tokens, 0, tokens))
            return cost + self.held_back(rendered.tokens + tokens, op.reserve) if op.reserve else cost

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

        books = Books(partial(self.recorder.sampled, draw), partial(self.recorder.dropped, draw), passed)
        return await self.request(ask, draw.digest, price, books, most=most)

    def held_back(self, prompt: int, tokens: int) -> Cost:
        """What a sequence of so many tokens would cost later; whether one may be drawn at all is asked then."""
        return replace(self.cost(Usage(prompt, 0, tokens)), requests=0, samples=0)

    async def _room(self, rendered: Rendered, op: Sample) -> int:
        """How many tokens may be drawn so that window and reserve allow it; less than 1 where nothing fits."""
        context = self.engine.model.context
        if not context or rendered.token_ids is None:
            return op.params.max_tokens
        room = context - rendered.tokens
        if room < 1:
            asked = await self.render(self.question.prompt)
            if asked.tokens >= context:
                raise PromptTooLong(asked.tokens, context)
            self._note(f"cut: a prompt of {rendered.tokens:,} tokens filled the context window of {context:,}")
        return min(op.params.max_tokens, room - op.reserve if room > op.reserve else room)

    def extent(self, digest: str) -> int:
        """One more than the highest index that is on record of the sequences drawn from a prompt, by its digest."""
        before = self.past.extent(digest)
        if isinstance(self.engine, Recorded):
            before = max(before, self.engine.extent(self.question.id, digest))
        return before

    async def render(self, prompt: Prompt) -> Rendered:
        """The prompt as the engine reads it."""
        with THE_ENGINE:
            rendered = await self.engine.render(prompt)
            if fault := fault_in([("tokens", rendered.tokens)]):
                raise EngineError(f"the engine counted wrongly: {fault}")
            return rendered

    async def encode(self, text: str) -> TokenIds | None:
        """The token ids of a text, where the engine knows them."""
        with THE_ENGINE:
            return await self.engine.encode(text)

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
        deadline, too_late = self.deadline()
        try:
            async with deadline:
                completion = await self._through_gate(request, digest, books.passed)
                if fault := completion.usage.fault:
                    request.meter.usage = None
                    raise EngineError(f"the engine counted wrongly: {fault}")
        except BudgetExhausted:
            # A recorded refusal: nothing was drawn.
            self.admission.settle(reservation, Cost())
            raise
        except BaseException as failure:
            # A replay says in this way that the recorded deadline passed.
            late = deadline.expired() or (isinstance(failure, TimeoutError) and isinstance(self.engine, Recorded))
            why: Why = "deadline" if late else "cancelled" if from_outside(failure) else "lost"
            self._book_dropped(request, reservation, why, books, time.monotonic() - began)
            if from_outside(failure):
                raise
            if late:
                raise too_late from None
            raise THE_ENGINE.error(failure) from failure
        cost = self.cost_of(completion, drawn=books.drawn).taking(time.monotonic() - began)
        self.settle(reservation, cost, partial(books.done, completion, cost))
        return completion

    def deadline(self) -> tuple[asyncio.Timeout, BudgetExhausted]:
        """A timeout at the nearest deadline, and what it means when it passes."""
        ledger = self.admission.ledger
        left = ledger.remaining_seconds()
        too_late = BudgetExhausted("seconds", needed=0, free=0, limit=round(left + ledger.elapsed, 3))
        return asyncio.timeout(None if left == math.inf else left), too_late

    async def _through_gate(self, request: SampleRequest, digest: str, passed: Callable[[], None]) -> Completion:
        if self.gate is None:
            passed()
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
        passed()
        try:
            return await self.engine.sample(request)
        finally:
            self.gate.leave(shared, own=own)

    def _book_dropped(
        self, request: SampleRequest, reservation: Reservation, why: Why, books: Books, seconds: float
    ) -> None:
        usage = request.meter.usage
        if usage and usage.fault:
            usage = None
        unknown = Usage(request.rendered.tokens, 0, request.params.max_tokens)
        cost = self.cost(usage or unknown, seconds=seconds, cancelled=True, drawn=books.drawn)
        self.settle(reservation, cost, partial(books.dropped, why, usage, cost))

    def settle(self, reservation: Reservation, cost: Cost, record: Callable[[], None]) -> None:
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
        ids = await self.encode(text)
        extended = prompt.extended(text, ids or ())
        self.recorder.head(prompt, prompt.digest, await self.render(prompt))
        self.recorder.extended(prompt, extended, text, ids)
        return extended

    async def in_time(self, work: Awaitable[T]) -> T:
        """What takes no tokens, but may not outlast the deadline.

        Raises:
            BudgetExhausted: the deadline passed.
        """
        deadline, too_late = self.deadline()
        try:
            async with deadline:
                with THE_COMPARER:
                    found = await work
        except TimeoutError:
            raise too_late from None
        return found


async def until_cancelled() -> NoReturn:
    """What the plan once gave up is not begun again; it gives it up again."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError
