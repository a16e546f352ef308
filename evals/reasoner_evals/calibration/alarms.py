"""Whether a calibration still holds, judged by the questions that it is used on."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from reasoner.calibration.risk import ALARM, broken_promise, drift
from reasoner.stopping.rules import smoothed_share
from reasoner.strategy import CalibratedStrategy
from reasoner_evals.runs.records import ItemRecord, Outcome


@dataclass(slots=True)
class Watch:
    """Collects the finished questions of an arm that have a calibrated confidence."""

    _shares: list[float] = field(default_factory=list)
    _confidences: list[float] = field(default_factory=list)
    _right: list[bool] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """How many questions had a confidence."""
        return len(self._shares)

    def add(self, record: ItemRecord, outcome: Outcome) -> None:
        """Add a question; one without a confidence is ignored."""
        if record.confidence is None:
            return
        samples = record.cost.samples
        self._shares.append(smoothed_share(record.share * samples, samples))
        if outcome in {"right", "wrong"}:
            self._confidences.append(record.confidence)
            self._right.append(outcome == "right")

    def alarms(self, strategy: object) -> Iterator[str]:
        """A line for each sign that the calibration does not hold: less agreement of votes, or fewer right answers.

        The chance of any false alarm is `ALARM`.
        """
        measured = strategy.measured_on if isinstance(strategy, CalibratedStrategy) else None
        if measured and (
            line := drift(measured.agreement, measured.spread, measured.questions, self._shares, ALARM / 2)
        ):
            yield line
        if self._right and (line := broken_promise(self._confidences, self._right, ALARM / 2)):
            yield line
