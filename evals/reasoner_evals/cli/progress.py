"""What a person sees of a running evaluation: a live line on a terminal, plain lines elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from reasoner.cli.progress import Display, clock, is_milestone
from reasoner.cli.terminal import one_line
from reasoner.system.printing import counted
from reasoner_evals.runs.records import Arm, ItemRecord, Outcome


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
    probe_tokens: int = 0
    """Those of `tokens` that probes computed."""
    sequential: int = 0
    """The sum over questions of the sequential tokens of each."""
    began: float | None = None
    ended: float | None = None

    def add(self, record: ItemRecord, outcome: Outcome) -> None:
        """Count a finished question."""
        self.done += 1
        self.tokens += record.cost.tokens
        self.probe_tokens += record.probed.tokens
        self.sequential += record.cost.sequential_tokens
        self.errors += outcome == "error"
        self.unrated += [record.unrated] if record.unrated else []
        self.graded += outcome not in ("error", "ungraded")
        self.right += outcome == "right"

    @property
    def spent(self) -> str:
        """What a question cost on average; empty before the first."""
        if not self.done:
            return ""
        latency = f", {self.sequential / self.done:,.0f} sequential" if self.sequential else ""
        return f"{self.tokens / self.done:,.0f} tokens{latency} per question"

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
        self.tell(f"{arm.name}: {counted(total, 'question')}{before}")

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

    def line(self) -> str:
        """The progress of all arms and of the one that runs, in one line."""
        tallies = list(self.tallies.values())
        ended = sum(tally.ended is not None for tally in tallies)
        running = next((tally for tally in tallies if tally.began is not None and tally.ended is None), None)
        if running is None:
            # `super()` does not work in a dataclass with slots.
            return Display.line(self)
        # A narrow terminal cuts the end of the line: what a person waits for comes first.
        parts = [f"{running.done} of {running.total}", *_left(running, self.clock()), *_errors(running)]
        parts += [f"{running.tokens / running.done:,.0f} tokens each"] if running.done else []
        parts += [shown_accuracy(running.accuracy)] if running.accuracy else []
        return one_line(" · ".join([*parts, running.arm.name, f"{ended} of {counted(len(tallies), 'arm')} done"]))


def shown_accuracy(accuracy: tuple[float, float, float]) -> str:
    """A share with its interval, in percent."""
    share, low, high = (100 * value for value in accuracy)
    return f"{share:.1f} % ({low:.0f}-{high:.0f})"


def _line(tally: TaskTally, now: float) -> str:
    parts = [f"{tally.done} of {tally.total}"]
    parts += [f"accuracy {shown_accuracy(tally.accuracy)}"] if tally.accuracy else []
    parts += [tally.spent] if tally.done else []
    return " · ".join([*parts, *_left(tally, now), *_errors(tally)])


def _left(tally: TaskTally, now: float) -> list[str]:
    rate = tally.rate(now)
    return [f"{clock((tally.total - tally.done) / rate)} left"] if rate and tally.done < tally.total else []


def _errors(tally: TaskTally) -> list[str]:
    return [counted(tally.errors, "error")] if tally.errors else []
