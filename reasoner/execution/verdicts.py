"""Verdicts of the run's own model on the answers of one question: whether two are the same, which one a reply gives.

Each is looked up in the history, else reserved, asked, booked as verifier tokens and recorded.
"""

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from reasoner.answers.asking import (
    EXTRACTED_TOKENS,
    comparison_prompt,
    extraction_prompt,
    extracts_by_model,
    reads_yes,
    stated,
)
from reasoner.answers.thinking import final_segment
from reasoner.budget import Cost
from reasoner.engine import SampleRequest, spellings
from reasoner.errors import BudgetExhausted, EngineError, LedgerViolation, NotRecorded, TraceError, UsageError
from reasoner.execution.executor import Bookkeeping, OperationExecutor
from reasoner.execution.launching import Passed
from reasoner.execution.seeds import derive_seed
from reasoner.strategy import NOT_ASKED
from reasoner.system.foreign import described
from reasoner.trace.events import AnswerExtracted, AnswersCompared
from reasoner.trace.record import Work
from reasoner.trace.recorder import ANSWER_SPACE_ERRORS, SequenceId
from reasoner.types import CANCELLED, Answer, Completion, Extraction, Prompt, SamplingParams, TokenIds, Usage

T = TypeVar("T")
E = TypeVar("E", bound=Work)
MIN_MASS: Final = 0.5
"""The least probability of yes and no together; with less, the model did not answer."""
SPOKEN_TOKENS: Final = 16
"""The maximum of tokens of a verdict that is read from text."""


@dataclass(slots=True)
class _Meter:
    """How many verdicts of one kind the question has, and their tokens."""

    count: int = 0
    tokens: int = 0

    def add(self, cost: Cost) -> None:
        self.count += 1
        self.tokens += cost.tokens


@dataclass(slots=True)
class Verdicts:
    """The verdicts of one question's answers. A verdict that the ledger refuses is missing; the others still count."""

    executor: OperationExecutor
    refused: bool = False
    """Whether an extraction was refused."""
    _compared: _Meter = field(default_factory=_Meter)
    _extracted: _Meter = field(default_factory=_Meter)
    _words: tuple[TokenIds, TokenIds] | None = None
    """The tokens of yes and of no; empty where their probabilities are not available."""

    async def compare(self, op: int, first: Answer, second: Answer) -> AnswersCompared:
        """Whether two answers are the same: the model says so in both orders. The second order is asked after a yes.

        Raises:
            BudgetExhausted: the ledger refused it, in whole or in part, or the deadline passed.
            NotRecorded: a replay does not have it.
        """
        first, second = sorted((first, second), key=lambda answer: answer.key)
        pair, digest = (first.key, second.key), self.executor.question.prompt.digest
        event = self.executor.recorded(op, AnswersCompared, pair)
        if event is None:
            self._check_recorded("which answers are equal")
            request, yes = _Requests(self.executor), list[float]()

            async def ask() -> bool:
                for a, b in ((first, second), (second, first)):
                    yes.append(await self._yes(request, comparison_prompt(self.executor.question, a, b)))
                    if yes[-1] <= 0.5:
                        return False
                return True

            def record(same: bool | None, error: str, cost: Cost) -> AnswersCompared:
                return self.executor.recorder.work(
                    AnswersCompared, op=op, prompt=digest, pair=pair, same=same, yes=tuple(yes), error=error, cost=cost
                )

            event = await request.settled(ask, record)
        self._compared.add(event.cost)
        return event

    async def reading(
        self, sample: Callable[[SequenceId, Passed], Awaitable[Completion]], sequence: SequenceId, passed: Passed
    ) -> Completion:
        """A sequence from `sample`, with the answer that the model extracts where it is complete and no rule finds one.

        If the ledger refuses the extraction, the sequence comes without it.
        """
        completion, executor = await sample(sequence, passed), self.executor
        if not extracts_by_model(executor.question.space) or not completion.ended:
            return completion
        with ANSWER_SPACE_ERRORS:
            if executor.question.read(completion):
                return completion
        reply = (final_segment(completion.chain) or "").strip()
        if not reply:
            return completion
        try:
            event = await self._extract(sequence, reply)
        except BudgetExhausted:
            self.refused = True
            return completion
        self._extracted.add(event.cost)
        return replace(completion, extraction=Extraction(event.answer, event.cost.taking(0)))

    async def _extract(self, sequence: SequenceId, reply: str) -> AnswerExtracted:
        executor, name = self.executor, (sequence.digest, sequence.index)
        if event := executor.recorded(sequence.op, AnswerExtracted, *name):
            return event
        self._check_recorded(f"the answer in sample {sequence.index} of question {executor.question.id}")
        request, text = _Requests(executor), ""

        async def ask() -> Answer | None:
            nonlocal text
            prompt = extraction_prompt(executor.question, reply)
            completion = await request.sample(prompt, max_tokens=EXTRACTED_TOKENS)
            text = completion.text
            with ANSWER_SPACE_ERRORS:
                return None if completion.truncated else stated(executor.question.space, text)

        def record(answer: Answer | None, error: str, cost: Cost) -> AnswerExtracted:
            return executor.recorder.work(
                AnswerExtracted,
                op=sequence.op,
                prompt=sequence.digest,
                index=sequence.index,
                text=text,
                answer=answer,
                error=error,
                cost=cost,
            )

        return await request.settled(ask, record)

    def _check_recorded(self, what: str) -> None:
        """Raise NotRecorded in a replay, which asks no model."""
        if source := self.executor.history.source:
            raise NotRecorded(
                f"the trace {source} does not say {what}: replay with the same kind of answer, strategy and budget"
            )

    async def _yes(self, request: "_Requests", prompt: Prompt) -> float:
        """The probability of yes, among yes and no; 0 or 1 where it is read from text.

        Raises:
            EngineError: the model said neither.
        """
        if self._words is None:
            self._words = await self._spelled()
        yes, no = self._words
        watch = yes + no
        completion = await request.sample(prompt, max_tokens=1 if watch else SPOKEN_TOKENS, watch=watch)
        if watch and completion.logprobs and completion.logprobs.watched:
            chances = [math.exp(logprob) for logprob in completion.logprobs.watched[0]]
            mass = math.fsum(chances)
            if mass < MIN_MASS:
                raise EngineError(f"the model did not answer: yes and no together have probability {mass:.3f}")
            return min(1.0, math.fsum(chances[: len(yes)]) / mass)
        spoken = reads_yes(completion.text)
        if spoken is None:
            raise EngineError("the model said neither yes nor no")
        return float(spoken)

    async def _spelled(self) -> tuple[TokenIds, TokenIds]:
        try:
            yes, no = [await spellings(self.executor.engine, word) for word in ("Yes", "No")]
        except UsageError:
            # Several models with different tokenizers.
            yes = no = None
        return (yes, no) if yes and no else ((), ())

    @property
    def notes(self) -> tuple[str, ...]:
        """What the verdicts cost, if there are any, and whether some are missing."""
        notes = []
        if self._compared.count:
            notes.append(f"the model compared {_counted(self._compared, 'pair of answers', 'pairs of answers')}")
        if self._extracted.count:
            notes.append(f"the model was asked for the answer in {_counted(self._extracted, 'reply', 'replies')}")
        if self.refused:
            notes.append("the budget did not suffice to ask the model for the answer in every reply without one")
        return tuple(notes)


