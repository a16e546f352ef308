"""What a person sees while a command runs, and the start and end of the engine and the verifier."""

import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reasoner.budget import Budget, Cost
from reasoner.cli.terminal import Terminal, one_line, printable
from reasoner.engine import Engine
from reasoner.strategy import CalibratedStrategy, Strategy
from reasoner.trace.events import Event, Proposed, Sampled
from reasoner.trace.record import Work
from reasoner.types import Answer, Proposal, samples_of
from reasoner.verifier import Verifier, claim_memory
from reasoner.voting import VoteSummary

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

LONG_START = 5.0
"""Seconds after which a stage's line says when the stage began."""


@dataclass(slots=True)
class Display:
    """A live display on a terminal that can rewrite lines, plain lines elsewhere."""

    terminal: Terminal
    clock: Callable[[], float] = field(default=time.monotonic, kw_only=True)
    quiet: bool = field(default=False, kw_only=True)
    """Whether nothing is shown at all."""
    stage: str = field(default="", init=False)
    _began: float = field(init=False)
    _since: float = field(init=False)
    _shown: "Live | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._began = self._since = self.clock()

    @property
    def live(self) -> bool:
        """Whether lines can be rewritten."""
        return not self.quiet and self.terminal.err.isatty() and os.environ.get("TERM") != "dumb"

    def begin(self, stage: str) -> None:
        """Show that a stage begins. May be called from any thread."""
        self.stage, self._since = stage, self.clock()
        elapsed = self._since - self._began
        if not self.live:
            self.tell(stage + (f", {elapsed:.0f} s after the start" if elapsed >= LONG_START else ""))

    def tell(self, line: str) -> None:
        """Write a plain line, unless it is to be quiet."""
        if not self.quiet:
            self.terminal.say(line)

    def note(self, line: str) -> None:
        """Show a line that stays. May be called from any thread."""
        if shown := self._shown:
            shown.console.print(one_line(line), markup=False, highlight=False, emoji=False)
        else:
            self.tell(line)

    def waiting(self) -> str:
        """The stage and how long it has taken."""
        return one_line(f"{self.stage} … {self.clock() - self._since:.0f} s")

    def picture(self, columns: int, rows: int) -> "RenderableType":
        """What the live display shows now, within `columns` and `rows`."""
        raise NotImplementedError

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
            return self.picture(console.width, max(console.height - 1, 3))

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
class Progress(Display):
    """Follows the events of one question: one live line, or a plain line whenever the number of samples doubles."""

    budget: Budget
    samples: int = field(default=0, init=False)
    cost: Cost = field(default_factory=Cost, init=False)
    proposals: list[Proposal] = field(default_factory=list, init=False)
    first_sample: float | None = field(default=None, init=False)
    _said: str = field(default="", init=False)

    @property
    def answer(self) -> Answer | None:
        """The best answer so far."""
        return self.proposals[-1].answer if self.proposals else None

    def __call__(self, event: Event) -> None:
        match event:
            case Sampled():
                self.samples += 1
                self.cost += event.cost
                self.first_sample = event.t if self.first_sample is None else self.first_sample
            case Work():
                self.cost += event.cost
            case Proposed():
                self.proposals.append(Proposal(event.answer, event.vote_state, event.cost))
                if self.live or event.vote_state.samples.bit_count() != 1:
                    return
                if (line := self._line(event.vote_state.samples, event.cost)) != self._said:
                    self._said = line
                    self.tell(line)
            case _:
                pass

    def line(self) -> str:
        """The progress in one line."""
        return self._line(self.samples, self.cost) if self.samples else self.waiting()

    def _line(self, samples: int, cost: Cost) -> str:
        limit = "" if self.budget.tokens is None else f" of {self.budget.tokens:,}"
        leader = "no answer yet"
        if self.answer:
            votes = VoteSummary(self.proposals[-1].vote_state).short
            leader = f"leading {printable(self.answer.text, limit=24)} ({votes})"
        return f"{samples_of(samples)} · {cost.tokens:,}{limit} tokens · {leader}"

    def picture(self, columns: int, rows: int) -> "RenderableType":
        """The progress, cut to one line."""
        from rich.text import Text

        return Text(self.line(), overflow="ellipsis", no_wrap=True)


def is_milestone(done: int, total: int | None) -> bool:
    """Whether to print a line: at doublings first, then at each tenth, but at least 8 apart."""
    step = None if total is None else max(-(-total // 10), 8)
    return (step is not None and done % step == 0) or ((step is None or done < step) and done.bit_count() == 1)


def clock(seconds: float) -> str:
    """A duration as in 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def watch(engine: Engine, display: Display) -> None:
    """Show what the engine says of its start, and later of itself."""
    if hasattr(engine, "notify"):
        engine.notify = display.note
    if hasattr(engine, "stage"):
        engine.stage = display.begin


@asynccontextmanager
async def started(
    engine: Engine, verifier: Verifier | None, strategies: Iterable[Strategy], display: Display
) -> AsyncIterator[float]:
    """Start both, yield the seconds that the verifier took, and close both at the end.

    Warns of a strategy that was calibrated for another model. Raises as `Engine.start`.
    """
    watch(engine, display)
    try:
        display.begin(f"starting {engine.name}")
        # The engine takes all memory that the verifier has not reserved, so the verifier comes first.
        await claim_memory(engine, verifier)
        await engine.start()
        model = engine.model.name
        for strategy in strategies:
            measured = strategy.measured_on if isinstance(strategy, CalibratedStrategy) else None
            if measured and measured.model != model:
                display.note(
                    f"warning: the profile was measured on {measured.model}, and this is {model}: it may not apply"
                )
        began = time.perf_counter()
        if verifier:
            await verifier.start(engine)
        yield time.perf_counter() - began
    finally:
        if verifier:
            await verifier.close()
        await engine.close()
