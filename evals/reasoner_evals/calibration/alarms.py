"""Whether a calibration still holds, judged by the questions that it is used on."""

from collections.abc import Iterator, Sequence

from reasoner.calibration.risk import broken_promise, lost_accuracy
from reasoner.errors import ReasonerError
from reasoner.registry import build
from reasoner.strategy import CalibratedStrategy, CalibrationSummary

UNKNOWN = 149
"""As many as certify a risk of 2 % (docs/controller.md): most calibrations have about as many or more."""


def fewer_right(
    measured: CalibrationSummary | None,
    confidences: Sequence[float],
    right: Sequence[bool],
    unanswered: int,
    alpha: float,
) -> Iterator[str]:
    """A line for each sign that fewer answers are right than a calibration promised, with a false chance of `alpha`.

    Answers have `confidences`, and `right` says which are right; so many questions more are `unanswered`: then right
    answers are also compared with those in calibration, which counted such questions too. The two tests nearly agree
    where nothing is wrong. A calibration that is not known counts as one on `UNKNOWN` questions.
    """
    questions = measured.questions if measured else UNKNOWN
    if measured and unanswered:
        # Two tests share the chance of a false alarm.
        alpha /= 2
        if line := lost_accuracy(measured.accuracy, questions, sum(right), len(right) + unanswered, alpha):
            yield line
    if right and (line := broken_promise(confidences, right, questions, alpha)):
        yield line


def calibration_of(spec: str) -> CalibrationSummary | None:
    """The calibration of a strategy by its spec; None if it has none, or its profile can no longer be read."""
    try:
        strategy = build("strategy", spec)
    except ReasonerError:
        return None
    return strategy.measured_on if isinstance(strategy, CalibratedStrategy) else None
