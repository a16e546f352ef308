"""Ratings of candidates by the run's verifier."""

from dataclasses import dataclass, field, replace
from typing import Any

from reasoner.budget import NO_COST, Cost
from reasoner.errors import BudgetExhausted, TraceError, VerifierError
from reasoner.execution.executor import OperationExecutor
from reasoner.execution.work import Inquiry, Job, failed, perform
from reasoner.system.foreign import is_cancellation
from reasoner.trace.events import Scored
from reasoner.trace.recorder import Why
from reasoner.types import NOT_RATED, Completion, Rating
from reasoner.verifier import CostMeter, Verifier


async def rate(
    executor: OperationExecutor,
    op: int,
    verifier: Verifier,
    candidate: Completion,
    *,
    at: int,
    reserve: int = 0,
) -> Rating:
    """Rate a candidate from the virtual time `at` on.

    What the verifier raises becomes an error.

    Raises:
        BudgetExhausted: the ledger refused it, or the deadline passed.
    """
    name = candidate.prompt.digest, candidate.index
    values: dict[str, Any] = {
        "prompt": name[0],
        "index": name[1],
        "value": None,
        "parts": (),
        "steps": (),
    }
    inquiry = Inquiry(executor, op, Scored, name, "verdict", NOT_RATED, values, at)

    async def ask() -> None:
        rating = await _RatingJob(
            1, executor, at, inquiry, verifier, candidate, reserve
        ).rating()
        values.update(
            {field: getattr(rating, field) for field in ("value", "parts", "steps")}
        )
        inquiry.error = rating.error

    return (inquiry.recorded() or await inquiry.outcome(ask)).rating


@dataclass(slots=True, eq=False)
class _RatingJob(Job[Rating]):
    """One rating by a verifier, with `reserve` tokens reserved beside it.

    One that does not complete is booked at its meter, or else at its bound.
    """

    verifier: Verifier
    candidate: Completion
    reserve: int
    bound: Cost = NO_COST
    worst: Cost = NO_COST
    meter: CostMeter = field(default_factory=CostMeter)

    async def rating(self) -> Rating:
        """The rating. Raises as `perform`."""
        self.worst = self.bound = bound = await self.bound_now()
        if self.reserve:
            grown = await self.executor.render(
                self.candidate.prompt.then(self.candidate)
            )
            self.worst += self.executor.reserved_cost(grown.tokens, self.reserve)
        try:
            return await perform(self)
        except BudgetExhausted as refusal:
            # While it waited, what it needs may have been made for another candidate.
            if (
                refusal.unit == "seconds"
                or (await self.bound_now()).tokens >= bound.tokens
            ):
                raise
            return await self.rating()

    async def bound_now(self) -> Cost:
        """The most that it costs now."""
        question, engine, verifier = (
            self.executor.question,
            self.executor.engine,
            self.verifier,
        )
        bound = await verifier.bound(question, self.candidate, engine)
        return _checked(bound, self.at)

    def price(self, _tokens: int) -> Cost:
        """The bound, with what is reserved beside it."""
        return self.worst

    async def run(self, _granted: int) -> Rating:
        """The verifier's rating; what it raises becomes an error."""
        question, engine, verifier, meter = (
            self.executor.question,
            self.executor.engine,
            self.verifier,
            self.meter,
        )
        try:
            rating = await verifier.score(question, self.candidate, engine, meter)
            return replace(rating, cost=_checked(rating.cost, self.at))
        except BaseException as failure:
            if isinstance(failure, TraceError) or is_cancellation(failure):
                raise
            return Rating(None, self.spent("lost"), error=failed(failure))

    def cost(self, rating: Rating) -> Cost:
        """What the verifier says."""
        return rating.cost

    def spent(self, why: Why) -> Cost:
        """What the meter says. Nobody waited for the end of one that was cancelled."""
        metered = self.meter.cost
        spent = (
            self.bound
            if metered is None or metered.fault()
            else _checked(metered, self.at)
        )
        return spent if why == "lost" else spent.until(0)


def _checked(cost: Cost, at: int) -> Cost:
    """The cost that a verifier reports, of a rating that starts at `at`."""
    if fault := cost.fault():
        raise VerifierError(f"the verifier counted wrongly: {fault}")
    return cost.until(at + cost.sequential_tokens)
