"""What a person sees of an evaluation, a live line, and of a race, a table; without a terminal plain lines."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from reasoner import Cost
from reasoner.cli.progress import Display, clock, is_milestone
from reasoner.system.printing import counted, one_line, printable
from reasoner_evals.runs.naming import short_names
from reasoner_evals.runs.records import Arm, ItemRecord, Outcome
from reasoner_evals.tuning.race import Race, why_out


@dataclass(slots=True)
class TaskTally:
    """The progress of an arm. `graded` questions are those with a grade: neither errors nor ungraded."""

    arm: Arm
    total: int
    name: str = ""
    """What people read; without it the name of the arm is shown."""
    done: int = 0
    earlier: int = 0
    right: int = 0
    graded: int = 0
    errors: int = 0
    unrated: list[str] = field(default_factory=list)
    """Of each question without any rating, why."""
    tokens: int = 0
    fresh_tokens: int = 0
    """The part of `tokens` for questions that this session finished."""
    probe_tokens: int = 0
    """Those of `tokens` that probes computed."""
    sequential: int = 0
    """The sum over questions of the sequential tokens of each."""
    lengths: deque[int] = field(default_factory=lambda: deque(maxlen=1 << 13))
    """The generated tokens of the latest samples of this session."""
    samples_before: int = 0
    """Samples that earlier sessions drew for unfinished questions."""
    fresh_samples: int = 0
    """Samples of questions that this session finished."""
    now: Cost = field(default_factory=Cost)
    """What this session paid, also for questions that it has not finished."""
    began: float | None = None
    ended: float | None = None

    def __post_init__(self) -> None:
        self.name = self.name or self.arm.name

    def add(self, record: ItemRecord, outcome: Outcome) -> None:
        """Count a finished question."""
        self.done += 1
        self.tokens += record.cost.tokens
        self.fresh_samples += record.cost.samples if self.done > self.earlier else 0
        self.fresh_tokens += record.cost.tokens if self.done > self.earlier else 0
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
        latency = (
            f", {self.sequential / self.done:,.0f} sequential"
            if self.sequential
            else ""
        )
        return f"{self.tokens / self.done:,.0f} tokens{latency} per question"

    @property
    def accuracy(self) -> tuple[float, float, float] | None:
        """The share of right answers and its 95 % interval (Wilson); None before the first."""
        from reasoner_evals.stats.intervals import wilson

        return (
            (self.right / self.graded, *wilson(self.right, self.graded))
            if self.graded
            else None
        )

    def paid(self, cost: Cost) -> None:
        """Count what a piece of work cost."""
        self.now += cost
        if cost.samples:
            self.lengths.append(cost.generated_tokens)

    def left(self, now: float, running: Sequence[int] = ()) -> float | None:
        """Seconds to the end of the arm, at this session's rate of tokens; None before it is known.

        `running` are the tokens of each sequence in flight so far, where the engine knows them.
        """
        if self.began is None or self.ended is not None or self.done >= self.total:
            return None
        share, elapsed = self._share(running), now - self.began
        return elapsed * (1 - share) / share if 0 < share <= 1 and elapsed > 0 else None

    def _share(self, running: Sequence[int]) -> float:
        """How much of this session's tokens is generated; 0 where that is not known.

        A pool's samples are of an expected length; other work is expected to cost what a finished question did.
        """
        fresh, todo = self.done - self.earlier, self.total - self.earlier
        if self.arm.pool and self.lengths:
            from reasoner_evals.stats.lengths import expected_length

            tokens = self.now.generated_tokens + sum(running)
            samples = max(todo * self.arm.pool - self.samples_before, 1)
            expected = samples * expected_length(self.lengths, running)
        elif fresh:
            tokens = self.now.tokens + sum(running)
            expected = todo * self.fresh_tokens / fresh
        else:
            return 0.0
        return max(min(tokens / max(expected, 1.0), 1.0), fresh / todo)


@dataclass(slots=True)
class EvalProgress(Display):
    """Follows an evaluation."""

    tallies: dict[str, TaskTally] = field(default_factory=dict, init=False)

    def expect(
        self, arms: Sequence[Arm], totals: dict[str, int], *, thinks: bool = False
    ) -> None:
        """Set the arms to come, and the number of questions of each task; `thinks` says that the model does."""
        names = short_names(arms, thinks=thinks)
        self.tallies = {
            arm.name: TaskTally(arm, totals[arm.task], names[arm.name]) for arm in arms
        }

    def arm_started(self, arm: Arm, total: int, done: int, kept: int) -> None:
        """An arm begins; earlier sessions finished `done` questions, and drew `kept` samples of others."""
        tally = self.tallies.setdefault(arm.name, TaskTally(arm, total))
        tally.total, tally.earlier, tally.began = total, done, self.clock()
        before = f", {done} of them done earlier" if done else ""
        self.tell(f"{tally.name}: {counted(total, 'question')}{before}")
        tally.samples_before = kept
        if kept:
            self.tell(
                f"{tally.name}: {counted(kept, 'sample')} of unfinished questions are reused"
            )

    def spent(self, arm: Arm, cost: Cost) -> None:
        """This session paid for work on a question of an arm."""
        self.tallies[arm.name].paid(cost)

    def item_done(self, arm: Arm, record: ItemRecord, outcome: Outcome) -> None:
        """A question of an arm is finished, now or in an earlier session."""
        tally = self.tallies[arm.name]
        tally.add(record, outcome)
        if tally.earlier < tally.done < tally.total and is_milestone(
            tally.done, tally.total
        ):
            self.tell(f"{tally.name}: {self._line(tally, self.clock())}")

    def arm_finished(self, arm: Arm) -> None:
        """All questions of an arm are finished."""
        tally = self.tallies[arm.name]
        tally.ended = self.clock()
        self.tell(f"{tally.name}: {self._line(tally, tally.ended)}")

    @property
    def kept(self) -> list[str]:
        """What a later session continues from: finished questions, and the samples of unfinished ones."""
        tallies = self.tallies.values()
        questions = sum(tally.done for tally in tallies)
        samples = sum(
            max(tally.samples_before + tally.now.samples - tally.fresh_samples, 0)
            for tally in tallies
        )
        parts = [counted(questions, "finished question")] if questions else []
        return (
            [*parts, f"{counted(samples, 'sample')} of unfinished questions"]
            if samples
            else parts
        )

    def line(self) -> str:
        """The progress of all arms and of the one that runs, in one line."""
        tallies = list(self.tallies.values())
        ended = sum(tally.ended is not None for tally in tallies)
        running = next(
            (
                tally
                for tally in tallies
                if tally.began is not None and tally.ended is None
            ),
            None,
        )
        if running is None:
            # `super()` does not work in a dataclass with slots.
            return Display.line(self)
        # A narrow terminal cuts the end of the line: what a person waits for comes first.
        parts = [
            self._line(running, self.clock()),
            running.name,
            f"{ended} of {counted(len(tallies), 'arm')} done",
        ]
        return one_line(" · ".join(parts))

    def _line(self, tally: TaskTally, now: float) -> str:
        left = tally.left(now, self.in_flight)
        parts = [f"{tally.done} of {tally.total}"]
        parts += [f"{clock(left)} left"] if left is not None else []
        parts += [counted(tally.errors, "error")] if tally.errors else []
        parts += [f"{tally.tokens / tally.done:,.0f} tokens each"] if tally.done else []
        parts += [shown_accuracy(tally.accuracy)] if tally.accuracy else []
        return " · ".join(parts)


if TYPE_CHECKING:
    from rich.console import RenderableType

LINES: Final = 6
"""The lines of the live display that are no candidate."""


@dataclass(slots=True)
class TuneProgress(Display):
    """Follows a race."""

    race: Race | None = field(default=None, init=False)
    specs: Sequence[str] = field(default=(), init=False)
    tokens: float = field(default=0.0, init=False)
    errors: dict[int, str] = field(default_factory=dict, init=False)
    _questions: int = field(default=0, init=False)
    _began: float | None = field(default=None, init=False)
    _paid: int = field(default=0, init=False)
    """Tokens of this session."""
    _paid_before: int = field(default=0, init=False)
    """Those of them for the rounds that have ended."""
    _earlier: int = field(default=0, init=False)
    """Questions that earlier sessions asked."""
    _where: str = field(default="", init=False)
    _arm: str = field(default="", init=False)

    def expect(
        self, race: Race, specs: Sequence[str], questions: int, spent: float
    ) -> None:
        """Follow a new race over a number of questions; finding its sizes spent some tokens."""
        self.race, self.specs, self._questions, self.tokens = (
            race,
            specs,
            questions,
            spent,
        )
        self._began = self.clock()

    def round(self, number: int, count: int, questions: int) -> None:
        """A round begins."""
        self._where = f"round {number} of {count}"
        self.begin(f"{self._where}: {counted(questions, 'question')}")

    def looked(
        self,
        fresh: Sequence[object],
        spent: float,
        errors: Mapping[int, str] | None = None,
    ) -> None:
        """These candidates went out."""
        assert self.race is not None
        self.tokens, self._paid_before = spent, self._paid
        if not self._paid:
            self._earlier = self.race.right.shape[1]
        self.errors.update(errors or {})
        for each in self.race.exits[len(self.race.exits) - len(fresh) :]:
            self.tell(
                f"out: {self.specs[each.who]}: {why_out(each, self.specs, self.race, self.errors)}"
            )

    def arm_started(self, arm: Arm, total: int, done: int, kept: int) -> None:
        """A candidate, or a pool of samples, is asked."""
        self._arm = arm.strategy

    def spent(self, arm: Arm, cost: Cost) -> None:
        """This session paid for work on a question."""
        self._paid += cost.tokens

    def item_done(self, arm: Arm, record: ItemRecord, outcome: Outcome) -> None:
        """A question of it is finished."""

    def arm_finished(self, arm: Arm) -> None:
        """All its questions of this round are finished."""

    def summary(self) -> str:
        """The state of the race in one line."""
        race = self.race
        if race is None or not race.right.shape[1]:
            return self.stage
        parts = [
            self._where,
            f"{len(race.inside)} of {counted(len(self.specs), 'candidate')} in",
        ]
        parts += [f"{self.tokens:,.0f} tokens so far", *self._left()]
        if race.inside:
            first = race.inside[0]
            parts.append(
                f"ahead: {self.specs[first]} with {100 * race.accuracy(first):.1f} %"
            )
        return ", ".join(parts)

    def _left(self) -> list[str]:
        """The time that the tokens of the other questions would take if nobody else went out."""
        assert self.race is not None
        done, now = self.race.right.shape[1], self._paid + sum(self.in_flight)
        if self._began is None or not self._earlier < done < self._questions:
            return []
        each = self._paid_before / (done - self._earlier)
        tokens = max(each * (self._questions - done) - (now - self._paid_before), 0.0)
        return [f"at most {clock((self.clock() - self._began) / now * tokens)} left"]

    def line(self) -> str:
        """The progress in one line."""
        arm = f" · {printable(self._arm)}" if self._arm else ""
        return one_line(f"{self.stage}{arm}")

    def view(self, height: int) -> "RenderableType":
        """The candidates that are in, and the latest ones that went out, with why."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        race, line = self.race, Text(self.line(), overflow="ellipsis", no_wrap=True)
        if race is None or not race.right.shape[1]:
            return line
        table = Table(box=None, pad_edge=False)
        table.add_column("right", justify="right", no_wrap=True, min_width=7)
        table.add_column("tokens", justify="right", no_wrap=True, min_width=7)
        table.add_column("candidate", no_wrap=True, overflow="ellipsis")
        table.add_column("", no_wrap=True, overflow="ellipsis")
        rows = [(who, "") for who in race.inside]
        rows += [
            (each.who, why_out(each, self.specs, race, self.errors))
            for each in reversed(race.exits)
        ]
        for who, why in rows[: max(height - LINES, 3)]:
            style = "dim" if why else ""
            shown = (
                f"{100 * race.accuracy(who):.1f} %",
                f"{race.cost(who):,.0f}",
                self.specs[who],
                why,
            )
            table.add_row(*(Text(one_line(each)) for each in shown), style=style)
        return Group(
            table,
            Text(one_line(self.summary()), overflow="ellipsis", no_wrap=True),
            line,
        )


def shown_accuracy(accuracy: tuple[float, float, float]) -> str:
    """A share with its interval, in percent."""
    share, low, high = (100 * value for value in accuracy)
    return f"{share:.1f} % ({low:.0f}-{high:.0f})"
