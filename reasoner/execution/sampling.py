"""Draws one sequence: by one request, or by two where thinking has a limit that the engine cannot keep itself."""

import math
from collections.abc import Callable, Coroutine, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Final

from reasoner.budget import Cost
from reasoner.engine import Progress, SampleRequest, TextPiece, limits_thinking
from reasoner.errors import BudgetExhausted, EngineError, PromptTooLong, UsageError
from reasoner.execution.executor import OperationExecutor, derive_seed
from reasoner.execution.launching import MAX_IN_FLIGHT, SequenceIds, each
from reasoner.execution.order import ClockEntry
from reasoner.execution.probes import Probes
from reasoner.execution.work import EngineRequest, perform
from reasoner.models.defaults import resolved_params
from reasoner.models.thinking import split
from reasoner.strategy import Sample
from reasoner.trace.events import Sampled, Thought
from reasoner.trace.history import QuestionHistory
from reasoner.trace.recorder import Drop, SequenceId
from reasoner.types import Completion, Logprobs, Prompt, TokenIds, Usage
from reasoner.verifier import Verifier

EQUAL_UNITS: Final = ("samples", "seconds")
"""The units in which a sequence needs as much as any other."""
ALL: Final = ""
"""The prompts of all sequences, where one is meant by its digest."""


def resolved(
    op: Sample, executor: OperationExecutor, verifier: Verifier | None
) -> Sample:
    """The operation with all sampling parameters, the verifier's too, and its prompts at its thinking level.

    A JSON schema and tools are for answers, not for what a plan asks besides; a schema holds for whole replies.

    Raises:
        UsageError: a sequence with a JSON schema would continue a reply.
    """
    params = resolved_params(op.params, executor.model, executor.note)
    if not op.answers and (
        params.json_schema or any(prompt.tools for prompt in op.prompts)
    ):
        params = replace(params, json_schema="")
        op = replace(
            op, prompts=tuple(replace(prompt, tools="") for prompt in op.prompts)
        )
    if params.json_schema and any(prompt.text for prompt in op.prompts):
        raise UsageError(
            "json_schema holds for whole replies, but the strategy continues one: use another strategy"
        )
    needed = verifier.logprobs if verifier else None
    if needed is not None and (params.logprobs is None or params.logprobs < needed):
        params = replace(params, logprobs=needed)
    if params.thinking is None:
        return op if params is op.params else replace(op, params=params)
    prompts = tuple(prompt.at_level(params.thinking) for prompt in op.prompts)
    return replace(op, prompts=prompts, params=params)


@dataclass(slots=True, eq=False)
class OperationSampler:
    """Draws the sequences of one operation, with the probe that each may need.

    `interruptible` says whether one may be cancelled alone before it ends, and `line` is the operation on the clock.
    """

    executor: OperationExecutor
    op: Sample
    interruptible: bool
    line: ClockEntry | None
    probes: Probes | None

    def sample(self, sequence: SequenceId) -> Coroutine[Any, Any, Completion]:
        """One sequence.

        Raises:
            BudgetExhausted: the ledger refused it, or the deadline passed.
            PromptTooLong: the question fills the context window. (A chain or a conversation that has grown to fill it
                ends with "length".)
        """
        op, probes = self.op, self.probes
        job = _SequenceJob(
            op.params.limit,
            self.executor,
            sequence.at,
            inquiry=None,
            counted_as="sample",
            params=op.params,
            prompt=sequence.prompt,
            sampler=self,
            sequence=sequence,
        )
        return self._probed(job, probes) if probes else job.draw()

    async def _probed(self, job: "_SequenceJob", probes: Probes) -> Completion:
        return await probes.read(await job.draw(), self.op, job.sequence)

    async def sample_all(
        self, sequences: SequenceIds
    ) -> tuple[tuple[Completion, ...], list[BudgetExhausted]]:
        """All sequences, drawn in launch order, and the refusals; the first other failure cancels the rest.

        Where the budget is too small for one, it is for the others of its prompt, and in `EQUAL_UNITS` for all.
        """
        op, heads, n, at = sequences
        if n == len(heads) == 1:
            try:
                return (await self.sample(SequenceId(op, *heads[0], at)),), []
            except BudgetExhausted as refusal:
                return (), [refusal]
        drawn, refused, too_dear = (
            dict[int, Completion](),
            dict[int, BudgetExhausted](),
            set[str](),
        )
        left = enumerate(_launches(sequences, too_dear, self.executor.history))

        async def work() -> None:
            with self.line.drawn() if self.line else nullcontext():
                for position, sequence in left:
                    try:
                        drawn[position] = await self.sample(sequence)
                    except BudgetExhausted as refusal:
                        refused[position] = refusal
                        too_dear.add(
                            ALL if refusal.unit in EQUAL_UNITS else sequence.digest
                        )

        await each([work] * min(MAX_IN_FLIGHT, n * len(heads)))
        in_order = tuple([drawn[position] for position in sorted(drawn)])
        return in_order, [refused[position] for position in sorted(refused)]


