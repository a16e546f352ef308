"""Calibrated: a verifier's values turned into probabilities of being right."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from reasoner.budget import Cost
from reasoner.catalog import spec_of
from reasoner.errors import UsageError
from reasoner.protocols import Engine, Tab, Verifier, claim, forget
from reasoner.types import Completion, Question, Rating
from reasoner_verifiers.maps import Calibration, read_map


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Rates as `verifier` does, by the probability that a candidate with this value is right.

    The map in `file` was fitted by `reasoner verifier calibrate` on a labelled run with the same verifier:
    isotonic regression (Zadrozny 2002) or a logistic map of the log-odds (Platt 1999). It never reverses an order, but
    an isotonic map may make values equal. `parts` keeps the value before.
    """

    verifier: Verifier
    file: str
    _fitted: list[Calibration] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        fitted = read_map(Path(self.file), Calibration)
        if fitted.verifier != spec_of(self.verifier):
            raise UsageError(f"{self.file} was fitted for the verifier {fitted.verifier}: name the same")
        self._fitted.append(fitted)

    @property
    def logprobs(self) -> int | None:
        """What the verifier needs."""
        return self.verifier.logprobs

    async def claim(self, policy: Engine) -> None:
        """Have the verifier claim its part of the policy's GPU."""
        await claim(policy, self.verifier)

    async def start(self, policy: Engine) -> None:
        """Make the verifier ready."""
        await self.verifier.start(policy)

    async def forget(self) -> None:
        """Empty the verifier's caches."""
        await forget(self.verifier)

    async def close(self) -> None:
        """Free what the verifier holds."""
        await self.verifier.close()

    async def bound(self, question: Question, candidate: Completion, policy: Engine) -> Cost:
        """The verifier's."""
        return await self.verifier.bound(question, candidate, policy)

    async def score(self, question: Question, candidate: Completion, policy: Engine, tab: Tab) -> Rating:
        """The verifier's rating of one candidate, as a probability; its steps' values too."""
        rating = await self.verifier.score(question, candidate, policy, tab)
        if rating.value is None:
            return rating
        apply = self._fitted[0].apply
        return replace(rating, value=apply(rating.value), steps=tuple(map(apply, rating.steps)), parts=(rating.value,))
