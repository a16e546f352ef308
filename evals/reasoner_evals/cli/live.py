"""What a person sees of a running evaluation: a table on a terminal, plain lines elsewhere."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from reasoner.cli.progress import since_start
from reasoner.cli.terminal import Terminal, clean, printable
from reasoner.specs import Spec
from reasoner_evals.profiling.alarms import Watch
from reasoner_evals.runs.records import Arm, ItemRecord, Outcome

if TYPE_CHECKING:
    from rich.console import Console

NARROWEST = 14
"""Characters that are left to a strategy before a column goes."""
WIDEST = 48
"""Characters of a spec that are shown."""
GAP = "  "
_DROPPED = ("q/s", "tok/q", "ETA", "errors", "seed", "budget", "task")
"""What a narrow terminal goes without, in this order."""


@dataclass(slots=True)
class Tally:
    """How far an arm is. `graded` are the questions that count: all but those that ended in an error."""

    arm: Arm
    total: int
    done: int = 0
    earlier: int = 0
    right: int = 0
    graded: int = 0
    errors: int = 0
    tokens: int = 0
    watch: Watch = field(default_factory=Watch)
    began: float | None = None
    ended: float | None = None

    def add(self, record: ItemRecord, outcome: Outcome) -> None:
        """Count a finished question."""
        self.done += 1
        self.tokens += record.cost.tokens
        self.errors += outcome == "error"
        self.graded += outcome not in ("error", "ungraded")
        self.right += outcome == "right"
        self.watch.add(record, outcome)

    @property
    def active(self) -> bool:
        """Whether it runs now."""
        return self.began is not None and self.ended is None

    @property
    def accuracy(self) -> tuple[float, float, float] | None:
        """The share of right answers and its 95 % interval (Wilson); None before the first."""
        from reasoner_evals.stats.intervals import wilson

        return (self.right / self.graded, *wilson(self.right, self.graded)) if self.graded else None

    def rate(self, now: float) -> float | None:
        """Questions finished a second in this session; None before the first."""
        elapsed = (now if self.ended is None else self.ended) - (now if self.began is None else self.began)
        fresh = self.done - self.earlier
        return fresh / elapsed if fresh > 0 and elapsed > 0 else None

    def cells(self, now: float) -> dict[str, str]:
        """The columns of its row; empty where there is nothing to say yet."""
        rate = self.rate(now)
        return {
            "task": printable(self.arm.task, limit=WIDEST),
            "strategy": printable(self.arm.strategy, limit=WIDEST),
            "budget": printable(self.arm.limit, limit=WIDEST),
            "seed": str(self.arm.seed),
            "done": f"{self.done}/{self.total}",
            "accuracy": shown_accuracy(self.accuracy),
            "tok/q": f"{self.tokens / self.done:,.0f}" if self.done else "",
            "q/s": "" if rate is None else f"{rate:.3g}",
            "ETA": _clock((self.total - self.done) / rate) if rate and self.ended is None else "",
            "errors": str(self.errors) if self.errors else "",
        }


class Hidden(NamedTuple):
    """Columns that would say the same in every row."""

    task: bool
    seed: bool


@dataclass(slots=True)
class Live:
    """Watches an evaluation. Not being able to show it never harms the run."""

    terminal: Terminal
    stage: str = ""
    tallies: dict[str, Tally] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    _began: float = 0.0
    _since: float = 0.0
    _console: "Console | None" = None

    def __post_init__(self) -> None:
        self._began = self._since = self.clock()

    @property
    def live(self) -> bool:
        """Whether lines can be written over."""
        return self.terminal.err.isatty() and os.environ.get("TERM") != "dumb"

    def expect(self, arms: Sequence[Arm], totals: dict[str, int]) -> None:
        """The arms to come, and how many questions each task has."""
        self.tallies = {arm.name: Tally(arm, totals[arm.task]) for arm in arms}

    def begin(self, stage: str) -> None:
        """A stage before the first arm, told on a line of its own where nothing is live."""
        self.stage, self._since = stage, self.clock()
        if not self.live:
            self.terminal.say(stage + since_start(self._since - self._began))

    def note(self, line: str) -> None:
        """A line that stays, above the table where there is one. May be called from any thread."""
        if self._console is None:
            self.terminal.say(line)
        else:
            self._console.print(clean(line), markup=False, highlight=False, emoji=False)

    def arm_started(self, arm: Arm, total: int, done: int) -> None:
        """An arm begins; `done` of its questions were finished in an earlier session."""
        tally = self.tallies.setdefault(arm.name, Tally(arm, total))
        tally.total, tally.earlier, tally.began = total, done, self.clock()
        if not self.live:
            before = f", {done} of them done earlier" if done else ""
            self.terminal.say(f"{arm.name}: {total} question{'s' if total != 1 else ''}{before}")

    def item_done(self, arm: Arm, record: ItemRecord, outcome: Outcome) -> None:
        """A question of an arm is finished, or was in an earlier session."""
        tally = self.tallies[arm.name]
        tally.add(record, outcome)
        if not self.live and tally.earlier < tally.done < tally.total and _told_at(tally.done, tally.total):
            self.terminal.say(f"{arm.name}: {_told(tally, self.clock())}")

    def arm_finished(self, arm: Arm) -> None:
        """All questions of an arm are done."""
        tally = self.tallies[arm.name]
        tally.ended = self.clock()
        if not self.live:
            self.terminal.say(f"{arm.name}: {_told(tally, tally.ended)}")

    def lines(self, columns: int, rows: int) -> list[str]:
        """The table in so many columns and at most so many lines, its heading and the last line included."""
        now = self.clock()
        if all(tally.began is None for tally in self.tallies.values()):
            return [_cut(clean(f"{self.stage} … {now - self._since:.0f} s"), columns)]
        begun = [tally for tally in self.tallies.values() if tally.began is not None]
        ended = sorted((tally for tally in begun if not tally.active), key=lambda tally: -(tally.ended or 0))
        first = [*(tally for tally in begun if tally.active), *ended][: max(rows - 2, 1)]
        chosen = {tally.arm.name for tally in first}
        shown = [tally.cells(now) for name, tally in self.tallies.items() if name in chosen]
        specs = {tally.arm.task for tally in self.tallies.values()}
        if len({Spec.parse(spec).name for spec in specs}) == len(specs):
            shown = [{**row, "task": Spec.parse(row["task"]).name} for row in shown]
        return [*table(shown, self._hidden(), columns), _cut(self._sum(now, len(shown)), columns)]

    def _hidden(self) -> Hidden:
        arms = [tally.arm for tally in self.tallies.values()]
        return Hidden(len({arm.task for arm in arms}) == 1, len({arm.seed for arm in arms}) == 1)

    def _sum(self, now: float, shown: int) -> str:
        all_of = self.tallies.values()
        finished, begun = sum(one.ended is not None for one in all_of), sum(one.began is not None for one in all_of)
        parts = [
            f"{finished} of {len(all_of)} arms",
            f"{sum(t.done for t in all_of)}/{sum(t.total for t in all_of)} questions",
        ]
        parts += [f"{begun - shown} more rows"] if begun > shown else []
        return " · ".join([*parts, _clock(now - self._since)])

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the table up to date while the body runs; it leaves no trace behind."""
        if not self.live:
            yield
            return
        from rich.console import Console
        from rich.live import Live as RichLive
        from rich.text import Text

        console = Console(file=self.terminal.err, force_terminal=True)

        def render() -> Text:
            # Rich would measure standard output and error, which may be redirected to a log by now.
            size = os.get_terminal_size(self.terminal.err.fileno())
            console.size = (size.columns or 80, size.lines or 24)
            lines = self.lines(console.width, max(console.height - 1, 3))
            return Text("\n".join(lines), overflow="ellipsis", no_wrap=True)

        with RichLive(
            get_renderable=render,
            console=console,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            self._console = console
            try:
                yield
            finally:
                self._console = None


def table(rows: Sequence[dict[str, str]], hidden: Hidden, columns: int) -> list[str]:
    """The rows under their headings within `columns`: what does not fit is cut, or goes, the least telling first."""
    names = [name for name in rows[0] if name == "strategy" or any(row[name] for row in rows)]
    names = [name for name in names if not getattr(hidden, name, False)]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    leaving = [name for name in _DROPPED if name in names]

    def free() -> int:
        return columns - sum(widths[name] + len(GAP) for name in names if name != "strategy")

    while free() < min(NARROWEST, widths["strategy"]) and leaving:
        names.remove(leaving.pop(0))
    widths["strategy"] = max(min(free(), widths["strategy"]), 1)
    return [_cut(_row(row, names, widths), columns) for row in ({name: name for name in names}, *rows)]


def shown_accuracy(accuracy: tuple[float, float, float] | None) -> str:
    """A share with its interval, in percent."""
    if accuracy is None:
        return ""
    share, low, high = (100 * value for value in accuracy)
    return f"{share:.1f} % ({low:.0f}-{high:.0f})"


def _row(row: dict[str, str], names: Sequence[str], widths: dict[str, int]) -> str:
    texts = {name: _cut(row[name], widths[name]) for name in names}
    left = ("task", "strategy", "budget")
    cells = (f"{text:<{widths[name]}}" if name in left else f"{text:>{widths[name]}}" for name, text in texts.items())
    return GAP.join(cells).rstrip()


def _told_at(done: int, total: int) -> bool:
    """Whether a line is worth it: at doublings first, then at each tenth, and not for every few questions."""
    step = max(-(-total // 10), 8)
    return done % step == 0 or (done < step and done.bit_count() == 1)


def _told(tally: Tally, now: float) -> str:
    cells = tally.cells(now)
    parts = [f"{tally.done} of {tally.total}"]
    parts += [f"accuracy {cells['accuracy']}"] if cells["accuracy"] else []
    parts += [f"{cells['tok/q']} tokens a question"] if tally.done else []
    parts += [f"{cells['q/s']} questions/s"] if cells["q/s"] else []
    parts += [f"{cells['ETA']} left"] if cells["ETA"] and tally.done < tally.total else []
    parts += [f"{tally.errors} error{'s' if tally.errors > 1 else ''}"] if tally.errors else []
    return " · ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"
