"""The interfaces of what can be plugged in: strategies, engines, verifiers, stop rules, comparers of answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from reasoner.budget import Cost
from reasoner.confidence import ConfidenceFloor
from reasoner.controller import stopping
from reasoner.equivalence import CompareTab
from reasoner.errors import UsageError
from reasoner.models.card import ModelCard
from reasoner.plan import Plan
from reasoner.types import (
    Answer,
    AnswerSpace,
    Blocks,
    Completion,
    Prompt,
    Question,
    Rating,
    SamplingParams,
    Standing,
    TokenIds,
    Usage,
)


class Strategy(Protocol):
    """An algorithm as a plan: a frozen dataclass whose fields are its options. It has no state and does no I/O."""

    @property
    def uses_verifier(self) -> bool:
        """Whether its plans ask for scores, so that a run needs a verifier."""
        ...

    def plan(self, question: Question) -> Plan[Answer | None]:
        """A new plan for one question. Given the same replies, it does the same."""
        ...


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt as the model reads it: its token ids and their number; without ids, `tokens` is an upper bound."""

    token_ids: TokenIds | None
    tokens: int


@dataclass(slots=True)
class Meter:
    """What the engine has computed for one request so far.

    The engine writes it; the runner reads it if the request does not complete. None means unknown: the request is
    then booked at its worst case.
    """

    usage: Usage | None = None


@dataclass(slots=True)
class Tab:
    """What a verifier has spent on one rating so far.

    The verifier writes it; the runner reads it if the rating does not complete. None means unknown: the rating is then
    booked at its bound.
    """

    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One sequence to generate; (`question_id`, `prompt.digest`, `index`) identify it in all runs with the same `seed`.

    `watch` are token ids, up to 128, whose exact log-probabilities the completion must have at every position; it then
    has no best alternatives. The engine aborts a sequence that falls below the `floor`. `interruptible` says whether
    the runner may cancel this sequence alone before it ends. If it is False, an engine may wait for the whole reply and
    may generate it in one request with others of the same question, prompt and parameters.
    """

    question_id: str
    prompt: Prompt
    rendered: Rendered
    params: SamplingParams
    index: int
    seed: int
    priority: int = 0
    watch: TokenIds = ()
    floor: ConfidenceFloor | None = None
    interruptible: bool = True
    meter: Meter = field(default_factory=Meter)

    def __post_init__(self) -> None:
        if self.watch and self.params.logprobs:
            raise UsageError(f"logprobs={self.params.logprobs} cannot be combined with watched tokens: keep one")


class Engine(Protocol):
    """Generates sequences with one model. Many requests may be in flight at once."""

    @property
    def name(self) -> str:
        """The engine's name for people and traces."""
        ...

    @property
    def model(self) -> ModelCard:
        """The model; available after `start`."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What this engine cannot do exactly, such as taking token ids; recorded in the trace."""
        ...

    @property
    def capacity(self) -> int | None:
        """Tokens that fit the KV cache at once; None if the engine limits itself."""
        ...

    async def start(self) -> None:
        """Make the engine ready. A second call does nothing.

        Raises:
            EngineUnavailable: it cannot be made ready; the message says what to do.
        """
        ...

    async def render(self, prompt: Prompt) -> Rendered:
        """The prompt as the model reads it. The head is rendered once; generated ids are appended."""
        ...

    async def encode(self, text: str) -> TokenIds | None:
        """The token ids of a text without the special tokens of a prompt's beginning; None if they are unknown."""
        ...

    async def sample(self, request: SampleRequest) -> Completion:
        """Generate one sequence. Cancelling the awaiting task aborts it in the engine and leaves the meter exact.

        Raises:
            RequestLost: it failed on the way and may be tried again; the meter says what it cost.
            EngineError: it failed for good.
        """
        ...

    async def close(self) -> None:
        """Stop and free everything. A second call does nothing."""
        ...


