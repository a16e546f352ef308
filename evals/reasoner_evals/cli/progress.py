"""What a person sees of a running evaluation: a table on a terminal, plain lines elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reasoner.cli.progress import Display, clock, is_milestone
from reasoner_evals.runs.records import Arm, ItemRecord, Outcome

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


@dataclass(slots=True)
class TaskTally:
    """The progress of an arm. `graded` questions are those with a grade: neither errors nor ungraded."""

    arm: Arm
    total: int
    done: int = 0
    earlier: int = 0
    right: int = 0
    graded: int = 0
    errors: int = 0
    unrated: list[str] = field(default_factory=list)
    """Of each question without any rating, why."""
    tokens: int = 0
    began: float | None = None
    ended: float | None = None

    def add(self, record: ItemRecord, outcome: Outcome) -> None:
        """Count a finished question."""
        self.done += 1
        self.tokens += record.cost.tokens
        self.errors += outcome == "error"
        self.unrated += [record.unrated] if record.unrated else []
        self.graded += outcome not in ("error", "ungraded")
        self.right += outcome == "right"

    @property
    def active(self) -> bool:
        """Whether it is running."""
        return self.began is not None and self.ended is None

    @property
    def accuracy(self) -> tuple[float, float, float] | None:
        """The share of right answers and its 95 % interval (Wilson); None before the first."""
        from reasoner_evals.stats.intervals import wilson

        return (self.right / self.graded, *wilson(self.right, self.graded)) if self.graded else None

    def rate(self, now: float) -> float | None:
        """Questions finished per second in this session; None before the first."""
        elapsed = (now if self.ended is None else self.ended) - (now if self.began is None else self.began)
        fresh = self.done - self.earlier
        return fresh / elapsed if fresh > 0 and elapsed > 0 else None

    def cells(self, now: float) -> dict[str, str]:
        """Its row by column; empty where there is no value yet."""
        rate = self.rate(now)
        return {
            "arm": self.arm.name,
            "done": f"{self.done}/{self.total}",
            "accuracy": shown_accuracy(self.accuracy),
            "tok/q": f"{self.tokens / self.done:,.0f}" if self.done else "",
            "ETA": clock((self.total - self.done) / rate) if rate and self.ended is None else "",
            "errors": str(self.errors) if self.errors else "",
        }


@dataclass(slots=True)
class EvalProgress(Display):
    """Follows an evaluation."""

    tallies: dict[str, TaskTally] = field(default_factory=dict, init=False)

    def expect(self, arms: Sequence[Arm], totals: dict[str, int]) -> None:
        """Set the arms to come, and the number of questions of each task."""
        self.tallies = {arm.name: TaskTally(arm, totals[arm.task]) for arm in arms}

    def arm_started(self, arm: Arm, total: int, done: int) -> None:
        """An arm begins; `done` of its questions were finished in an earlier session."""
        tally = self.tallies.setdefault(arm.name, TaskTally(arm, total))
        tally.total, tally.earlier, tally.began = total, done, self.clock()
        before = f", {done} of them done earlier" if done else ""
        self.tell(f"{arm.name}: {total} question{'s' if total != 1 else ''}{before}")

    def item_done(self, arm: Arm, record: ItemRecord, outcome: Outcome) -> None:
        """A question of an arm is finished, now or in an earlier session."""
        tally = self.tallies[arm.name]
        tally.add(record, outcome)
        if tally.earlier < tally.done < tally.total and is_milestone(tally.done, tally.total):
            self.tell(f"{arm.name}: {_line(tally, self.clock())}")

    def arm_finished(self, arm: Arm) -> None:
        """All questions of an arm are finished."""
        tally = self.tallies[arm.name]
        tally.ended = self.clock()
        self.tell(f"{arm.name}: {_line(tally, tally.ended)}")

    def picture(self, columns: int, rows: int) -> "RenderableType":
        """The table of the arms that run and that ended last, and a line about all of them."""
        from rich.console import Group
        from rich.text import Text

        now = self.clock()
        started = [tally for tally in self.tallies.values() if tally.began is not None]
        if not started:
            # `super()` does not work in a dataclass with slots.
            return Display.picture(self, columns, rows)
        latest = sorted(started, key=lambda tally: (not tally.active, -(tally.ended or 0)))[: max(rows - 2, 1)]
        names = {tally.arm.name for tally in latest}
        shown = [tally.cells(now) for name, tally in self.tallies.items() if name in names]
        total = Text(self._total(now, len(started) - len(shown)), no_wrap=True, overflow="ellipsis")
        return Group(table(shown), total)

    def _total(self, now: float, left_out: int) -> str:
        tallies = self.tallies.values()
        parts = [
            f"{sum(tally.ended is not None for tally in tallies)} of {len(tallies)} arms",
            f"{sum(tally.done for tally in tallies)}/{sum(tally.total for tally in tallies)} questions",
        ]
        parts += [f"{left_out} more rows"] if left_out else []
        return " · ".join([*parts, clock(now - self._since)])


def table(rows: Sequence[dict[str, str]]) -> "Table":
    """The rows for a terminal, without empty columns; a narrow one cuts cells."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    for name in names:
        # Rich narrows columns that may wrap before it narrows others.
        shown.add_column(name, no_wrap=name != "arm", justify="left" if name == "arm" else "right")
    for row in rows:
        shown.add_row(*(Text(row[name], no_wrap=True, overflow="ellipsis") for name in names))
    return shown


def shown_accuracy(accuracy: tuple[float, float, float] | None) -> str:
    """A share with its interval, in percent."""
    if accuracy is None:
        return ""
    share, low, high = (100 * value for value in accuracy)
    return f"{share:.1f} % ({low:.0f}-{high:.0f})"


def _line(tally: TaskTally, now: float) -> str:
    cells = tally.cells(now)
    parts = [f"{tally.done} of {tally.total}"]
    parts += [f"accuracy {cells['accuracy']}"] if cells["accuracy"] else []
    parts += [f"{cells['tok/q']} tokens per question"] if tally.done else []
    parts += [f"{cells['ETA']} left"] if cells["ETA"] and tally.done < tally.total else []
    parts += [f"{tally.errors} error{'s' if tally.errors > 1 else ''}"] if tally.errors else []
    return " · ".join(parts)
