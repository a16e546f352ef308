"""How far more samples would take each pool: laws fitted to its sizes."""

from collections.abc import Sequence

import numpy as np

from reasoner_evals.report.analysis import largest_pools
from reasoner_evals.report.diagnoses import Fit, FitPoint, HeldOut, Parameter, Scaling
from reasoner_evals.report.measures import Measured, mean
from reasoner_evals.report.points import Estimate
from reasoner_evals.report.pools import pool_of
from reasoner_evals.runs.arrays import Floats
from reasoner_evals.stats import scaling as extrapolation
from reasoner_evals.stats.arrays import counts
from reasoner_evals.stats.scaling import (
    Band,
    CoverageFit,
    PowerFit,
    Unfitted,
    coverage_band,
    diminishing,
    fit_coverage,
    fit_power,
    held_out_coverage,
    held_out_power,
)

COVERAGE_LAW = "Beta-binomial: 1 - B(a, b + k) / B(a, b)"
SELECTION_LAW = "saturating power law: ceiling - (ceiling - start) k^-exponent"
GAIN = 0.01
"""The least gain in accuracy that a doubling is worth."""


def scalings(measured: Sequence[Measured]) -> tuple[Scaling, ...]:
    """The fits of every pool, over all its sizes."""
    return tuple(
        _scaling([other for other in measured if other.arms == whole.arms], whole)
        for whole, _ in largest_pools(measured)
    )


def _scaling(sizes: Sequence[Measured], whole: Measured) -> Scaling:
    right = pool_of(whole.arms[0].data).right
    ks = [one.subject.size or 1 for one in sizes]
    selected = np.stack([one.values.right for one in sizes], axis=1)
    reach = [*ks, 2 * ks[-1]]
    law = _selection_law(selected, ks)
    return Scaling(
        series=whole.subject.series,
        label=whole.subject.series,
        coverage=_coverage(right, reach, [mean(one.values.covered) for one in sizes]),
        selection=_selection(law, selected, ks, reach),
        gain=GAIN,
        diminishing=None if isinstance(law, Unfitted) else diminishing(law, GAIN),
    )


def _selection_law(selected: Floats, ks: Sequence[int]) -> PowerFit | Unfitted:
    complete = selected[~np.isnan(selected).any(axis=1)]
    if not len(complete):
        return Unfitted("no question has all sample counts")
    return fit_power(ks, complete.mean(axis=0))


def _coverage(right: Floats, reach: Sequence[int], measured: Sequence[float]) -> Fit:
    drawn, correct = counts(right)
    law = fit_coverage(drawn, correct)
    band = coverage_band(drawn, correct, reach)
    if isinstance(law, Unfitted) or isinstance(band, Unfitted):
        return _unfitted(COVERAGE_LAW, law if isinstance(law, Unfitted) else band)
    return Fit(COVERAGE_LAW, _parameters(law), _points(band, measured), *_held_out(held_out_coverage(right)))


def _selection(law: PowerFit | Unfitted, selected: Floats, ks: Sequence[int], reach: Sequence[int]) -> Fit:
    band = extrapolation.power_band(selected, ks, reach)
    if isinstance(law, Unfitted) or isinstance(band, Unfitted):
        return _unfitted(SELECTION_LAW, law if isinstance(law, Unfitted) else band)
    measured = [mean(selected[:, place]) for place in range(len(ks))]
    return Fit(SELECTION_LAW, _parameters(law), _points(band, measured), *_held_out(held_out_power(selected, ks)))


def _unfitted(law: str, why: object) -> Fit:
    return Fit(law, (), (), None, str(why))


def _parameters(law: CoverageFit | PowerFit) -> tuple[Parameter, ...]:
    names = ("a", "b") if isinstance(law, CoverageFit) else ("ceiling", "start", "exponent")
    return tuple(Parameter(name, Estimate(getattr(law, name))) for name in names)


def _points(band: Band, measured: Sequence[float]) -> tuple[FitPoint, ...]:
    seen: list[float | None] = [*measured, *[None] * (len(band.ks) - len(measured))]
    return tuple(
        FitPoint(k, Estimate(float(value), float(low), float(high)), there)
        for k, value, low, high, there in zip(band.ks, band.value, band.low, band.high, seen, strict=True)
    )


def _held_out(found: extrapolation.HeldOut | Unfitted) -> tuple[HeldOut | None, str]:
    """The check at the largest size, and what to beware of."""
    if isinstance(found, Unfitted):
        return None, f"no held-out check: {found.reason}"
    last = HeldOut(found.fitted_to, found.predicted.ks[-1], float(found.predicted.value[-1]), float(found.measured[-1]))
    return last, "" if found.inside else "the held-out check fails: do not extrapolate from this fit"
