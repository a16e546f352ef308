"""What a person sees of a running batch: one live line, or a plain line at milestones."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reasoner.batch.lines import Answered
from reasoner.batch.state import Progressed
from reasoner.budget import Budget, Cost, Prices
from reasoner.cli.progress import Display, clock, is_milestone
from reasoner.cli.summary import spent_of

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(slots=True)
class BatchProgress(Display):
    """Follows a batch: how many rows are done, how fast, how long it will take, what was spent and what is left."""

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

    def resume(self, earlier: Progressed, total: int | None) -> None:
        """The rows begin; some were done in earlier sessions."""
        self.total, self.done, self._earlier, self._first = total, earlier.count, earlier.count, self.clock()
        self.answered, self.spent = earlier.answered, earlier.spent
        self.unanswered = earlier.count - earlier.answered
        if earlier.count and not self.live:
            self.tell(f"continuing: {earlier.count:,} row{'s' if earlier.count != 1 else ''} done earlier")

    def add(self, answered: Answered) -> None:
        """A row is done; its cost includes what earlier sessions spent on it."""
        self.done += 1
        self.answered += answered.outcome == "answered"
        self.failed += answered.outcome == "failed"
        self.unanswered += answered.outcome == "unanswered"
        self.spent += answered.cost
        if not self.live and self.done != self.total and is_milestone(self.done - self._earlier, self.total):
            self.tell(self.line())

    def line(self) -> str:
        """The progress in one line."""
        elapsed, fresh = self.clock() - self._first, self.done - self._earlier
        rate = fresh / elapsed if fresh and elapsed > 0 else 0.0
        number = self.done if self.total is None else self.total
        of = "" if self.total is None else f" of {self.total:,}"
        parts = [f"{self.done:,}{of} {'row' if number == 1 else 'rows'}"]
        parts += [f"{rate:.3g} rows/s"] if rate else []
        left = 0 if self.total is None else self.total - self.done
        parts += [f"{clock(left / rate)} left"] if rate and left > 0 else []
        parts += [f"{self.spent.tokens:,} tokens"]
        parts += [f"budget {spent_of(self.budget, self.spent, self.prices)}"] if str(self.budget) else []
        parts += [f"{self.unanswered:,} without an answer"] if self.unanswered else []
        parts += [f"{self.failed:,} failed"] if self.failed else []
        return " · ".join(parts)

    def picture(self, columns: int, rows: int) -> "RenderableType":
        """The progress, cut to one line."""
        from rich.text import Text

        line = self.line() if self.done else self.waiting()
        return Text(line, overflow="ellipsis", no_wrap=True)