def _launches(
    sequences: SequenceIds, too_dear: set[str], history: QuestionHistory
) -> Iterator[SequenceId]:
    """All sequences in order; of prompts that have become `too_dear` only recorded ones."""
    op, heads, n, at = sequences
    for prompt, digest, first in heads:
        end = math.inf
        for index in range(first, first + n):
            if end == math.inf and not too_dear.isdisjoint((digest, ALL)):
                end = history.extent(digest)
            if index >= end:
                break
            yield SequenceId(op, prompt, digest, index, at)


@dataclass(slots=True, eq=False)
class _SequenceJob(EngineRequest):
    """One sequence of an operation.

    At a thinking level that is a number of tokens, an engine that does not limit thinking gets two requests: the first
    ends at the limit, the second continues after the text that closes thinking (budget forcing, Muennighoff et al.
    2025). Room for both is reserved before the first. Its outcome is recorded as `Thought`, the outcome of the whole
    sequence as `Sampled`. The closing text counts among the generated tokens of the sequence, and is paid as a prompt.
    The `prompt` of the second request has the thinking of the first in it.
    """

    sampler: OperationSampler
    sequence: SequenceId
    _first: Completion | None = None
    _closing: TokenIds = ()
    """What follows the first request."""
    _cut: bool = False
    """Whether the last request ended at the limit of thinking."""
    _passed_on: list[Prompt] = field(default_factory=list)
    """Prompts whose text was passed on already."""

    async def draw(self) -> Completion:
        """Draw it. Raises as `OperationSampler.sample`."""
        executor, sequence = self.executor, self.sequence
        self.rendered = rendered = await executor.render(sequence.prompt)
        executor.recorder.head(sequence.prompt, sequence.digest, rendered)
        self.max_tokens = self._room()
        if self.max_tokens < 1:
            context = executor.model.context
            if (
                question := await executor.render(executor.question.prompt)
            ).tokens >= context:
                raise PromptTooLong(question.tokens, context)
            executor.note(
                f"cut: a prompt of {rendered.tokens:,} tokens filled the context window of {context:,}"
            )
            return Completion(sequence.prompt, "", (), "length", index=sequence.index)
        if executor.history.attempts:
            name = sequence.digest, sequence.index
            thought = (
                executor.recorded(sequence.op, Thought, *name)
                if executor.history.of(Thought, *name)
                else None
            )
            if event := executor.recorded(sequence.op, Sampled, *name):
                return event.completion(sequence.prompt)
            if thought:
                return await self._answer(thought.completion(sequence.prompt))
        first = await perform(self)
        return await self._answer(first) if self._cut else first

    def _room(self) -> int:
        """How many tokens the context window and the reserve allow; less than 1 where nothing fits."""
        context, limit, reserve = (
            self.executor.model.context,
            self.max_tokens,
            self.sampler.op.reserve,
        )
        if not context:
            return limit
        room = context - self.rendered.tokens
        if self.rendered.token_ids is None:
            # The prompt is shorter than its bound: only a limit that is most of the window is lowered.
            return min(limit, max(room, context // 2))
        return min(limit, room - reserve if room > reserve else room)

    async def _answer(self, first: Completion) -> Completion:
        """The whole sequence after its `first` part, which ended at the limit of thinking."""
        executor, generated = self.executor, first.usage.generated_tokens
        self.prompt, self._closing = await self._closed(first)
        self.rendered = rendered = await executor.render(self.prompt)
        self._first, self.counted_as = first, "request"
        self.at += generated + len(self._closing)
        self.max_tokens -= generated + len(self._closing)
        context = executor.model.context
        if context and rendered.token_ids is not None:
            self.max_tokens = min(self.max_tokens, context - rendered.tokens)
        if self.max_tokens < 1:
            return self._unanswered(first)
        try:
            return self._whole(await perform(self))
        except BudgetExhausted as refusal:
            if refusal.unit == "seconds":
                raise
            return self._unanswered(first)

    def price(self, tokens: int) -> Cost:
        """The price of this request, of a second one if the limit of thinking cuts it, and of the reserve."""
        executor, prompt = self.executor, self.rendered.tokens
        limit = None if self.sequence.prompt.thinking_level is None else self._limit
        cost = executor.cost(Usage(prompt, 0, tokens), counted_as=self.counted_as)
        if limit is not None and tokens > limit:
            profile = executor.model.thinking
            # The closing text has at most as many tokens as bytes.
            closing = len(profile.closing.encode()) if profile else 0
            again = Usage(prompt + limit + closing, 0, tokens - limit)
            first = executor.cost(Usage(prompt, 0, limit))
            cost = first + executor.cost(again, counted_as="request")
        if reserve := self.sampler.op.reserve:
            cost += executor.reserved_cost(prompt + tokens, reserve)
        return cost

    def most(self) -> int:
        """Up to the limit of thinking."""
        limit = None if self.sequence.prompt.thinking_level is None else self._limit
        return self.granted if limit is None else min(limit, self.granted)

    def request(self, granted: int) -> SampleRequest:
        """A request with the seed of the sequence."""
        executor, sequence, params, prompt = (
            self.executor,
            self.sequence,
            self.params,
            self.prompt,
        )
        max_tokens = self.most()
        self._cut = max_tokens < granted
        digest = sequence.digest if prompt is sequence.prompt else prompt.digest
        return SampleRequest(
            executor.question.id,
            prompt,
            self.rendered,
            params
            if params.max_tokens == max_tokens
            else replace(params, max_tokens=max_tokens),
            sequence.index,
            derive_seed(executor.seed, executor.question.id, digest, sequence.index),
            self.priority,
            interruptible=self.sampler.interruptible or executor.admission.timed,
            on_text=self._on_text(prompt) if executor.on_text else None,
            progress=self._progress(),
            original=executor.question.asked_by(prompt),
        )

    def record(
        self, completion: Completion | None, cost: Cost, drop: Drop | None
    ) -> None:
        """As a whole sequence, as its thoughts, or as dropped."""
        recorder = self.executor.recorder
        if self.sent and self.sent.progress:
            self.sent.progress.over(
                completion.usage.generated_tokens if completion else None
            )
        self._cut = (
            self._cut
            and completion is not None
            and completion.finish_reason == "length"
        )
        if drop:
            recorder.dropped(self.sequence, drop, self.usage, cost)
        elif completion and self._cut:
            recorder.thought(self.sequence, completion, cost)
        elif completion:
            self._sampled(self._whole(completion) if self._first else completion, cost)

    def _sampled(self, completion: Completion, cost: Cost) -> None:
        """Record the whole sequence with its answer, and without one where reading it fails.

        Raises:
            PlanError: the answer space failed.
        """
        executor, answer = self.executor, None
        if not executor.recorder.sink:
            return
        try:
            answer = executor.read(completion)
        finally:
            executor.recorder.sampled(self.sequence, completion, cost, answer)

    @property
    def _limit(self) -> int | None:
        """The tokens after which thinking must be closed by a second request; None where there is no such limit.

        It is determined at each try: an engine may find out only by then that it cannot limit thinking.

        Raises:
            EngineError: the model hides its thinking.
        """
        prompt, profile = self.sequence.prompt, self.executor.model.thinking
        level = prompt.thinking_level
        if (
            not isinstance(level, int)
            or self._first
            or profile is None
            or limits_thinking(self.executor.engine)
        ):
            return None
        if not profile.end_text:
            raise self._hidden()
        if prompt.raw or prompt.text or profile.end_text in prompt.thinking:
            return None
        if (
            profile.end
            and prompt.token_ids
            and not split(prompt.token_ids, profile, opened=True).unclosed
        ):
            return None
        limit = max(level - len(prompt.token_ids), 1)
        return limit if limit < self.max_tokens else None

    async def _closed(self, first: Completion) -> tuple[Prompt, TokenIds]:
        """The prompt of the second request, and the token ids that close the thinking; none where it ended itself."""
        profile, prompt = self.executor.model.thinking, self.sequence.prompt.then(first)
        if not (first.thinking or first.text or first.token_ids):
            raise self._hidden()
        if not first.unclosed or profile is None:
            return prompt, ()
        ids = await self.executor.encode(profile.closing) if first.token_ids else None
        token_ids = prompt.token_ids + ids if ids else ()
        return replace(
            prompt, token_ids=token_ids, thinking=prompt.thinking + profile.closing
        ), ids or ()

    def _hidden(self) -> EngineError:
        return EngineError(
            f"thinking={self.sequence.prompt.thinking_level}: the server does not show its thinking, so that it cannot "
            "be limited to tokens: use thinking=low, medium or high"
        )

    def _unanswered(self, first: Completion) -> Completion:
        """The first part alone, as all that the budget or the window allows."""
        self.executor.note(
            "cut: after thinking, the budget had no room left for an answer"
        )
        self._sampled(first, Cost())
        return first

    def _progress(self) -> Progress | None:
        """Where the length of the sequence matters while it is generated."""
        line = self.sampler.line
        return line.sequence(self.at) if line else None

    def _on_text(self, prompt: Prompt) -> Callable[[TextPiece], None] | None:
        """What receives the text: of the question's first sequence, and not again when a request is repeated."""
        on_text = self.executor.on_text
        if (
            on_text is None
            or (self.sequence.op, self.sequence.index) != (1, 0)
            or prompt in self._passed_on
        ):
            return None
        self._passed_on.append(prompt)
        return on_text

    def _whole(self, second: Completion) -> Completion:
        """The sequence with its last part: the two parts, and the token ids between them, as one completion."""
        first, closing, profile = (
            self._first,
            self._closing,
            self.executor.model.thinking,
        )
        if first is None:
            return second
        lead, tail, thinking, forced = "", "", first.usage.thinking_tokens, len(closing)
        if first.unclosed and profile:
            lead, _, tail = profile.closing.partition(profile.end_text)
            thinking = (
                first.usage.generated_tokens
                + split(closing, profile, opened=True).thinking
            )
        if second.usage.thinking_tokens:
            thinking = (
                first.usage.generated_tokens + forced + second.usage.thinking_tokens
            )
        generated = (
            first.usage.generated_tokens + forced + second.usage.generated_tokens
        )
        return replace(
            second,
            prompt=first.prompt,
            text=first.text + tail + second.text,
            thinking=first.thinking + lead + second.thinking,
            token_ids=first.token_ids + closing + second.token_ids,
            usage=Usage(
                first.usage.prompt_tokens,
                first.usage.cached_tokens,
                generated,
                thinking,
            ),
            logprobs=_joined_logprobs(first.logprobs, forced, second.logprobs),
            seed=first.seed,
        )


def _joined_logprobs(
    first: Logprobs | None, forced: int, second: Logprobs | None
) -> Logprobs | None:
    """One row for each token. Those that were forced have probability 1, and the alternatives of their neighbour."""
    if first is None or second is None:
        return None
    neighbour = (first.top[-1:] or second.top[:1]) * forced
    return Logprobs(
        first.sampled + (0.0,) * forced + second.sampled,
        first.top + neighbour + second.top,
    )
