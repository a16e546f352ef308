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
    copied,
    extraction_prompt,
    opening_of,
    probed,
    probes_cut,
    read_probe,
    reads_yes,
)
from reasoner.answers.forms import Opening
from reasoner.answers.thinking import final_segment
from reasoner.budget import Cost
from reasoner.engine import Continuation, SampleRequest, continuation, spellings
from reasoner.errors import BudgetExhausted, EngineError, LedgerViolation, NotRecorded, TraceError, UsageError
from reasoner.execution.executor import Bookkeeping, CountedAs, OperationExecutor
from reasoner.execution.launching import Passed
from reasoner.execution.seeds import derive_seed
from reasoner.operations import NOT_ASKED, Prefill
from reasoner.system.foreign import described
from reasoner.trace.events import AnswerExtracted, AnswersCompared
from reasoner.trace.record import Work
from reasoner.trace.recorder import ANSWER_SPACE_ERRORS, SequenceId
from reasoner.types import (
    CANCELLED,
    Answer,
    AnswerSpace,
    Completion,
    Extraction,
    Prompt,
    SamplingParams,
    TokenIds,
    Usage,
)

T = TypeVar("T")
E = TypeVar("E", bound=Work)
MIN_MASS: Final = 0.5
"""The least probability of yes and no together; with less, the model did not answer."""
SPOKEN_TOKENS: Final = 16
"""The maximum of tokens of a verdict that is read from text."""
FORCED_TOKENS: Final = 40
"""Tokens of the text that a probe forces, in most tokenizers: what closes thinking and opens a form."""
MAX_WATCHED: Final = 128
"""The most tokens that an engine watches at once."""


@dataclass(slots=True)
class _ProbeOutcome:
    """What the model said in a probe, and the confidence where it could say only a few words."""

    text: str = ""
    confidence: float | None = None
    cut: bool = False
    copied: bool = False
    """Whether it copied the answer of a quoted reply."""
    opening: Opening | None = None

    def say(self, text: str, opening: Opening, *, cut: bool = False) -> None:
        self.text, self.opening, self.cut = text, opening, cut

    def answer(self, space: AnswerSpace) -> Answer | None:
        """The answer in it."""
        if self.copied:
            return None if self.cut else copied(space, self.text)
        return read_probe(space, self.text, self.opening, cut=self.cut) if self.opening else None


@dataclass(slots=True)
class _Meter:
    """How many verdicts of one kind the question has, and their tokens."""

    count: int = 0
    tokens: int = 0
    cached: int = 0

    def add(self, cost: Cost) -> None:
        self.count += 1
        self.tokens += cost.tokens
        self.cached += cost.cached_tokens


