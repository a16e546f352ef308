"""Whether a calibration still holds, told from the questions that it was used on."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from reasoner.controller.risk import ALARM, broken_promise, drift
from reasoner.controller.stopping import smoothed_share
from reasoner.protocols import Confident
from reasoner_evals.runs.records import ItemRecord, Outcome


@dataclass(slots=True)
class Watch:
    """What the finished questions of an arm say of its calibration; those without a confidence say nothing."""

    _shares: list[float] = field(default_factory=list)
    _confidences: list[float] = field(default_factory=list)
    _right: list[bool] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """How many questions had a confidence."""
        return len(self._shares)

    def add(self, record: ItemRecord, outcome: Outcome) -> None:
        """Take in a question."""
        if record.confidence is None:
            return
        samples = record.cost.samples
        self._shares.append(smoothed_share(record.share * samples, samples))
        if outcome in {"right", "wrong"}:
            self._confidences.append(record.confidence)
            self._right.append(outcome == "right")

    def alarms(self, strategy: object) -> Iterator[str]:
        """A line for each sign that the calibration does not hold: votes agree less, or fewer answers are right.

        Both together raise a false alarm with a chance of `ALARM`.
        """
        seen = strategy.measured_on if isinstance(strategy, Confident) else None
        if seen and (line := drift(seen.agreement, seen.spread, seen.questions, self._shares, ALARM / 2)):
            yield line
        if self._right and (line := broken_promise(self._confidences, self._right, ALARM / 2)):
            yield line
