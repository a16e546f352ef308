"""Executes a question's single operations: look into the history, reserve, run, book, record."""

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar, cast

from reasoner.answers.questions import Question
from reasoner.budget import Cost
from reasoner.engine import Engine, RenderedPrompt, TextPiece, release
from reasoner.errors import EngineError
from reasoner.execution.admission import Admission
from reasoner.execution.gate import EngineLimits
from reasoner.execution.order import RunningOperations
from reasoner.models.info import ModelInfo
from reasoner.models.thinking import ForcedText, forced
from reasoner.strategy import Prefill
from reasoner.system.foreign import ForeignErrors, fault_in
from reasoner.trace.events import Prefilled, Work
from reasoner.trace.history import EMPTY, QuestionHistory
from reasoner.trace.recorder import Recorder
from reasoner.types import Answer, Completion, Prompt, TokenIds, Usage
from reasoner.verifier import Verifier, verifier_cost

T = TypeVar("T")
W = TypeVar("W", bound=Work)
ENGINE_ERRORS = ForeignErrors("the engine", EngineError)
ANSWER_SPACE_ERRORS = ForeignErrors("reading the answer")
COMPARER_ERRORS = ForeignErrors("comparing answers")


CountedAs = Literal["sample", "request", "probe", "verdict"]
"""How a request is booked: a sequence for the strategy, policy tokens without a sample (a part of a sequence, a part of
a likelihood, which is prompt work, or a probe, which may fail), or verifier tokens."""


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
    limits: EngineLimits
    running: RunningOperations
    recorder: Recorder
    seed: int
    number: int
    """Which question it is, in the order in which they were opened."""
    history: QuestionHistory = EMPTY
    notes: list[str] = field(default_factory=list)
    """What was done differently from what the plan asked for."""
    on_text: Callable[[TextPiece], None] | None = None
    """Receives the first sequence of the question while it is generated; see `SampleRequest`."""
    fair: bool = False
    """Whether small questions go before large ones that came earlier."""
    model: ModelInfo = field(init=False)
    _rendered: tuple[Prompt, RenderedPrompt] | None = None
    _requests: int = 0

    def __post_init__(self) -> None:
        self.model = self.engine.model

    def priority(self) -> int:
        """The priority of its next request among those of all questions; the lowest goes first.

        It is the number of the question. Where questions are `fair` to each other, it counts up from there: the tenth
        request of a question goes with the first one of the ninth question after it. So a small question waits for few
        requests of large ones, and each request is overtaken by a limited number of others.
        """
        priority = self.number + self._requests
        self._requests += self.fair
        return priority

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

    def reserved_cost(self, prompt: int, tokens: int) -> Cost:
        """What a later sequence of this many tokens would cost; its request and sample are not counted yet."""
        return replace(self.cost(Usage(prompt, 0, tokens)), requests=0, samples=0)

    async def render(self, prompt: Prompt) -> RenderedPrompt:
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

    def read(self, completion: Completion) -> Answer | None:
        """The answer that a form of the reply states. Raises PlanError: the answer space failed."""
        with ANSWER_SPACE_ERRORS:
            return self.question.read(completion)

    def note(self, line: str) -> None:
        """Note what was done differently, once."""
        if line not in self.notes:
            self.notes.append(line)

    async def enter_later(self, wait: Awaitable[None]) -> None:
        """Wait at the gate, up to the deadline. Raises as `before_deadline`, and as the gate."""
        with self.running.waits():
            await self.before_deadline(wait, ENGINE_ERRORS)

    def cost(
        self,
        usage: Usage,
        *,
        at: int | None = None,
        cancelled: bool = False,
        counted_as: CountedAs = "sample",
    ) -> Cost:
        """What one request with this usage costs; nothing if it never reached the engine.

        `at` is where it started on the question's virtual clock; None where nothing waited for its end.
        """
        end = 0 if at is None else at + usage.generated_tokens
        if counted_as == "verdict":
            return verifier_cost(self.model, usage).until(end)
        prompt, generated = usage.prompt_tokens, usage.generated_tokens
        return Cost(
            prompt_tokens=prompt - usage.cached_tokens,
            cached_tokens=usage.cached_tokens,
            generated_tokens=0 if cancelled else generated,
            cancelled_tokens=generated if cancelled else 0,
            requests=int(prompt > 0),
            samples=int(counted_as == "sample" and (prompt > 0 or generated > 0)),
            flops=self.model.flops_of(usage),
            thinking_tokens=usage.thinking_tokens,
            sequential_tokens=end,
        )

    def cost_of(
        self,
        completion: Completion,
        *,
        at: int,
        counted_as: CountedAs = "sample",
    ) -> Cost:
        """What a sequence cost. One that was aborted while it was generated is cancelled work."""
        aborted = completion.finish_reason == "abort"
        return self.cost(
            completion.usage,
            at=at,
            cancelled=aborted,
            counted_as=counted_as,
        )

    def done(self, verifier: Verifier | None) -> None:
        """Release what the question holds in the budget, in the engine and in the verifier."""
        self.admission.close()
        release(self.question.id, self.engine, verifier)
        self.limits.gate.advance(*self.admission.lineage)

    async def prefill(self, op: Prefill) -> Prompt:
        """The prompt with a text appended to the reply, with its token ids where they are known."""
        rendered, digest = await self.render(op.prompt), op.prompt.digest
        self.recorder.head(op.prompt, digest, rendered)
        extended, appended, ids = await self.extended(op, rendered)
        if appended.thinking or appended.text:
            self.recorder.write(
                Prefilled,
                prompt=digest,
                child=extended.digest,
                token_ids=ids,
                **appended._asdict(),
            )
        return extended

    async def extended(
        self, op: Prefill, rendered: RenderedPrompt
    ) -> tuple[Prompt, ForcedText, TokenIds | None]:
        """The prompt with the text appended, what was appended, and its token ids where they are known."""
        appended = forced(
            op.text, op.thinking, self.model.thinking, in_thinking=rendered.in_thinking
        )
        if not (appended.thinking or appended.text):
            return op.prompt, appended, None
        ids = await self.encode(appended.thinking + appended.text)
        return (
            op.prompt.extended(appended.text, ids or (), thinking=appended.thinking),
            appended,
            ids,
        )

    async def before_deadline(
        self, work: Awaitable[T], errors: ForeignErrors = COMPARER_ERRORS
    ) -> T:
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


def latest_end(costs: Iterable[Cost], start: int) -> int:
    """Where the last of these pieces of work ended on the virtual clock; `start` without any."""
    return max([start, *(cost.sequential_tokens for cost in costs)])
