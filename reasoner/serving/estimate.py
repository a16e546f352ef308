"""What a request would cost: its plans are followed with made-up replies, of a mean length and as long as may be."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Final

from reasoner.answers.equivalence import Comparer
from reasoner.answers.questions import Question
from reasoner.budget import Cost, Prices
from reasoner.engine import Engine, FinishReason, Logprobs, ModelInfo, Rendered, SampleRequest, Usage
from reasoner.engines import FreeEngine
from reasoner.execution.prediction import follow, predict
from reasoner.serving.choice import Job
from reasoner.serving.errors import ApiError
from reasoner.types import Completion, Prompt, Rating
from reasoner.verifier import CostMeter, FreeVerifier

ANSWERS: Final = ("7", "7", "8")
"""What made-up replies answer, equally often."""
LOGPROB: Final = -0.5
MAX_IDS: Final = 4096
"""Token ids of a made-up reply: a longer one counts as long as it is, but a prompt that continues it is taken for
shorter. The time of an estimate thus depends on the number of samples alone."""
SECONDS: Final = 10.0
"""Seconds that an estimate may take."""


@lru_cache(maxsize=16)
def _repeated(value: Any, length: int) -> tuple[Any, ...]:
    """A tuple of equal values, which many replies share."""
    return (value,) * length


@dataclass(slots=True)
class _MadeUp(FreeEngine):
    """Renders prompts as the engine of the server does, and makes up the replies: their length, and a short answer."""

    real: Engine
    tokens: float
    notes: tuple[str, ...] = ()
    capacity: int | None = None

    @property
    def name(self) -> str:
        """That of the engine."""
        return self.real.name

    @property
    def model(self) -> ModelInfo:
        """That of the server."""
        return self.real.model

    async def render(self, prompt: Prompt) -> Rendered:
        """The tokens of the head, as the model reads it, and what was generated after it."""
        head = await self.real.render(replace(prompt, token_ids=(), text="", thinking=""))
        return Rendered(prompt.token_ids, head.tokens + len(prompt.token_ids))

    async def sample(self, request: SampleRequest) -> Completion:
        """A reply whose answers differ as those of a question of middling difficulty. A cut reply has no answer."""
        await asyncio.sleep(0)
        source = random.Random(request.seed)
        limit, top_k = request.params.limit, request.params.logprobs
        length = max(1, round(min(source.expovariate(1 / self.tokens), limit)))
        text = f"The answer is {source.choice(ANSWERS)}" if length < limit else ""
        finish: FinishReason = "stop" if text else "length"
        kept = min(length, MAX_IDS)
        logprobs = None
        if top_k is not None:
            top = _repeated(_repeated(LOGPROB, top_k), kept) if top_k else ()
            logprobs = Logprobs(_repeated(LOGPROB, kept), top)
        request.meter.usage = usage = Usage(request.rendered.tokens, 0, length)
        ids = _repeated(0, kept)
        return Completion(request.prompt, text, ids, finish, None, usage, logprobs, request.index, request.seed)


class _MadeUpRating(FreeVerifier):
    """Rates anything, and compares anything, at no cost."""

    async def score(self, question: Question, candidate: Completion, policy: Engine, cost_meter: CostMeter) -> Rating:
        """A number between 0 and 1 that the candidate decides."""
        return Rating(random.Random(candidate.seed).random(), Cost())

    async def bound_pair(self, question: Question, a: Completion, b: Completion, policy: Engine) -> Cost:
        """Nothing."""
        return Cost()

    async def compare_pair(
        self, question: Question, a: Completion, b: Completion, policy: Engine, cost_meter: CostMeter
    ) -> Rating:
        """That they are equally good."""
        return Rating(0.5, Cost())


async def estimated(
    jobs: Sequence[Job], engine: Engine, comparer: Comparer, prices: Prices | None, *, mean: float
) -> dict[str, Any]:
    """What the jobs of a request would cost, with replies of `mean` tokens on average and with the longest ones.

    No model is run.

    Raises:
        ReasonerError: a plan cannot be followed.
        ApiError: it takes too long.
    """
    basis = [
        "the plan was followed with made-up replies, none of which came from the model or the cache",
        f"mean: replies of {mean:.0f} tokens on average; longest: every reply as long as limits allow",
    ]
    if jobs[0].verifier is not None and not isinstance(jobs[0].verifier, FreeVerifier):
        basis.append(f"the tokens of the verifier {jobs[0].rated_by} are not included")

    async def cost_on(made_up: Engine) -> Cost:
        return sum([await _followed(job, made_up, comparer, prices) for job in jobs], Cost())

    try:
        async with asyncio.timeout(SECONDS):
            predicted = await predict(cost_on, partial(_MadeUp, engine), max(mean, 1.0))
    except TimeoutError:
        raise ApiError(400, f"this cannot be estimated within {SECONDS:.0f} s: ask for less at once") from None
    return {"object": "reasoner.estimate", "model": jobs[0].model, **predicted.document(prices), "basis": basis}


async def _followed(job: Job, engine: Engine, comparer: Comparer, prices: Prices | None) -> Cost:
    return await follow(
        [job.question],
        job.strategy,
        engine,
        verifier=_MadeUpRating() if job.verifier is not None else None,
        each=job.budget,
        prices=prices,
        stop=job.stop,
        seed=job.seed,
        comparer=comparer,
    )
