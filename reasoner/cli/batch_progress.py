"""What a person sees of a running batch: one live line, or a plain line at milestones."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from reasoner.batch.lines import Answered
from reasoner.batch.state import Progressed
from reasoner.budget import Budget, Cost, Prices
from reasoner.cli.progress import Display, clock, is_milestone
from reasoner.cli.summary import spent_of
from reasoner.trace.events import Event, Sampled
from reasoner.trace.record import Work
from reasoner.types import samples_of

if TYPE_CHECKING:
    from rich.console import RenderableType


STEADY_ROWS: Final = 8
"""The fewest rows from which the rest is estimated."""
STEADY: Final = 0.2
"""How far the rate over all rows may be from that over their first half, as a part of it, for an estimate."""


@dataclass(slots=True)
class BatchProgress(Display):
    """Follows a batch: how many rows are done, how fast, how long it will take, what was spent and what is left.

    How long it will take is shown once the rate is steady. A sink of events: samples count as they come.
    """

    budget: Budget
    prices: Prices | None
    total: int | None = field(default=None, init=False)
    """How many rows there are, if that is known."""
    done: int = field(default=0, init=False)
    answered: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)
    unanswered: int = field(default=0, init=False)
    spent: Cost = field(default_factory=Cost, init=False)
    _earlier: int = field(default=0, init=False)
    _first: float = field(default=0.0, init=False)
    """When the rows of this session began."""
    _drawn: int = field(default=0, init=False)
    """Samples of this session."""
    _rate: float = field(default=0.0, init=False)
    """Rows a second when the number of rows last doubled."""
    _steady: bool = field(default=False, init=False)

    def resume(self, earlier: Progressed, total: int | None) -> None:
        """The rows begin; some were done in earlier sessions."""
        self.total, self.done, self._earlier, self._first = total, earlier.count, earlier.count, self.clock()
        self.answered = earlier.answered
        self.spent = sum((history.spent for history in earlier.histories.values()), earlier.spent)
        self.unanswered = earlier.count - earlier.answered
        if earlier.count and not self.live:
            self.tell(f"continuing: {earlier.count:,} row{'s' if earlier.count != 1 else ''} done earlier")

    def __call__(self, event: Event) -> None:
        if isinstance(event, Work):
            self.spent += event.cost
        if isinstance(event, Sampled):
            self._drawn += 1
            if not self.live and self.done == self._earlier and self._drawn.bit_count() == 1:
                self.tell(self.line())

    def add(self, answered: Answered) -> None:
        """A row is done; its events said what it cost."""
        self.done += 1
        self.answered += answered.outcome == "answered"
        self.failed += answered.outcome == "failed"
        self.unanswered += answered.outcome == "unanswered"
        fresh = self.done - self._earlier
        if fresh.bit_count() == 1:
            before, self._rate = self._rate, self._measured()
            self._steady = fresh >= STEADY_ROWS and abs(self._rate - before) <= STEADY * before
        if not self.live and self.done != self.total and is_milestone(fresh, self.total):
            self.tell(self.line())

    def _measured(self) -> float:
        """Rows a second since the first; 0 before it."""
        elapsed = self.clock() - self._first
        return (self.done - self._earlier) / elapsed if elapsed > 0 else 0.0

    def line(self) -> str:
        """The progress in one line."""
        rate = self._measured()
        number = self.done if self.total is None else self.total
        of = "" if self.total is None else f" of {self.total:,}"
        parts = [f"{self.done:,}{of} {'row' if number == 1 else 'rows'}"]
        parts += [f"{rate:.3g} rows/s"] if rate else []
        left = 0 if self.total is None else self.total - self.done
        parts += [f"{clock(left / rate)} left"] if rate and left > 0 and self._steady else []
        parts += [samples_of(self.spent.samples), f"{self.spent.tokens:,} tokens"]
        parts += [f"budget {spent_of(self.budget, self.spent, self.prices)}"] if str(self.budget) else []
        parts += [f"{self.unanswered:,} without an answer"] if self.unanswered else []
        parts += [f"{self.failed:,} failed"] if self.failed else []
        return " · ".join(parts)

    def picture(self, columns: int, rows: int) -> "RenderableType":
        """The progress, cut to one line."""
        from rich.text import Text

        line = self.line() if self.done or self._drawn else self.waiting()
        return Text(line, overflow="ellipsis", no_wrap=True)