@dataclass(slots=True)
class Verdicts:
    """The verdicts of one question's answers. A verdict that the ledger refuses is missing; the others still count."""

    executor: OperationExecutor
    refused: bool = False
    """Whether the probe of a reply was refused."""
    _compared: _Meter = field(default_factory=_Meter)
    _probed: _Meter = field(default_factory=_Meter)
    _spellings: dict[tuple[str, ...], tuple[TokenIds, ...]] = field(default_factory=dict)
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

    @property
    def probes(self) -> bool:
        """Whether replies without an answer are probed: the kind of answer wants it, and there is a model to ask."""
        space = self.executor.question.space
        return probed(space) and opening_of(space) is not None and self._way is not None

    @property
    def reserve(self) -> int:
        """Tokens that a sequence leaves in the budget for its probe, in case that a limit cuts it."""
        opening = opening_of(self.executor.question.space)
        return FORCED_TOKENS + opening.tokens if opening and probes_cut(self.executor.question.space) else 0

    @property
    def _way(self) -> Continuation | None:
        """How the engine continues a reply; in a replay, whether the recorded run has asked its model."""
        if self.executor.history.source:
            return "exact" if self.executor.history.any_of(AnswerExtracted) else None
        return continuation(self.executor.engine)

    async def reading(
        self,
        sample: Callable[[SequenceId, Passed], Awaitable[Completion]],
        params: SamplingParams,
        sequence: SequenceId,
        passed: Passed,
    ) -> Completion:
        """A sequence from `sample`, with the answer of a probe where it ended, or may be cut, and no form has one.

        If the ledger refuses the probe, the sequence comes without it.
        """
        completion, executor = await sample(sequence, passed), self.executor
        cut = completion.finish_reason == "length" and probes_cut(executor.question.space)
        if not (completion.ended or cut) or not completion.chain_of("all").strip():
            return completion
        with ANSWER_SPACE_ERRORS:
            if executor.question.read(completion):
                return completion
        if completion.unclosed and not cut:
            return completion
        try:
            extraction = await self.probe(sequence.op, completion, params)
        except BudgetExhausted:
            self.refused = True
            return completion
        return replace(completion, extraction=extraction)

    async def probe(self, op: int, chain: Completion, params: SamplingParams) -> Extraction | None:
        """What the model says is the answer of a chain; None where the question or the engine allows no probe.

        An engine that cannot continue a reply gets a second prompt that quotes it.

        Raises:
            BudgetExhausted: the ledger refused it, or the deadline passed.
            NotRecorded: a replay does not have it.
        """
        executor, name = self.executor, (chain.prompt.digest, chain.index)
        opening, way = opening_of(executor.question.space), self._way
        if opening is None or way is None:
            return None
        event = executor.recorded(op, AnswerExtracted, *name)
        if event is None:
            self._check_recorded(f"the answer in sample {chain.index} of question {executor.question.id}")
            request = _Requests(executor, counted_as="request", lora=params.lora)
            outcome = _ProbeOutcome()

            async def ask() -> Answer | None:
                if way == "never":
                    await self._copied(request, chain, outcome)
                else:
                    schema = params.json_schema if way == "exact" else ""
                    await self._continued(request, chain, replace(opening, schema=schema), outcome)
                with ANSWER_SPACE_ERRORS:
                    return outcome.answer(executor.question.space)

            def record(answer: Answer | None, error: str, cost: Cost) -> AnswerExtracted:
                return executor.recorder.work(
                    AnswerExtracted,
                    op=op,
                    prompt=name[0],
                    index=chain.index,
                    text=outcome.text,
                    answer=answer,
                    error=error,
                    confidence=outcome.confidence,
                    cost=cost,
                )

            event = await request.settled(ask, record)
        self._probed.add(event.cost)
        return Extraction(event.answer, event.cost.taking(0), event.confidence)

    async def _continued(
        self, request: "_Requests", chain: Completion, opening: Opening, outcome: "_ProbeOutcome"
    ) -> None:
        """Continue the chain, whose thinking is closed, with the opening of a form."""
        executor = self.executor
        op = Prefill(chain.prompt.then(chain), opening.text, "close")
        prompt, _, ids = await executor.extended(op, await executor.render(op.prompt))
        spelled = await self._choices(opening.words) if ids and self._way == "exact" else ()
        if spelled:
            watch = tuple(token for tokens in spelled for token in tokens)
            completion = await request.sample(prompt, max_tokens=1, watch=watch)
            if completion.logprobs and completion.logprobs.watched:
                chances = iter([math.exp(logprob) for logprob in completion.logprobs.watched[0]])
                masses = [math.fsum(next(chances) for _ in tokens) for tokens in spelled]
                likeliest = max(range(len(masses)), key=masses.__getitem__)
                outcome.confidence = masses[likeliest] / math.fsum(masses) if masses[likeliest] else None
                outcome.say(opening.words[likeliest], opening)
                return
        completion = await request.sample(
            prompt, max_tokens=opening.tokens, stop=opening.stop, json_schema=opening.schema
        )
        outcome.say(completion.text, opening, cut=completion.truncated)

    async def _choices(self, words: tuple[str, ...]) -> tuple[TokenIds, ...]:
        """The tokens of each word; none where one has no token of its own."""
        if words and words not in self._spellings:
            spelled = [await spellings(self.executor.engine, word) for word in words]
            self._spellings[words] = tuple(tokens or () for tokens in spelled)
        known = self._spellings.get(words, ())
        return known if known and all(known) and sum(map(len, known)) <= MAX_WATCHED else ()

    async def _copied(self, request: "_Requests", chain: Completion, outcome: "_ProbeOutcome") -> None:
        """Ask by a second prompt, which quotes the end of the reply."""
        prompt = extraction_prompt(self.executor.question, (final_segment(chain.chain) or chain.thinking).strip())
        completion = await request.sample(prompt, max_tokens=EXTRACTED_TOKENS)
        outcome.copied, outcome.text, outcome.cut = True, completion.text, completion.truncated

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
        if self._probed.count:
            cached = f", {self._probed.cached:,} more from the cache" if self._probed.cached else ""
            notes.append(f"probed for the answer: {_counted(self._probed, 'reply', 'replies')}{cached}")
        if self.refused:
            notes.append("the budget did not suffice to probe every reply without an answer")
        return tuple(notes)


def _counted(meter: _Meter, singular: str, plural: str) -> str:
    return f"{meter.count:,} {singular if meter.count == 1 else plural}: {meter.tokens:,} tokens"


@dataclass(slots=True)
class _Requests:
    """The requests of one verdict, and what they cost so far; `lora` is the adapter that they use."""

    executor: OperationExecutor
    counted_as: CountedAs = "verdict"
    lora: str = ""
    _cost: Cost = field(default_factory=Cost)

    async def sample(
        self,
        prompt: Prompt,
        *,
        max_tokens: int,
        watch: TokenIds = (),
        stop: tuple[str, ...] = (),
        json_schema: str = "",
    ) -> Completion:
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
            params = SamplingParams(
                temperature=0.0, max_tokens=tokens, stop=stop, json_schema=json_schema, lora=self.lora
            )
            return SampleRequest(
                executor.question.id, prompt, rendered, params, 0, seed, executor.priority, watch=watch
            )

        def price(tokens: int) -> Cost:
            return executor.cost(Usage(rendered.tokens, 0, tokens), counted_as=self.counted_as)

        books = Bookkeeping(
            lambda _, cost: self._book(cost), lambda _, __, cost: self._book(cost), lambda: None, self.counted_as
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
