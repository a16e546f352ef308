"""What a person sees while a question is being solved."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reasoner.budget import Budget, Cost
from reasoner.cli.terminal import Terminal, clean, printable
from reasoner.cli.votes import VoteSummary
from reasoner.solution import Proposal
from reasoner.trace import Dropped, Event, Proposed, Sampled, Scored, Weighed
from reasoner.types import Answer

if TYPE_CHECKING:
    from rich.console import Console

WORTH_TELLING = 5.0
"""Seconds from which on a line says how long it took to get there."""


@dataclass(slots=True)
class Progress:
    """Follows a run's events: one live line on a terminal, a plain line at each doubling of the samples elsewhere."""

    terminal: Terminal
    budget: Budget
    stage: str = ""
    samples: int = 0
    cost: Cost = field(default_factory=Cost)
    proposals: list[Proposal] = field(default_factory=list)
    first_sample: float | None = None
    _began: float = field(default_factory=time.monotonic)
    _since: float = field(default_factory=time.monotonic)
    _console: "Console | None" = None

    @property
    def answer(self) -> Answer | None:
        """The best one so far."""
        return self.proposals[-1].answer if self.proposals else None

    @property
    def live(self) -> bool:
        """Whether one line can be written over and over."""
        return self.terminal.err.isatty() and os.environ.get("TERM") != "dumb"

    def begin(self, stage: str) -> None:
        """A new stage, shown on a line of its own if nothing is live. May be called from any thread."""
        self.stage, self._since = stage, time.monotonic()
        if not self.live:
            self.terminal.say(stage + since_start(self._since - self._began))

    def note(self, line: str) -> None:
        """A line that stays, above the live one where there is one. May be called from any thread."""
        if self._console is None:
            self.terminal.say(line)
        else:
            self._console.print(clean(line), markup=False, highlight=False, emoji=False)

    def __call__(self, event: Event) -> None:
        match event:
            case Sampled():
                self.samples += 1
                self.cost += event.cost
                self.first_sample = event.t if self.first_sample is None else self.first_sample
            case Dropped() | Scored() | Weighed():
                self.cost += event.cost
            case Proposed():
                self.proposals.append(Proposal(event.answer, event.standing, event.cost))
                if not self.live and event.standing.samples.bit_count() == 1:
                    self.terminal.say(self._line(event.standing.samples, event.cost))
            case _:
                pass

    def line(self) -> str:
        """How far it is, in one line."""
        if not self.samples:
            return clean(f"{self.stage} … {time.monotonic() - self._since:.0f} s")
        return self._line(self.samples, self.cost)

    def _line(self, samples: int, cost: Cost) -> str:
        spent = f"{cost.tokens:,} tokens"
        if self.budget.tokens is not None:
            spent = f"{cost.tokens:,} of {self.budget.tokens:,} tokens"
        leader = "no answer yet"
        if self.answer:
            lead = VoteSummary(self.proposals[-1].standing).short
            leader = f"leading {printable(self.answer.text, limit=24)} ({lead})"
        return f"{samples} sample{'s' if samples != 1 else ''} · {spent} · {leader}"

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the live line up to date while the body runs; it leaves no trace behind."""
        if not self.live:
            yield
            return
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        console = Console(file=self.terminal.err, force_terminal=True)

        def render() -> Text:
            # Rich would measure standard output and error, which may be redirected to a log by now.
            console.width = self.terminal.columns
            return Text(self.line(), overflow="ellipsis", no_wrap=True)

        with Live(
            get_renderable=render,
            console=console,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            self._console = console
            try:
                yield
            finally:
                self._console = None


def since_start(seconds: float) -> str:
    """When a stage began, for a line that cannot change; empty where that was at once."""
    return f", {seconds:.0f} s after the start" if seconds >= WORTH_TELLING else ""
