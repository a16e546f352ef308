"""Ensemble: several verifiers as one."""

import asyncio
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from reasoner import Completion, Cost, Question, Rating
from reasoner.engine import Engine, release, reset_caches
from reasoner.errors import UsageError, VerifierError
from reasoner.specs import CheckedOptions
from reasoner.verifier import CostMeter, Verifier, claim_memory


@dataclass(frozen=True, slots=True)
class Ensemble(CheckedOptions):
    """Rates by several verifiers: their `mean` or their `product`.

    `how` says which. All `members` rate every candidate concurrently. If one fails the candidate has no rating, because
    a mean over fewer members is on another scale. `parts` of a rating holds the members' values.
    """

    example: ClassVar[str] = (
        '-s best_of_n:n=4 --verifier "ensemble:members=[certainty,rules(pattern=7)]"'
    )

    members: tuple[Verifier, ...]
    how: Literal["mean", "product"] = "mean"

    def complete(self) -> None:
        if not self.members:
            raise UsageError(
                "members must not be empty: write ensemble:members=[certainty,judge]"
            )

    @property
    def logprobs(self) -> int | None:
        """The largest number of alternatives that a member needs."""
        return max(
            (member.logprobs for member in self.members if member.logprobs is not None),
            default=None,
        )

    async def claim_memory(self, policy: Engine) -> None:
        """Let the members claim their shares of the policy's GPU."""
        await claim_memory(policy, *self.members)

    async def start(self, policy: Engine) -> None:
        """Start the members."""
        for member in self.members:
            await member.start(policy)

    async def reset_caches(self) -> None:
        """Empty the members' caches."""
        await reset_caches(*self.members)

    def release(self, question_id: str) -> None:
        """Tell the members that a question has ended."""
        release(question_id, *self.members)

    async def close(self) -> None:
        """Close the members."""
        for member in self.members:
            await member.close()

    async def bound(
        self, question: Question, candidate: Completion, policy: Engine
    ) -> Cost:
        """The sum of the members' bounds."""
        return sum(
            [
                await member.bound(question, candidate, policy)
                for member in self.members
            ],
            Cost(),
        )

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        """The combined rating of one candidate."""
        cost_meters = [CostMeter() for _ in self.members]
        tasks = [
            asyncio.ensure_future(_rated(member, question, candidate, policy, own))
            for member, own in zip(self.members, cost_meters, strict=True)
        ]
        try:
            values = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            costs = [own.cost for own in cost_meters]
            cost_meter.cost = (
                None if None in costs else sum((cost for cost in costs if cost), Cost())
            )
        assert cost_meter.cost is not None
        value = (
            math.prod(values)
            if self.how == "product"
            else math.fsum(values) / len(values)
        )
        return Rating(value, cost_meter.cost, parts=tuple(values))


async def _rated(
    member: Verifier,
    question: Question,
    candidate: Completion,
    policy: Engine,
    cost_meter: CostMeter,
) -> float:
    """A member's value. The meter holds its whole cost, also after an error."""
    try:
        rating = await member.score(question, candidate, policy, cost_meter)
    except BaseException:
        if cost_meter.cost is None:
            cost_meter.cost = await member.bound(question, candidate, policy)
        raise
    cost_meter.cost = rating.cost
    if rating.value is None:
        raise VerifierError(rating.error)
    return rating.value
