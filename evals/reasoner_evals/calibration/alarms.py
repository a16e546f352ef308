"""Whether a calibration still holds, judged by the questions that it is used on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from reasoner.calibration.risk import ALARM, broken_promise, drift, lost_accuracy
from reasoner.errors import ReasonerError
from reasoner.registry import build
from reasoner.stopping.rules import smoothed_share
from reasoner.strategy import CalibratedStrategy, CalibrationSummary
from reasoner_evals.runs.records import ItemRecord, Outcome

UNKNOWN = 149
"""As many as certify a risk of 2 % (docs/controller.md): most calibrations have about as many or more."""


@dataclass(slots=True)
class Watch:
    """Collects the finished questions of an arm with a calibrated confidence.

    A question without any answer counts as not right, as it did in calibration. One that the strategy abstained from
    has votes and no outcome: it counts neither as right nor as wrong.
    """

    _shares: list[float] = field(default_factory=list)
    _confidences: list[float] = field(default_factory=list)
    _right: list[bool] = field(default_factory=list)
    _seen: int = 0
    _unanswered: int = 0

    @property
    def seen(self) -> int:
        """How many questions had a confidence."""
        return self._seen

    def add(self, record: ItemRecord, outcome: Outcome) -> None:
        """Add a question; one with an error is ignored."""
        if record.status == "error":
            return
        samples = record.cost.samples
        self._shares.append(smoothed_share(record.share * samples, samples))
        self._seen += record.confidence is not None
        if record.confidence is None:
            self._unanswered += outcome in {"no_answer", "truncated", "timed_out"}
        elif outcome in {"right", "wrong"}:
            self._confidences.append(record.confidence)
            self._right.append(outcome == "right")

    def alarms(self, strategy: object) -> Iterator[str]:
        """A line for each sign that the calibration does not hold: less agreement of votes, or fewer right answers.

        The chance of any false alarm is about `ALARM`. Most of it is for the right answers, which are what matters.
        """
        measured = strategy.measured_on if isinstance(strategy, CalibratedStrategy) else None
        if measured and (
            line := drift(measured.agreement, measured.spread, measured.questions, self._shares, ALARM / 4)
        ):
            yield line
        yield from fewer_right(measured, self._confidences, self._right, self._unanswered, 3 * ALARM / 4)


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
    if right and (line := broken_promise(confidences, right, questions, alpha)):
        yield line
    asked = len(right) + unanswered
    if measured and unanswered and (line := lost_accuracy(measured.accuracy, questions, sum(right), asked, alpha)):
        yield line


def calibration_of(spec: str) -> CalibrationSummary | None:
    """The calibration of a strategy by its spec; None if it has none, or its profile can no longer be read."""
    try:
        strategy = build("strategy", spec)
    except ReasonerError:
        return None
    return strategy.measured_on if isinstance(strategy, CalibratedStrategy) else None
