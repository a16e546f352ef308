"""What a curve can be drawn against, and the scales and labels that its figures share."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from reasoner_evals.report.drawing import WIDE, folded
from reasoner_evals.report.points import CurvePoint, Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

MARGIN = 0.03
"""Free space above and below what is drawn, as a share of the range."""
LINE = 19
"""Pixels from one line of a legend to the next."""


class Axis(NamedTuple):
    """A measure of compute, on a log scale."""

    key: str
    tab: str
    title: str
    of: Callable[[CurvePoint], float | None]
    base: int
    unknown: str
    """Why no point may have it."""


AXES = (
    Axis("tokens", "Tokens", "total tokens a question (log scale)", lambda one: one.tokens, 10, "nothing was spent"),
    Axis("samples", "Samples", "samples a question (log scale)", lambda one: one.size, 2,
         "no strategy was drawn as a pool of samples"),
    Axis("flops", "FLOPs", "FLOPs a question (log scale)", lambda one: one.flops, 10,
         "the geometry of the model is not known"),
    Axis("seconds", "Seconds", "seconds a question, at the run's concurrency (log scale)", lambda one: one.seconds, 10,
         "no time was measured"),
    Axis("usd", "Money", "US dollars a question (log scale)", lambda one: one.usd, 10,
         "the run has no price table; give one with --prices"),
)  # fmt: skip
TOKENS, SAMPLES, FLOPS = AXES[:3]


def place_on(axis: Axis, one: CurvePoint) -> float | None:
    """Where a point lies on an axis; None where that is not known, or has no logarithm."""
    value = axis.of(one)
    return value if value is not None and value > 0 else None


def short(value: float) -> str:
    """A number in at most a few characters: 1.5k, 20M, 3e15."""
    value = float(f"{value:.3g}")
    if value >= 1e15 or 0 < value < 1e-3:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def log_ticks(low: float, high: float, base: int, most: int) -> list[float]:
    """Round places in a range, at most so many, or two if there are more decades than that."""
    if base == 2:
        powers = [
            2.0**power for power in range(math.ceil(math.log2(low) - 1e-9), math.floor(math.log2(high) + 1e-9) + 1)
        ]
        return powers[:: math.ceil(len(powers) / most)] if powers else [low]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        found = [step * 10.0**decade for decade in decades for step in steps]
        found = [one for one in found if low <= one <= high]
        if len(found) <= most:
            return found or [low]
    return found[:: math.ceil(len(found) / most)]


def log_x(axes: "Axes", values: Sequence[float], axis: Axis, *, pixels: int) -> None:
    """Put a log scale under an axes that spans the values, with round ticks."""
    low, high = min(values) / 1.12, max(values) * 1.12
    axes.set_xscale("log", base=axis.base)
    axes.set_xlim(low, high)
    ticks = log_ticks(low, high, axis.base, max(2, pixels // 70))
    axes.set_xticks(ticks, [short(tick) for tick in ticks])
    axes.set_xticks([], minor=True)


def percent_y(axes: "Axes", heights: Iterable[Estimate]) -> None:
    """A scale of percent that holds every height with its interval: nothing is clipped."""
    known = [value for one in heights for value in one if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    room = max(MARGIN * (high - low), 0.02)
    axes.set_ylim(max(low - room, -0.03), min(high + room, 1.03))
    percent(axes.yaxis)


def percent(axis: Any) -> None:
    """Label a scale of shares in percent."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %" if -1e-9 <= value <= 1 + 1e-9 else "")


def legend(canvas: "Canvas", handles: Sequence[Any], width: int) -> int:
    """Put a legend below the figure; gives back its height in pixels."""
    if not handles:
        return 0
    names = [folded(str(handle.get_label()), 34 if width < WIDE else 60) for handle in handles]
    for handle, name in zip(handles, names, strict=True):
        handle.set_label(name)
    widest = max(len(line) for name in names for line in name.split("\n"))
    columns = max(1, min(len(handles), (width - 20) // (8 * widest + 50)))
    canvas.legend(handles=handles, loc="outside lower left", ncols=columns, alignment="left", handlelength=2.6)
    tall = [1 + name.count("\n") for name in names]
    rows = math.ceil(len(tall) / columns)
    return LINE * max(sum(tall[start : start + rows]) for start in range(0, len(tall), rows))


def sized(canvas: "Canvas", width: int, height: float) -> None:
    """Set the height in pixels."""
    canvas.set_size_inches(width / 72, height / 72)
