"""What a request would cost: its plans are followed with made-up replies, of a mean length and as long as may be."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from reasoner.answers.equivalence import Comparer
from reasoner.budget import Cost, Prices
from reasoner.engine import Engine, Rendered, SampleRequest
from reasoner.engines.simulated import SimulatedEngine
from reasoner.execution.runner import solve
from reasoner.registry import build
from reasoner.serving.choice import Job
from reasoner.types import Completion, Prompt, TokenIds
from reasoner.verifier import FreeVerifier

REPLY_TOKENS: Final = 100.0
"""The mean length of a reply before the server has drawn any."""
ENDLESS: Final = 1e12
"""A mean length at which every reply is cut at its limit."""
COUNTED: Final = ("prompt_tokens", "generated_tokens", "verifier_tokens", "cancelled_tokens", "requests", "samples")


@lru_cache(maxsize=64)
def _ids(length: int) -> TokenIds:
    """Token ids that mean nothing; long replies share them, as there may be a thousand."""
    return (0,) * length


@dataclass(slots=True)
class _MadeUp(SimulatedEngine):
    """Renders prompts as the engine of the server does, and makes up the replies."""

    real: Engine | None = None

    async def render(self, prompt: Prompt) -> Rendered:
        """The tokens of the head, as the model reads it, and what was generated after it."""
        assert self.real is not None
        head = await self.real.render(replace(prompt, token_ids=(), text="", thinking=""))
        return Rendered(prompt.token_ids, head.tokens + len(prompt.token_ids))

    async def sample(self, request: SampleRequest) -> Completion:
        """A reply whose answers differ as those of a question of middling difficulty."""
        completion = await SimulatedEngine.sample(self, request)
        return replace(completion, token_ids=_ids(len(completion.token_ids)))


async def estimated(
    jobs: Sequence[Job], engine: Engine, comparer: Comparer, prices: Prices | None, *, mean: float
) -> dict[str, Any]:
    """What the jobs of a request would cost, with replies of `mean` tokens on average and with the longest ones.

    No model is run. Raises ReasonerError: a plan cannot be followed.
    """
    basis = [
        "the plan was followed with made-up replies, none of which came from the model or the cache",
        f"mean: replies of {mean:.0f} tokens on average; longest: every reply as long as limits allow",
    ]
    made_up = _MadeUp(tokens=max(mean, 1.0), real=engine)
    made_up.model = engine.model
    endless = replace(made_up, tokens=ENDLESS)
    endless.model = engine.model
    verifier = jobs[0].verifier
    if verifier is not None and not isinstance(verifier, FreeVerifier):
        basis.append(f"the tokens of the verifier {jobs[0].rated_by} are not included")
        verifier = build("verifier", "certainty")
    costs = {}
    for name, made in (("mean", made_up), ("longest", endless)):
        costs[name] = Cost()
        for job in jobs:
            solution = await solve(
                job.question,
                job.strategy,
                made,
                verifier=verifier,
                budget=job.budget,
                prices=prices,
                stop=job.stop,
                seed=job.seed,
                comparer=comparer,
            )
            if solution.error:
                raise solution.error
            costs[name] += solution.cost
    documents = {name: _document(cost, prices) for name, cost in costs.items()}
    return {"object": "reasoner.estimate", "model": jobs[0].model, **documents, "basis": basis}


def _document(cost: Cost, prices: Prices | None) -> dict[str, Any]:
    counts = {name: getattr(cost, name) for name in COUNTED}
    return {"tokens": cost.tokens, **counts, **({"usd": prices.usd(cost)} if prices else {})}
