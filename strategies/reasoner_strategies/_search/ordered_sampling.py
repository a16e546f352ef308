"""Samples that overlap in time and are taken one by one in launch order."""

from dataclasses import dataclass, field

from reasoner.errors import BudgetExhausted
from reasoner.strategy import Handle, Plan, Sample, cancel, next_finished, start
from reasoner.types import Completion


@dataclass(slots=True)
class OrderedSampling:
    """Up to `n` draws of one operation, at most `window` of them launched beyond the last one taken.

    It is the state of one plan. The samples that it returns do not depend on what finishes first; only the cost of the
    cancelled ones does.
    """

    op: Sample
    n: int
    window: int
    _running: dict[Handle, int] = field(default_factory=dict)
    _arrived: dict[int, Completion] = field(default_factory=dict)
    _launched: int = 0
    _taken: int = 0
    _refused: bool = False

    def take(self) -> Plan[Completion | None]:
        """The next sample in launch order; None if there are no more. Those that the budget refused are skipped."""
        while not self._ready:
            yield from self._launch()
            if not self._running:
                return None
            try:
                finished = yield from next_finished()
            except BudgetExhausted:
                self._refused = True
                self._running.clear()
                continue
            self._arrived[self._running.pop(finished.handle)] = finished.completions[0]
        if self._taken not in self._arrived:
            self._taken = min(self._arrived)
        self._taken += 1
        return self._arrived.pop(self._taken - 1)

    @property
    def _ready(self) -> bool:
        return self._taken in self._arrived or (self._refused and bool(self._arrived))

    def _launch(self) -> Plan[None]:
        while not self._refused and self._launched < min(self.n, self._taken + self.window):
            handle = yield from start(self.op)
            self._running[handle] = self._launched
            self._launched += 1

    def cancel(self) -> Plan[None]:
        """Abort what is still running; it is booked as cancelled."""
        for handle in self._running:
            yield from cancel(handle)
        self._running.clear()
