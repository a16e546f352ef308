"""What a person sees while a question is being solved."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from reasoner.budget import Budget, Cost
from reasoner.cli.terminal import Terminal, printable
from reasoner.trace import Dropped, Event, Proposed, Sampled
from reasoner.types import Answer, Standing


@dataclass(slots=True)
class Progress:
    """Follows a run's events: one live line on a terminal, a plain line at each doubling of the samples elsewhere."""

    terminal: Terminal
    budget: Budget
    stage: str = ""
    samples: int = 0
    cost: Cost = field(default_factory=Cost)
    answer: Answer | None = None
    standing: Standing = field(default_factory=Standing)
    first_answer: float | None = None
    _since: float = field(default_factory=time.monotonic)

    def begin(self, stage: str) -> None:
        """A new stage, told on a line of its own where nothing is live."""
        self.stage, self._since = stage, time.monotonic()
        if not self.terminal.err.isatty():
            self.terminal.say(stage)

    def __call__(self, event: Event) -> None:
        match event:
            case Sampled():
                self.samples += 1
                self.cost += event.cost
                self.first_answer = event.t if self.first_answer is None else self.first_answer
            case Dropped():
                self.cost += event.cost
            case Proposed():
                self.answer, self.standing = event.answer, event.standing
                plain = not self.terminal.err.isatty()
                if plain and self.standing.samples & (self.standing.samples - 1) == 0:
                    self.terminal.say(self.line())
            case _:
                pass

    def line(self) -> str:
        """How far it is, in one line."""
        if not self.samples:
            return f"{self.stage} … {time.monotonic() - self._since:.0f} s"
        spent = f"{self.cost.tokens:,} tokens"
        if self.budget.tokens is not None:
            spent = f"{self.cost.tokens:,} of {self.budget.tokens:,} tokens"
        leader = "no answer yet"
        if self.answer:
            leader = f"leading {printable(self.answer.text, limit=24)} ({self.standing.share:.0%})"
        seen = self.standing.samples or self.samples
        return f"{seen} sample{'s' if seen != 1 else ''} · {spent} · {leader}"

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the live line up to date while the body runs; it leaves no trace behind."""
        if not self.terminal.err.isatty():
            yield
            return
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        console = Console(file=self.terminal.err)

        def render() -> Text:
            return Text(self.line(), overflow="ellipsis", no_wrap=True)

        with Live(get_renderable=render, console=console, refresh_per_second=8, transient=True):
            yield
