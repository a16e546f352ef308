"""What the author of a verifier imports: the interface, the cost meter and its optional capabilities."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from reasoner.answers.questions import Question
from reasoner.budget import Cost
from reasoner.engine import Engine
from reasoner.models.info import ModelInfo
from reasoner.types import Completion, Rating, Usage

__all__ = [
    "CostMeter",
    "FreeVerifier",
    "MemoryClaimant",
    "Verifier",
    "claim_memory",
    "verifier_cost",
]


@dataclass(slots=True)
class CostMeter:
    """What a verifier has spent on one rating so far.

    The verifier writes it; the runner reads it if the rating does not complete. None means unknown: the rating is then
    booked at its bound.
    """

    cost: Cost | None = None


class Verifier(Protocol):
    """Rates a candidate without a reference answer. Many ratings may run at once."""

    @property
    def logprobs(self) -> int | None:
        """The log-probabilities that a candidate must have; the runner asks the engine for them.

        None for nothing, 0 for the sampled token's, k from 1 to 20 for those of the best k alternatives too.
        """

    async def start(self, policy: Engine) -> None:
        """Make its own resources ready, such as a model. A second call does nothing.

        Raises:
            EngineUnavailable: it cannot be made ready; the message says what to do.
        """

    async def bound(
        self, question: Question, candidate: Completion, policy: Engine
    ) -> Cost:
        """The most that `score` can cost; reserved before it runs."""

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        """One rating with its cost: a value from 0 to 1. An exception is recorded as the rating's error.

        Cancelling the awaiting task aborts its work and leaves the meter exact.
        """

    async def close(self) -> None:
        """Stop and free what `start` made ready. A second call does nothing."""


@runtime_checkable
class MemoryClaimant(Protocol):
    """A verifier that runs a model of its own next to the policy, on the same GPU."""

    async def claim_memory(self, policy: Engine) -> None:
        """Claim a part of the GPU's memory before the policy starts and takes the rest."""


async def claim_memory(policy: Engine, *plugins: object) -> None:
    """Let each plug-in with a model of its own claim its part of the policy's GPU; call it before the policy starts."""
    for plugin in plugins:
        if isinstance(plugin, MemoryClaimant):
            await plugin.claim_memory(policy)


class FreeVerifier:
    """Base of a verifier without a model: nothing to start, to pay or to close."""

    __slots__ = ()

    @property
    def logprobs(self) -> int | None:
        """None: it reads text alone."""
        return None

    async def bound(
        self, question: Question, candidate: Completion, policy: Engine
    ) -> Cost:
        """Nothing."""
        return Cost()

    async def start(self, policy: Engine) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""


def verifier_cost(model: ModelInfo, usage: Usage) -> Cost:
    """The cost of a verifier's request to a model: all computed tokens are verifier tokens.

    Its sequential tokens count from the start of the rating, as of all costs that a verifier reports.
    """
    return Cost(
        cached_tokens=usage.cached_tokens,
        verifier_tokens=usage.prompt_tokens
        - usage.cached_tokens
        + usage.generated_tokens,
        requests=int(usage.prompt_tokens > 0),
        flops=model.flops_of(usage),
        sequential_tokens=usage.generated_tokens,
    )
