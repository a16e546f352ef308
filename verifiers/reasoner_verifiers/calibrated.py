"""Calibrated: turns a verifier's values into probabilities that the answer is right."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from reasoner.answers.questions import Question
from reasoner.engine import Engine
from reasoner.errors import UsageError
from reasoner.registry import spec_of
from reasoner.types import Completion, Rating
from reasoner.verifier import CostMeter, Verifier
from reasoner_verifiers.ensemble import Composite
from reasoner_verifiers.maps import Calibration, read_map


@dataclass(frozen=True, slots=True)
class Calibrated(Composite):
    """Rates by `verifier` and maps its value to the probability that a candidate with this value is right.

    `file` is a map that `reasoner verifier calibrate` fitted on a labelled run with the same verifier: isotonic
    regression (Zadrozny 2002) or logistic in the log-odds (Platt 1999). It never reverses an order; an isotonic map may
    make values equal. `parts` of a rating holds the verifier's own value.
    """

    example: ClassVar[str] = "-s best_of_n:n=4 --verifier calibrated:verifier=certainty,file=FILE"

    verifier: Verifier
    file: str
    _fitted: list[Calibration] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        fitted = read_map(Path(self.file))
        if fitted.verifier != spec_of(self.verifier):
            raise UsageError(f"{self.file} was fitted for the verifier {fitted.verifier}: use that verifier")
        self._fitted.append(fitted)

    @property
    def _verifiers(self) -> tuple[Verifier]:
        return (self.verifier,)

    async def score(self, question: Question, candidate: Completion, policy: Engine, tab: CostMeter) -> Rating:
        """The probability that one candidate is right; the values of its steps are mapped too."""
        rating = await self.verifier.score(question, candidate, policy, tab)
        if rating.value is None:
            return rating
        apply = self._fitted[0].apply
        return replace(rating, value=apply(rating.value), steps=tuple(map(apply, rating.steps)), parts=(rating.value,))
