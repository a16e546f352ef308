"""Product: several verifiers as one."""

import asyncio
import math
from dataclasses import dataclass
from typing import ClassVar

from reasoner import Completion, Cost, Question, Rating
from reasoner.engine import Engine, release, reset_caches
from reasoner.errors import UsageError, VerifierError
from reasoner.specs import CheckedOptions
from reasoner.verifier import CostMeter, Verifier, claim_memory


@dataclass(frozen=True, slots=True)
class Product(CheckedOptions):
    """Rates by several verifiers: the product of their values, written `certainty*equations`.

    All `members` rate every candidate concurrently. One that cannot rate it counts as 1, so that the others decide; a
    candidate that none can rate has no rating. `parts` of a rating holds the values of those that rated it.
    """

    example: ClassVar[str] = (
        '-s best_of_n:n=4,selector=weighted --verifier "certainty*equations"'
    )

    members: tuple[Verifier, ...]

    def complete(self) -> None:
        if not self.members:
            raise UsageError("members must not be empty: write certainty*equations")

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
        """The combined rating of one candidate. Raises VerifierError if no member can rate it."""
        cost_meters = [CostMeter() for _ in self.members]
        tasks = [
            asyncio.ensure_future(_rated(member, question, candidate, policy, own))
            for member, own in zip(self.members, cost_meters, strict=True)
        ]
        try:
            ratings = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            costs = [own.cost for own in cost_meters]
            cost_meter.cost = (
                None if None in costs else sum((cost for cost in costs if cost), Cost())
            )
        assert cost_meter.cost is not None
        values = [rating for rating in ratings if isinstance(rating, float)]
        if not values:
            raise VerifierError("; ".join(map(str, ratings)))
        return Rating(math.prod(values), cost_meter.cost, parts=tuple(values))


async def _rated(
    member: Verifier,
    question: Question,
    candidate: Completion,
    policy: Engine,
    cost_meter: CostMeter,
) -> float | str:
    """A member's value, or why it has none. The meter holds its whole cost, also after an error."""
    try:
        rating = await member.score(question, candidate, policy, cost_meter)
    except BaseException as error:
        if cost_meter.cost is None:
            cost_meter.cost = await member.bound(question, candidate, policy)
        if isinstance(error, VerifierError):
            return str(error)
        raise
    cost_meter.cost = rating.cost
    return rating.error if rating.value is None else float(rating.value)
