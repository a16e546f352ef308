"""The things that others may bring: a strategy, an engine, a verifier, a stop rule, a comparer of answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from reasoner.budget import Cost
from reasoner.confidence import ConfidenceFloor
from reasoner.controller import rule
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
    """An algorithm as a plan; a frozen dataclass whose fields are its options. It holds no state and does no I/O."""

    @property
    def uses_verifier(self) -> bool:
        """Whether its plans ask for scores, so that a run needs a verifier."""
        ...

    def plan(self, question: Question) -> Plan[Answer | None]:
        """A fresh plan for one question; given the same replies it does the same."""
        ...


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt as the model reads it: its token ids, or None and an upper bound of their number in `tokens`."""

    token_ids: TokenIds | None
    tokens: int


@dataclass(slots=True)
class Meter:
    """What the engine has computed for one request so far.

    The engine writes it and the runner reads it when a request does not complete. None means the engine cannot tell,
    and the request is then booked at its worst case.
    """

    usage: Usage | None = None


@dataclass(slots=True)
class Tab:
    """What a verifier has spent on one rating so far.

    The verifier writes it and the runner reads it when a rating does not complete. None means it cannot be told, and
    the rating is then booked at its bound.
    """

    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One sequence to draw. (`question_id`, `prompt.digest`, `index`) identify it in every run with the same `seed`.

    `watch` are token ids, up to 128, whose exact log-probabilities the completion must carry at every place; it then
    carries no best alternatives. Below the `floor` the engine aborts the sequence while it draws it. `interruptible`
    says whether the runner may cancel this sequence alone before it ends. Where it is False, an engine may wait for the
    whole reply, and may draw it in one request with others of the same question, prompt and parameters.
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
            raise UsageError(f"logprobs={self.params.logprobs} and watched tokens exclude each other: keep one")


class Engine(Protocol):
    """Draws sequences from one model. Many requests may be in flight at once."""

    @property
    def name(self) -> str:
        """What the engine is, for people and traces."""
        ...

    @property
    def model(self) -> ModelCard:
        """The model being served; available once started."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What this engine cannot do exactly, such as taking token ids; recorded in the trace."""
        ...

    @property
    def capacity(self) -> int | None:
        """Tokens that fit the KV cache at once; None where the engine looks after itself."""
        ...

    async def start(self) -> None:
        """Make the engine ready. Calling it again does nothing.

        Raises:
            EngineUnavailable: it cannot be made ready; the message says what to do.
        """
        ...

    async def render(self, prompt: Prompt) -> Rendered:
        """The prompt as the model reads it; the head is rendered once and generated ids are appended."""
        ...

    async def encode(self, text: str) -> TokenIds | None:
        """The token ids of a piece of text, without any that a prompt would begin with; None where none are known."""
        ...

    async def sample(self, request: SampleRequest) -> Completion:
        """Draw one sequence. Cancelling the awaiting task aborts it inside the engine and leaves the meter exact.

        Raises:
            RequestLost: it failed part-way and may be tried again; the meter says what it cost.
            EngineError: it failed for good.
        """
        ...

    async def close(self) -> None:
        """Stop and free everything. Calling it again does nothing."""
        ...


class Verifier(Protocol):
    """Rates a candidate without a reference answer. Many ratings may be under way at once.

    `logprobs` is what the sequences must carry for it: None for nothing, 0 for the sampled token's log-probability, k
    for the best k alternatives too. The runner asks the engine for them.
    """

    @property
    def logprobs(self) -> int | None: ...

    async def start(self, policy: Engine) -> None:
        """Make ready what it needs of its own, such as a model. Calling it again does nothing.

        Raises:
            EngineUnavailable: it cannot be made ready; the message says what to do.
        """
        ...

    async def bound(self, question: Question, candidate: Completion, policy: Engine) -> Cost:
        """The most that `score` may cost; reserved before it runs."""
        ...

    async def score(self, question: Question, candidate: Completion, policy: Engine, tab: Tab) -> Rating:
        """One rating, its own cost included. Raising is recorded as an error, never as a value.

        Cancelling the awaiting task aborts what runs for it and leaves the tab exact.
        """
        ...

    async def close(self) -> None:
        """Stop and free what `start` made ready. Calling it again does nothing."""
        ...


