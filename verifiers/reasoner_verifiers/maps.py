"""Maps from verifiers' values to probabilities: fitted on labelled ratings, kept as JSON with the data's hash."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator
from scipy import optimize, special

from reasoner.errors import UsageError, require_choice
from reasoner.files import read_whole

LEAST_RATINGS = 30
"""Fewer right or wrong ratings together fit nothing worth keeping."""
_CLIP = 1e-6
_RIDGE = 1e-2
"""The penalty on slopes, so that values which separate right from wrong perfectly do not drive them to infinity."""

Floats = NDArray[np.float64]
Probability = Annotated[float, Field(ge=0, le=1)]


class FittedOn(BaseModel):
    """What a map was fitted on: the SHA-256 of the runs' files, and how much they held."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_sha256: str
    questions: int
    ratings: int
    right: int


class Calibration(BaseModel):
    """A map of one verifier's values: `isotonic` goes from knot to knot, `platt` is logistic in the log-odds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
                raise ValueError("the knots do not rise")
        elif self.slope < 0:
            raise ValueError("a negative slope reverses the order")
        return self

    def apply(self, value: float) -> float:
        """The probability that a candidate of this value is right."""
        if self.method == "isotonic":
            return float(np.interp(value, self.x, self.y))
        return float(special.expit(self.slope * _log_odds(value) + self.intercept))


class Weights(BaseModel):
    """A logistic map of several verifiers' log-odds: one weight a member, none negative."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1
    kind: Literal["weights"] = "weights"
    members: tuple[str, ...]
    weights: tuple[Annotated[float, Field(ge=0)], ...]
    intercept: FiniteFloat
    fitted_on: FittedOn

    @model_validator(mode="after")
    def _one_each(self) -> "Weights":
        if len(self.members) != len(self.weights):
            raise ValueError("there is not one weight a member")
        return self

    def apply(self, values: Sequence[float]) -> float:
        """The probability that a candidate with these values is right."""
        odds = math.fsum(w * float(_log_odds(v)) for w, v in zip(self.weights, values, strict=True))
        return float(special.expit(odds + self.intercept))


M = TypeVar("M", Calibration, Weights)


def read_map(path: Path, kind: type[M]) -> M:
    """The map in a file.

    Raises:
        UsageError: it cannot be read, or is no map of this kind.
    """
    try:
        return kind.model_validate_json(read_whole(path))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise UsageError(f"{path} is no {kind.__name__.lower()} file: {where}: {first['msg'].lower()}") from error


def fit_calibration(
    values: Sequence[float], right: Sequence[bool], *, method: str, verifier: str, fitted_on: FittedOn
) -> Calibration:
    """The map of one verifier.

    Raises:
        UsageError: there is too little to fit on, or the method does not exist.
    """
    require_choice(method, "method", ("isotonic", "platt"))
    x, y = _checked(values, right)
    if method == "isotonic":
        order = np.argsort(x, kind="stable")
        fitted = optimize.isotonic_regression(_pooled(x[order], y[order])).x
        knots = _knots(x[order], np.clip(fitted, 0, 1))
        return Calibration(method="isotonic", verifier=verifier, fitted_on=fitted_on, x=knots[0], y=knots[1])
    [slope], intercept = _logistic(_log_odds(x)[:, None], _platt_targets(y))
    return Calibration(method="platt", verifier=verifier, fitted_on=fitted_on, slope=float(slope), intercept=intercept)


def fit_weights(
    parts: Sequence[Sequence[float]], right: Sequence[bool], *, members: Sequence[str], fitted_on: FittedOn
) -> Weights:
    """The logistic map of several verifiers.

    Raises:
        UsageError: there is too little to fit on.
    """
    x, y = _checked(parts, right)
    weights, intercept = _logistic(_log_odds(x), y)
    return Weights(members=tuple(members), weights=tuple(map(float, weights)), intercept=intercept, fitted_on=fitted_on)


def _checked(values: Sequence[object], right: Sequence[bool]) -> tuple[Floats, Floats]:
    x, y = np.asarray(values, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if len(y) < LEAST_RATINGS or not 0 < y.sum() < len(y):
        raise UsageError(
            f"{len(y)} ratings, {int(y.sum())} of them right, fit nothing: give {LEAST_RATINGS} or more, some right "
            "and some wrong"
        )
    return x, y


def _pooled(x: Floats, y: Floats) -> Floats:
    """Labels in the order of the values, those of equal values averaged: their order means nothing."""
    _, where, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.bincount(where, weights=y) / counts)[where]


def _knots(x: Floats, y: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The ends of each level part; what lies between two knots is on the line between them."""
    keep = [i for i in range(len(x)) if i in (0, len(x) - 1) or not y[i - 1] == y[i] == y[i + 1]]
    thin = {float(x[i]): float(y[i]) for i in keep}
    return tuple(thin), tuple(thin.values())


def _platt_targets(y: Floats) -> Floats:
    """Platt's smoothed labels, which keep a separable set from infinite slopes."""
    right, wrong = y.sum(), len(y) - y.sum()
    return np.where(y > 0, (right + 1) / (right + 2), 1 / (wrong + 2))


def _log_odds(value: float | Floats) -> Floats:
    return np.asarray(special.logit(np.clip(value, _CLIP, 1 - _CLIP)))


def _logistic(x: Floats, y: Floats) -> tuple[Floats, float]:
    """Weights of 0 or more and an intercept that minimise the log loss, with a small penalty on the weights."""
    scale = np.maximum(x.std(axis=0), 1e-12)
    z = x / scale

    def loss(w: Floats) -> tuple[float, Floats]:
        logits = z @ w[:-1] + w[-1]
        value = np.mean(np.logaddexp(0, logits) - y * logits) + _RIDGE / 2 * w[:-1] @ w[:-1] / len(y)
        slope = special.expit(logits) - y
        return float(value), np.append(z.T @ slope / len(y) + _RIDGE * w[:-1] / len(y), slope.mean())

    start = np.append(np.full(x.shape[1], 0.1), 0.0)
    bounds = [(0.0, None)] * x.shape[1] + [(None, None)]
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
    return found.x[:-1] / scale, float(found.x[-1])