class Verifier(Protocol):
    """Rates a candidate without a reference answer. Many ratings may run at once.

    `logprobs` is what the sequences must have for it: None for nothing, 0 for the sampled token's log-probability, k
    for the best k alternatives too. The runner asks the engine for them.
    """

    @property
    def logprobs(self) -> int | None: ...

    async def start(self, policy: Engine) -> None:
        """Make its own resources ready, such as a model. A second call does nothing.

        Raises:
            EngineUnavailable: it cannot be made ready; the message says what to do.
        """
        ...

    async def bound(self, question: Question, candidate: Completion, policy: Engine) -> Cost:
        """The most that `score` can cost; reserved before it runs."""
        ...

    async def score(self, question: Question, candidate: Completion, policy: Engine, tab: Tab) -> Rating:
        """One rating with its cost. An exception is recorded as an error, never as a value.

        Cancelling the awaiting task aborts its work and leaves the tab exact.
        """
        ...

    async def close(self) -> None:
        """Stop and free what `start` made ready. A second call does nothing."""
        ...


@runtime_checkable
class PairVerifier(Protocol):
    """A verifier that can also compare two candidates."""

    async def bound_pair(self, question: Question, a: Completion, b: Completion, policy: Engine) -> Cost:
        """The most that `prefer` can cost; reserved before it runs."""
        ...

    async def prefer(self, question: Question, a: Completion, b: Completion, policy: Engine, tab: Tab) -> Rating:
        """The probability that `a` is better than `b`, 1 minus that of the reversed pair. Raises as `score`."""
        ...


@runtime_checkable
class Forgetful(Protocol):
    """An engine or a verifier with caches that can be emptied, so that later work is charged in full."""

    async def forget(self) -> None:
        """Empty all caches. Nothing may be in flight; before `start` it does nothing."""
        ...


async def forget(*plugins: object) -> None:
    """Empty the caches of each plug-in that has any."""
    for plugin in plugins:
        if isinstance(plugin, Forgetful):
            await plugin.forget()


@runtime_checkable
class Claimant(Protocol):
    """A verifier that runs a model of its own beside the policy, on the same GPU."""

    async def claim(self, policy: Engine) -> None:
        """Claim a part of the GPU's memory before the policy starts and takes the rest."""
        ...


async def claim(policy: Engine, *plugins: object) -> None:
    """Let each plug-in with a model of its own claim its part of the policy's GPU."""
    for plugin in plugins:
        if isinstance(plugin, Claimant):
            await plugin.claim(policy)


class Resourceless:
    """Base of a verifier without a model: nothing to start, to pay or to close."""

    __slots__ = ()

    async def bound(self, question: Question, candidate: Completion, policy: Engine) -> Cost:
        """Nothing."""
        return Cost()

    async def start(self, policy: Engine) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""


def verifier_cost(model: ModelCard, usage: Usage) -> Cost:
    """The cost of a verifier's request to a model: all computed tokens are verifier tokens."""
    return Cost(
        cached_tokens=usage.cached_tokens,
        verifier_tokens=usage.prompt_tokens - usage.cached_tokens + usage.generated_tokens,
        requests=int(usage.prompt_tokens > 0),
        flops=model.flops(prompt=usage.prompt_tokens, cached=usage.cached_tokens, generated=usage.generated_tokens),
    )


class Calibrated(NamedTuple):
    """The data of a calibration: the model, the number of questions, and how far votes agreed (`worth.smoothed`)."""

    model: str
    questions: int
    agreement: float
    spread: float


@runtime_checkable
class Confident(Protocol):
    """A strategy that can tell, from a calibration, how likely its answer is right."""

    def confidence(self, standing: Standing) -> float | None:
        """The probability that the leading answer is right; None without a calibration."""
        ...

    @property
    def measured_on(self) -> "Calibrated | None":
        """The data of the calibration; None without one."""
        ...


class Comparer(Protocol):
    """Does the slow comparisons of answers that an answer space cannot do itself.

    All comparisons of one question share its tab and a time limit. Neither method raises.
    """

    async def same_many(
        self, space: AnswerSpace, pairs: Sequence[tuple[Answer, Answer]], tab: CompareTab
    ) -> tuple[bool | None, ...]:
        """For each pair whether each answer accepts the other; None if that was not decided in time."""
        ...

    async def blocks(self, space: AnswerSpace, answers: Sequence[Answer], tab: CompareTab) -> tuple[Blocks | None, ...]:
        """The blocks of each answer; None if they were not found in time."""
        ...

    async def close(self) -> None:
        """Stop and free everything. A second call does nothing."""
        ...


StopRule = stopping.StopRule
"""Decides when a question has enough samples; defined in `controller`, as rules can contain rules."""
