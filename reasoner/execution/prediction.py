"""What answers would cost, predicted by following their plans with made-up replies; no model is run."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from reasoner.answers.questions import Question
from reasoner.budget import Cost, Prices
from reasoner.engine import Engine
from reasoner.execution.runner import solve_each
from reasoner.strategy import Strategy

REPLY_TOKENS: Final = 100.0
"""The mean length of a reply where nothing is known of the model."""
_ENDLESS: Final = 1e12
"""A mean length at which every reply is cut at its limit."""
_COUNTS: Final = ("prompt_tokens", "generated_tokens", "verifier_tokens", "cancelled_tokens", "requests", "samples")


class PredictedCost(NamedTuple):
    """The cost with replies of a mean length, and with every reply as long as limits allow."""

    mean: Cost = Cost()
    longest: Cost = Cost()

    def document(self, prices: Prices | None = None) -> dict[str, Any]:
        """Both costs for JSON, in dollars too where there are prices."""
        return {name: _document(cost, prices) for name, cost in self._asdict().items()}


async def predict(
    cost_on: Callable[[Engine], Awaitable[Cost]], made_up: Callable[[float], Engine], mean: float
) -> PredictedCost:
    """Both costs, as `cost_on` counts them on the engine that `made_up` gives for a mean length of replies."""
    return PredictedCost(await cost_on(made_up(mean)), await cost_on(made_up(_ENDLESS)))


async def follow(questions: Sequence[Question], strategy: Strategy, engine: Engine, **options: Any) -> Cost:
    """The cost of the questions on an engine; the options are those of `solve_each`.

    Raises:
        ReasonerError: a plan cannot be followed to its end.
    """
    spent = Cost()
    async with aclosing(solve_each(questions, strategy, engine, **options)) as solutions:
        async for _, solution in solutions:
            if solution.error is not None:
                raise solution.error
            spent += solution.cost
    return spent


def _document(cost: Cost, prices: Prices | None) -> dict[str, Any]:
    counts = {name: getattr(cost, name) for name in _COUNTS}
    return {"tokens": cost.tokens, **counts, **({"usd": prices.usd(cost)} if prices else {})}
