"""What a person sees while a command runs: one live line on a terminal, plain lines elsewhere."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reasoner.budget import UNITS, Budget, Cost, Ledger, Prices
from reasoner.cli.terminal import Terminal
from reasoner.engine import Engine
from reasoner.system.printing import counted, one_line, printable
from reasoner.trace.events import Event, Proposed, Sampled, Work
from reasoner.types import Answer, Proposal
from reasoner.voting import VoteSummary

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from reasoner.batch.rows import AnswerLine
    from reasoner.batch.state import EarlierSessions


@dataclass(slots=True)
class Display:
    """The stage of a command, and in subclasses its progress."""

    terminal: Terminal
    clock: Callable[[], float] = field(default=time.monotonic, kw_only=True)
    quiet: bool = field(default=False, kw_only=True)
    """Whether nothing is shown at all."""
    stage: str = field(default="", init=False)
    _engine: Engine | None = field(default=None, init=False)
    _since: float = field(init=False)
    _shown: "Live | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._since = self.clock()

    @property
    def live(self) -> bool:
        """Whether lines can be rewritten."""
        return (
            not self.quiet
            and self.terminal.err.isatty()
            and os.environ.get("TERM") != "dumb"
        )

    def follow(self, engine: Engine) -> None:
        """Show what the engine says of its start, and later of itself."""
        self._engine = engine
        if hasattr(engine, "notify"):
            engine.notify = self.note
        if hasattr(engine, "stage"):
            engine.stage = self.begin

    def begin(self, stage: str) -> None:
        """Show that a stage begins. May be called from any thread."""
        self.stage, self._since = stage, self.clock()
        self.tell(stage)

    def tell(self, line: str) -> None:
        """Write a plain line; nothing where the display is live or quiet."""
        if not self.quiet and not self.live:
            self.terminal.say(line)

    def note(self, line: str) -> None:
        """Show a line that stays. May be called from any thread."""
        if shown := self._shown:
            shown.console.print(
                one_line(line), markup=False, highlight=False, emoji=False
            )
        elif not self.quiet:
            self.terminal.say(line)

    def line(self) -> str:
        """The progress in one line; by default the stage and how long it has taken."""
        return one_line(f"{self.stage} … {self.clock() - self._since:.0f} s")

    def view(self, height: int) -> "RenderableType":
        """What the live display shows in a terminal of `height` lines; by default one line."""
        from rich.text import Text

        return Text(self.line(), overflow="ellipsis", no_wrap=True)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Update the live display while the body runs, until `hide` at the latest."""
        if not self.live:
            yield
            return
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self.terminal.err, force_terminal=True)

        def render() -> "RenderableType":
            # Rich would measure standard output and error, which may be redirected to a log by now.
            size = os.get_terminal_size(self.terminal.err.fileno())
            console.size = (size.columns or 80, size.lines or 24)
            return self.view(console.size.height)

        self._shown = Live(
            get_renderable=render,
            console=console,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        try:
            with self._shown:
                yield
        finally:
            self._shown = None

    def hide(self) -> None:
        """End the live display and remove it from the terminal."""
        if self._shown:
            self._shown.stop()
            self._shown = None


@dataclass(slots=True)
class QuestionProgress(Display):
    """Follows the events of one question; a plain line whenever the number of samples doubles."""

    budget: Budget
    samples: int = field(default=0, init=False)
    cost: Cost = field(default_factory=Cost, init=False)
    proposals: list[Proposal] = field(default_factory=list, init=False)
    _said: str = field(default="", init=False)

    @property
    def answer(self) -> Answer | None:
        """The best answer so far."""
        return self.proposals[-1].answer if self.proposals else None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Work):
            self.cost += event.cost
        if isinstance(event, Sampled):
            self.samples += 1
        if isinstance(event, Proposed):
            self.proposals.append(Proposal(event.answer, event.vote_state, event.cost))
            line = self._line(event.vote_state.samples, event.cost)
            if event.vote_state.samples.bit_count() == 1 and line != self._said:
                self._said = line
                self.tell(line)

    def line(self) -> str:
        """The progress in one line."""
        # `super()` does not work in a dataclass with slots.
        return (
            self._line(self.samples, self.cost) if self.samples else Display.line(self)
        )

    def _line(self, samples: int, cost: Cost) -> str:
        limit = "" if self.budget.tokens is None else f" of {self.budget.tokens:,}"
        leader = "no answer yet"
        if self.answer:
            votes = VoteSummary(self.proposals[-1].vote_state).short
            leader = f"leading {printable(self.answer.text, limit=24)} ({votes})"
        return (
            f"{counted(samples, 'sample')} · {cost.tokens:,}{limit} tokens · {leader}"
        )


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
    graded: Counter[bool] = field(default_factory=Counter, init=False)
    """How many answers are right, and how many wrong, of those with a reference answer."""
    spent: Cost = field(default_factory=Cost, init=False)
    _earlier: int = field(default=0, init=False)
    _first: float = field(default=0.0, init=False)
    """When the rows of this session began."""
    _samples: int = field(default=0, init=False)
    """Samples of this session."""

    def resume(self, earlier: "EarlierSessions", total: int | None) -> None:
        """The rows begin; some were done in earlier sessions."""
        self.total, self.done, self._earlier, self._first = (
            total,
            earlier.count,
            earlier.count,
            self.clock(),
        )
        self.answered, self.unanswered = (
            earlier.answered,
            earlier.count - earlier.answered,
        )
        self.graded = earlier.graded
        self.spent = sum(
            (history.spent for history in earlier.histories.values()), earlier.spent
        )
        if earlier.count:
            self.tell(f"continuing: {counted(earlier.count, 'row')} done earlier")

    def __call__(self, event: Event) -> None:
        if isinstance(event, Work):
            self.spent += event.cost
        if isinstance(event, Sampled):
            self._samples += 1
            if self.done == self._earlier and self._samples.bit_count() == 1:
                self.tell(self.line())

    def add(self, answered: "AnswerLine") -> None:
        """A row is done; its events said what it cost."""
        self.done += 1
        self.answered += answered.outcome == "answered"
        self.failed += answered.outcome == "failed"
        self.unanswered += answered.outcome == "unanswered"
        self.graded += answered.graded
        if self.done != self.total and is_milestone(
            self.done - self._earlier, self.total
        ):
            self.tell(self.line())

    def line(self) -> str:
        """The progress in one line."""
        if not self.done and not self._samples:
            return Display.line(self)
        fresh, elapsed = self.done - self._earlier, self.clock() - self._first
        rate = fresh / elapsed if elapsed > 0 else 0.0
        left = 0 if self.total is None else self.total - self.done
        of = "" if self.total is None else f" of {self.total:,}"
        parts = [
            f"{self.done:,}{of} {'row' if (self.total or self.done) == 1 else 'rows'}"
        ]
        parts += [f"{rate:.3g} rows/s"] if rate else []
        parts += (
            [f"{clock(left / rate)} left"]
            # The fewest rows of a batch from which the rest is estimated
            if rate and left > 0 and fresh >= 8
            else []
        )
        parts += [
            counted(self.spent.samples, "sample"),
            f"{self.spent.tokens:,} tokens",
        ]
        parts += (
            [f"budget {spent_of(self.budget, self.spent, self.prices)}"]
            if str(self.budget)
            else []
        )
        parts += (
            [f"{self.graded[True]:,} of {self.graded.total():,} right"]
            if self.graded
            else []
        )
        parts += [f"{self.unanswered:,} without an answer"] if self.unanswered else []
        parts += [f"{self.failed:,} failed"] if self.failed else []
        return " · ".join(parts)


def is_milestone(done: int, total: int | None) -> bool:
    """Whether to print a line: at doublings first, then at each tenth, but at least 8 apart."""
    step = None if total is None else max(-(-total // 10), 8)
    return (step is not None and done % step == 0) or (
        (step is None or done < step) and done.bit_count() == 1
    )


def clock(seconds: float) -> str:
    """A duration as in 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def spent_of(budget: Budget, cost: Cost, prices: Prices | None) -> str:
    """How much of each limit of a budget is spent."""
    ledger = Ledger(budget, prices=prices)
    shown = []
    for unit in UNITS:
        limit = getattr(budget, unit)
        if limit is not None:
            spent = cost.seconds if unit == "seconds" else ledger.measure(unit, cost)
            shown.append(f"{unit} {_number(spent)} of {_number(limit)}")
    return ", ".join(shown)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
