"""A map from a verifier's values to probabilities, fitted on labelled ratings and stored as JSON."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, FiniteFloat, ValidationError, model_validator
from scipy import optimize, special

from reasoner.errors import UsageError, require_choice
from reasoner.system.files import complaint_of, read_whole

MIN_RATINGS = 30
"""Right and wrong ratings together that a fit needs."""
_CLIP = 1e-6
_RIDGE = 1e-2
"""Penalty on slopes, which keeps them finite if the values separate right from wrong perfectly."""

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Probability = Annotated[float, Field(ge=0, le=1)]


class FittedOn(BaseModel, frozen=True, extra="forbid"):
    """The data of a fit: the SHA-256 of the runs' files, and the numbers of questions, ratings and right ones."""

    data_sha256: str
    questions: int
    ratings: int
    right: int


class Calibration(BaseModel, frozen=True, extra="forbid"):
    """A map of one verifier's values: `isotonic` is linear between knots, `platt` is logistic in the log-odds."""

    v: Literal[1] = 1
    kind: Literal["calibration"] = "calibration"
    method: Literal["isotonic", "platt"]
    verifier: str
    fitted_on: FittedOn
    x: tuple[Probability, ...] = ()
    y: tuple[Probability, ...] = ()
    slope: FiniteFloat = 0.0
    intercept: FiniteFloat = 0.0

    @model_validator(mode="after")
    def _monotone(self) -> "Calibration":
        if self.method == "isotonic":
            rising = all(a <= b for knots in (self.x, self.y) for a, b in pairwise(knots))
            if not self.x or len(self.x) != len(self.y) or not rising:
                raise ValueError("the knots are not in rising order")
        elif self.slope < 0:
            raise ValueError("a negative slope reverses the order")
        return self

    def apply(self, value: float) -> float:
        """The probability that a candidate of this value is right."""
        if self.method == "isotonic":
            return float(np.interp(value, self.x, self.y))
        return float(special.expit(self.slope * _log_odds(value) + self.intercept))


def read_map(path: Path) -> Calibration:
    """The map in a file.

    Raises:
        UsageError: it cannot be read, or is not a map.
    """
    try:
        return Calibration.model_validate_json(read_whole(path))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise UsageError(f"{path} is not a calibration file: {complaint_of(error)}") from error


def fit_calibration(
    values: Sequence[float], right: Sequence[bool], *, method: str, verifier: str, fitted_on: FittedOn
) -> Calibration:
    """The map of one verifier.

    Raises:
        UsageError: there are too few ratings, or the method does not exist.
    """
    require_choice(method, "method", ("isotonic", "platt"))
    x, y = np.asarray(values, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if len(y) < MIN_RATINGS or not 0 < y.sum() < len(y):
        raise UsageError(
            f"{len(y)} ratings, {int(y.sum())} of them right, are too few: give {MIN_RATINGS} or more, some right "
            "and some wrong"
        )
    if method == "isotonic":
        distinct, indices, counts = np.unique(x, return_inverse=True, return_counts=True)
        shares = np.bincount(indices, weights=y) / counts
        knots = _knots(distinct, np.clip(optimize.isotonic_regression(shares, weights=counts).x, 0, 1))
        return Calibration(method="isotonic", verifier=verifier, fitted_on=fitted_on, x=knots[0], y=knots[1])
    [slope], intercept = logistic(_log_odds(x)[:, None], _platt_targets(y), ridge=_RIDGE / len(y), nonnegative=True)
    return Calibration(method="platt", verifier=verifier, fitted_on=fitted_on, slope=float(slope), intercept=intercept)


def _knots(x: Floats, y: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The ends of each level part as x and y; the map is linear between them."""
    keep = [i for i in range(len(x)) if i in (0, len(x) - 1) or not y[i - 1] == y[i] == y[i + 1]]
    return tuple(x[keep].tolist()), tuple(y[keep].tolist())


def _platt_targets(y: Floats) -> Floats:
    """Platt's smoothed labels."""
    right, wrong = y.sum(), len(y) - y.sum()
    return np.where(y > 0, (right + 1) / (right + 2), 1 / (wrong + 2))


def _log_odds(value: float | Floats) -> Floats:
    return np.asarray(special.logit(np.clip(value, _CLIP, 1 - _CLIP)))


def logistic(
    x: Floats | Floats32, y: Floats, *, weight: Floats | None = None, ridge: float, nonnegative: bool = False
) -> tuple[Floats, float]:
    """The slopes [d] and the intercept of a logistic regression of labels y [n] on x [n, d].

    `weight` [n] counts rows, by default once each. `ridge` is the penalty on squared slopes of standardised columns.
    """
    mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), x.dtype.type(1e-6))
    z, share = (x - mean) / scale, np.full(len(y), 1 / len(y)) if weight is None else weight / weight.sum()

    def loss(w: Floats) -> tuple[float, Floats]:
        logits = z @ w[:-1].astype(z.dtype) + w[-1]
        value = share @ (np.logaddexp(0, logits) - y * logits) + ridge / 2 * w[:-1] @ w[:-1]
        slope = share * (special.expit(logits) - y)
        return float(value), np.append(slope.astype(z.dtype) @ z + ridge * w[:-1], slope.sum())

    bounds = [(0.0 if nonnegative else None, None)] * z.shape[1] + [(None, None)]
    start = np.zeros(z.shape[1] + 1)
    solution = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 100}).x
    slopes = solution[:-1] / scale
    return slopes, float(solution[-1] - slopes @ mean)
