"""Whether a calibration still holds where it is used: by the agreement of votes, and by answers known to be right."""

from collections import Counter
from collections.abc import Iterator, Sequence

from reasoner.calibration import shift
from reasoner.calibration.risk import broken_promise, lost_accuracy
from reasoner.errors import ReasonerError
from reasoner.registry import build
from reasoner.strategy import CalibratedStrategy, CalibrationSummary
from reasoner_evals.runs.reading import ArmData


def agreement_seen(data: ArmData) -> Counter[int]:
    """How many questions of an arm have a leader with each share of the vote, in percent.

    Empty where the arm is not comparable: unfinished, or ended by budgets. A finished arm is looked at
    once, as no question is added to it.
    """
    if data.arm.budget or data.arm.total or not data.finished.all():
        return Counter()
    return Counter(
        shift.percent(share) for share in data.share[data.has_result].tolist()
    )


def fewer_right(
    measured: CalibrationSummary | None,
    confidences: Sequence[float],
    right: Sequence[bool],
    unanswered: int,
    alpha: float,
) -> Iterator[str]:
    """A line for each sign that fewer answers are right than a calibration promised, with a false chance of `alpha`.

    Answers have `confidences`, and `right` says which are right; `unanswered` more questions have no answer: then right
    answers are also compared with those in calibration, which counted such questions too. The two tests nearly agree
    where nothing is wrong. A calibration that is not known counts as one on 149 questions: as many as certify a risk of
    2 % (docs/controller.md), and most calibrations have about as many or more.
    """
    questions = measured.questions if measured else 149
    if measured and unanswered:
        # Two tests share the chance of a false alarm.
        alpha /= 2
        if line := lost_accuracy(
            measured.accuracy, questions, sum(right), len(right) + unanswered, alpha
        ):
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
