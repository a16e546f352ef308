"""Predicts what answers would cost: their plans are followed with made-up replies; no model is run."""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from reasoner.answers.questions import Question
from reasoner.budget import Cost, Prices
from reasoner.engine import Engine, FinishReason, Logprobs, ModelInfo, Rendered, SampleRequest, Usage
from reasoner.engines import FreeEngine
from reasoner.execution.runner import solve_each
from reasoner.registry import spec_of
from reasoner.strategy import Strategy
from reasoner.types import Completion, Prompt, Rating
from reasoner.verifier import CostMeter, FreeVerifier, Verifier

REPLY_TOKENS: Final = 100.0
"""The mean length of a reply where nothing is known of the model."""
ANSWERS: Final = ("7", "7", "8")
"""The answers of made-up replies, equally likely."""
LOGPROB: Final = -0.5
MAX_IDS: Final = 4096
"""Token ids of a made-up reply. A longer reply counts with its length, but a prompt that continues it counts as
shorter, so the time of a prediction depends only on the number of samples."""
_ENDLESS: Final = 1e12
"""A mean length at which every reply is cut at its limit."""
_COUNTS: Final = ("prompt_tokens", "generated_tokens", "verifier_tokens", "cancelled_tokens", "requests", "samples")


class PredictedCost(NamedTuple):
    """The cost with replies of a mean length, and with every reply as long as limits allow."""

    mean: Cost = Cost()
    longest: Cost = Cost()

    @classmethod
    def total(cls, costs: Iterable["PredictedCost"]) -> "PredictedCost":
        """The sum of costs."""
        both = list(costs)
        return cls(sum((cost.mean for cost in both), Cost()), sum((cost.longest for cost in both), Cost()))

    def document(self, prices: Prices | None = None) -> dict[str, Any]:
        """Both costs for JSON, in dollars too where there are prices."""
        return {
            name: {
                "tokens": cost.tokens,
                **{count: getattr(cost, count) for count in _COUNTS},
                **({"usd": prices.usd(cost)} if prices else {}),
            }
            for name, cost in self._asdict().items()
        }


async def predict(
    questions: Sequence[Question],
    strategy: Strategy,
    made_up: Callable[[float], Engine],
    mean: float,
    *,
    verifier: Verifier | None = None,
    **options: Any,
) -> PredictedCost:
    """The cost of the questions, with replies of `mean` tokens on average and with the longest ones.

    `made_up` gives an engine without a model for a mean length of replies. The verifier costs nothing. The options are
    those of `solve_each`.

    Raises:
        ReasonerError: a plan cannot be followed to its end.
    """
    if verifier is not None and (not isinstance(verifier, FreeVerifier) or verifier.logprobs is None):
        verifier = _MadeUpRating()
    both = []
    for tokens in (mean, _ENDLESS):
        spent = Cost()
        stream = solve_each(questions, strategy, made_up(tokens), verifier=verifier, **options)
        async with aclosing(stream) as solutions:
            async for _, solution in solutions:
                if solution.error is not None:
                    raise solution.error
                spent += solution.cost
        both.append(spent)
    return PredictedCost(*both)


def left_out(verifier: Verifier | None) -> list[str]:
    """What a prediction does not include, in lines."""
    if verifier is None or isinstance(verifier, FreeVerifier):
        return []
    return [f"the tokens of the verifier {spec_of(verifier)} are not included"]


@dataclass(slots=True)
class MadeUpEngine(FreeEngine):
    """Renders prompts as a started engine does, and makes up replies of a mean length with a short answer."""

    real: Engine
    tokens: float
    notes: tuple[str, ...] = ()
    capacity: int | None = None

    @property
    def name(self) -> str:
        """The name of the real engine."""
        return self.real.name

    @property
    def model(self) -> ModelInfo:
        """The model of the real engine."""
        return self.real.model

    async def render(self, prompt: Prompt) -> Rendered:
        """The tokens of the prompt as the model reads it, and those that were generated after it."""
        head = await self.real.render(replace(prompt, token_ids=(), text="", thinking=""))
        return Rendered(prompt.token_ids, head.tokens + len(prompt.token_ids))

    async def sample(self, request: SampleRequest) -> Completion:
        """A reply that agrees with others as often as on a question of medium difficulty. A cut reply has no answer."""
        await asyncio.sleep(0)
        source = random.Random(request.seed)
        limit, top_k = request.params.limit, request.params.logprobs
        length = max(1, round(min(source.expovariate(1 / self.tokens), limit)))
        text = f"The answer is {source.choice(ANSWERS)}" if length < limit else ""
        finish: FinishReason = "stop" if text else "length"
        kept = min(length, MAX_IDS)
        logprobs = None
        if top_k is not None:
            logprobs = Logprobs((LOGPROB,) * kept, ((LOGPROB,) * top_k,) * kept if top_k else ())
        request.meter.usage = usage = Usage(request.rendered.tokens, 0, length)
        return Completion(request.prompt, text, (0,) * kept, finish, None, usage, logprobs, request.index, request.seed)


class _MadeUpRating(FreeVerifier):
    """Rates and compares anything, at no cost."""

    async def score(self, question: Question, candidate: Completion, policy: Engine, cost_meter: CostMeter) -> Rating:
        """A number between 0 and 1 that the candidate decides."""
        return Rating(random.Random(candidate.seed).random(), Cost())

    async def bound_pair(self, question: Question, a: Completion, b: Completion, policy: Engine) -> Cost:
        """Nothing."""
        return Cost()

    async def compare_pair(
        self, question: Question, a: Completion, b: Completion, policy: Engine, cost_meter: CostMeter
    ) -> Rating:
        """A draw."""
        return Rating(0.5, Cost())
