"""Calibrated: turns a verifier's values into probabilities that the answer is right, by a map in a JSON file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, Field, model_validator
from scipy import optimize

from reasoner import Completion, Question, Rating
from reasoner.engine import Engine
from reasoner.errors import UsageError
from reasoner.registry import spec_of
from reasoner.system.files import read_value
from reasoner.verifier import CostMeter, Verifier
from reasoner_verifiers.ensemble import Composite

MIN_RATINGS = 30
"""Right and wrong ratings together that a fit needs."""

Probability = Annotated[float, Field(ge=0, le=1)]


class Calibration(BaseModel, frozen=True, extra="forbid"):
    """A map of one verifier's values to probabilities, linear between the knots (x, y)."""

    v: Literal[1] = 1
    kind: Literal["calibration"] = "calibration"
    verifier: str
    fitted_on: Mapping[str, int]
    """The numbers of questions, ratings and right ones of the fit."""
    x: tuple[Probability, ...]
    y: tuple[Probability, ...]

    @model_validator(mode="after")
    def _monotone(self) -> "Calibration":
        rising = all(a <= b for knots in (self.x, self.y) for a, b in pairwise(knots))
        if not self.x or len(self.x) != len(self.y) or not rising:
            raise ValueError("the knots are not in rising order")
        return self

    def apply(self, value: float) -> float:
        """The probability that a candidate of this value is right."""
        return float(np.interp(value, self.x, self.y))


@dataclass(frozen=True, slots=True)
class Calibrated(Composite):
    """Rates by `verifier` and maps its value to the probability that a candidate with this value is right.

    `file` is a map that `reasoner verifier calibrate` fitted on a labelled run with the same verifier, by isotonic
    regression (Zadrozny 2002). It never reverses an order, but may make values equal. `parts` of a rating holds the
    verifier's own value.
    """

    example: ClassVar[str] = (
        "-s best_of_n:n=4 --verifier calibrated:verifier=certainty,file=FILE"
    )

    verifier: Verifier
    file: str
    _fitted: list[Calibration] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        fitted = read_map(Path(self.file))
        if fitted.verifier != spec_of(self.verifier):
            raise UsageError(
                f"{self.file} was fitted for the verifier {fitted.verifier}: use that verifier"
            )
        self._fitted.append(fitted)

    @property
    def _verifiers(self) -> tuple[Verifier]:
        return (self.verifier,)

    async def score(
        self,
        question: Question,
        candidate: Completion,
        policy: Engine,
        cost_meter: CostMeter,
    ) -> Rating:
        """The probability that one candidate is right; the values of its steps are mapped too."""
        rating = await self.verifier.score(question, candidate, policy, cost_meter)
        if rating.value is None:
            return rating
        apply = self._fitted[0].apply
        return replace(
            rating,
            value=apply(rating.value),
            steps=tuple(map(apply, rating.steps)),
            parts=(rating.value,),
        )


def read_map(path: Path) -> Calibration:
    """The map in a file. Raises UsageError: there is none."""
    return read_value(
        path,
        Calibration,
        what="calibration file",
        advice="give a file that `reasoner verifier calibrate` wrote",
    )


def fit_calibration(
    values: Sequence[float],
    right: Sequence[bool],
    *,
    verifier: str,
    fitted_on: Mapping[str, int],
) -> Calibration:
    """The map of one verifier, by isotonic regression."""
    y = np.asarray(right, dtype=np.float64)
    if len(y) < MIN_RATINGS or not 0 < y.sum() < len(y):
        raise UsageError(
            f"too few ratings: {len(y)}, and {int(y.sum())} of them right; give {MIN_RATINGS} or more, some right "
            "and some wrong"
        )
    distinct, indices, counts = np.unique(
        np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True
    )
    shares = np.bincount(indices, weights=y) / counts
    fitted = np.clip(optimize.isotonic_regression(shares, weights=counts).x, 0, 1)
    # Only the ends of each level part: the map is linear between them.
    ends = [
        i
        for i in range(len(fitted))
        if i in (0, len(fitted) - 1) or not fitted[i - 1] == fitted[i] == fitted[i + 1]
    ]
    return Calibration(
        verifier=verifier,
        fitted_on=fitted_on,
        x=distinct[ends].tolist(),
        y=fitted[ends].tolist(),
    )
