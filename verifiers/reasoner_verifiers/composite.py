"""The base of verifiers that rate by other verifiers."""

from collections.abc import Sequence

from reasoner.answers.questions import Question
from reasoner.budget import Cost
from reasoner.engine import Engine, reset_caches
from reasoner.types import Completion
from reasoner.verifier import Verifier, claim_memory


class Composite:
    """A verifier that rates by other verifiers; it starts them one after the other."""

    __slots__ = ()

    @property
    def _verifiers(self) -> Sequence[Verifier]:
        raise NotImplementedError

    @property
    def logprobs(self) -> int | None:
        """The largest number of alternatives that a part needs."""
        return max((part.logprobs for part in self._verifiers if part.logprobs is not None), default=None)

    async def claim_memory(self, policy: Engine) -> None:
        """Let the parts claim their shares of the policy's GPU."""
        await claim_memory(policy, *self._verifiers)

    async def start(self, policy: Engine) -> None:
        """Start the parts."""
        for part in self._verifiers:
            await part.start(policy)

    async def reset_caches(self) -> None:
        """Empty the parts' caches."""
        await reset_caches(*self._verifiers)

    async def close(self) -> None:
        """Close the parts."""
        for part in self._verifiers:
            await part.close()

    async def bound(self, question: Question, candidate: Completion, policy: Engine) -> Cost:
        """The sum of the parts' bounds."""
        return sum([await part.bound(question, candidate, policy) for part in self._verifiers], Cost())