def _counted(meter: _Meter, singular: str, plural: str) -> str:
    return f"{meter.count:,} {singular if meter.count == 1 else plural}: {meter.tokens:,} tokens"


@dataclass(slots=True)
class _Requests:
    """The requests of one verdict, and what they cost so far."""

    executor: OperationExecutor
    _cost: Cost = field(default_factory=Cost)

    async def sample(self, prompt: Prompt, *, max_tokens: int, watch: TokenIds = ()) -> Completion:
        """The model's greedy reply to a prompt.

        Raises:
            BudgetExhausted: the ledger refused it, or the deadline passed.
            EngineError: it failed, or the prompt fills the context window.
        """
        executor = self.executor
        rendered = await executor.render(prompt)
        context = executor.engine.model.context
        max_tokens = min(max_tokens, context - rendered.tokens) if context else max_tokens
        if max_tokens < 1:
            raise EngineError(f"the prompt of {rendered.tokens:,} tokens fills the context window of {context:,}")
        digest = prompt.digest
        seed = derive_seed(executor.seed, executor.question.id, digest, 0)

        def ask(tokens: int) -> SampleRequest:
            params = SamplingParams(temperature=0.0, max_tokens=tokens)
            return SampleRequest(
                executor.question.id, prompt, rendered, params, 0, seed, executor.priority, watch=watch
            )

        def price(tokens: int) -> Cost:
            return executor.cost(Usage(rendered.tokens, 0, tokens), counted_as="verdict")

        books = Bookkeeping(
            lambda _, cost: self._book(cost), lambda _, __, cost: self._book(cost), lambda: None, counted_as="verdict"
        )
        return await executor.request(ask, digest, price, books, max_tokens=max_tokens)

    def _book(self, cost: Cost) -> None:
        self._cost += cost

    async def settled(self, ask: Callable[[], Awaitable[T | None]], record: Callable[[T | None, str, Cost], E]) -> E:
        """Ask, and record the outcome with its cost: a failure is one, a cancellation is to be done again."""
        began, outcome, error = time.monotonic(), None, CANCELLED
        try:
            outcome = await ask()
            error = ""
        except BudgetExhausted as refusal:
            error = f"{NOT_ASKED}: {refusal}"
            raise
        except (LedgerViolation, TraceError):
            raise
        except Exception as failure:
            error = described(failure)
        finally:
            event = record(outcome, error, self._cost.taking(time.monotonic() - began))
        return event