@runtime_checkable
class PairVerifier(Protocol):
    """A verifier that can also tell which of two candidates is better."""

    async def bound_pair(self, question: Question, a: Completion, b: Completion, policy: Engine) -> Cost:
        """The most that `prefer` may cost; reserved before it runs."""
        ...

    async def prefer(self, question: Question, a: Completion, b: Completion, policy: Engine, tab: Tab) -> Rating:
        """The probability that `a` is better than `b`; of the reversed pair it is the rest to 1. Raises as `score`."""
        ...


@runtime_checkable
class Forgetful(Protocol):
    """An engine or a verifier that remembers what it computed and can forget it: what follows then pays for itself."""

    async def forget(self) -> None:
        """Empty all caches. Nothing may be in flight; where nothing was started there is nothing to forget."""
        ...


async def forget(*those: object) -> None:
    """Empty the caches of each that has any."""
    for one in those:
        if isinstance(one, Forgetful):
            await one.forget()


@runtime_checkable
class Claimant(Protocol):
    """A verifier that runs a model of its own beside the policy, on the same GPU."""

    async def claim(self, policy: Engine) -> None:
        """Claim a part of the GPU's memory, before the policy starts and takes what is left."""
        ...


async def claim(policy: Engine, *those: object) -> None:
    """Have each that runs a model of its own claim its part of the policy's GPU."""
    for one in those:
        if isinstance(one, Claimant):
            await one.claim(policy)


class Resourceless:
    """A verifier that asks no model: there is nothing to make ready, to pay or to free."""

    __slots__ = ()

    async def bound(self, question: Question, candidate: Completion, policy: Engine) -> Cost:
        """Nothing: no model is asked."""
        return Cost()

    async def start(self, policy: Engine) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""


def verifier_cost(model: ModelCard, usage: Usage) -> Cost:
    """What a verifier's request to a model costs: all that was computed for it is verifier tokens."""
    return Cost(
        cached_tokens=usage.cached_tokens,
        verifier_tokens=usage.prompt_tokens - usage.cached_tokens + usage.generated_tokens,
        requests=int(usage.prompt_tokens > 0),
        flops=model.flops(prompt=usage.prompt_tokens, cached=usage.cached_tokens, generated=usage.generated_tokens),
    )


class Calibrated(NamedTuple):
    """What a calibration saw: the model, and how far votes agreed in the end, by `worth.smoothed`, on how many."""

    model: str
    questions: int
    agreement: float
    spread: float


@runtime_checkable
class Confident(Protocol):
    """A strategy that knows, from calibration, how far to trust where its votes stand."""

    def confidence(self, standing: Standing) -> float | None:
        """The chance that the leader is right; None where nothing was calibrated."""
        ...

    @property
    def measured_on(self) -> "Calibrated | None":
        """What the calibration saw; None where there is none."""
        ...


class Comparer(Protocol):
    """Says which answers are the same where their space cannot tell at once; the slow work is done elsewhere.

    The tab is that of the question, whose comparisons share a limit of time. Neither method raises.
    """

    async def same_many(
        self, space: AnswerSpace, pairs: Sequence[tuple[Answer, Answer]], tab: CompareTab
    ) -> tuple[bool | None, ...]:
        """For each pair whether each accepts the other; None where that could not be told in time."""
        ...

    async def blocks(self, space: AnswerSpace, answers: Sequence[Answer], tab: CompareTab) -> tuple[Blocks | None, ...]:
        """The blocks of each answer; None where they could not be told in time."""
        ...

    async def close(self) -> None:
        """Stop and free everything. Calling it again does nothing."""
        ...


StopRule = rule.StopRule
"""Says when a question has had enough; it stands lower, as some rules hold others."""
