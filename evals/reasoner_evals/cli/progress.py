"""What a person sees of a running evaluation: a live line on a terminal, plain lines elsewhere."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reasoner import Cost
from reasoner.cli.progress import Display, clock, is_milestone
from reasoner.system.printing import counted, one_line
from reasoner_evals.runs.naming import short_names
from reasoner_evals.runs.records import Arm, ItemRecord, Outcome


@dataclass(slots=True)
class TaskTally:
    """The progress of an arm. `graded` questions are those with a grade: neither errors nor ungraded."""

    arm: Arm
    total: int
    name: str = ""
    """What people read; without it the name of the arm is shown."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """The group of each question, by id."""
    done: int = 0
    earlier: int = 0
    grades: list[tuple[float, str]] = field(default_factory=list)
    """Of each question with a grade, 1 if it is right or 0, and its group."""
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
    samples_before: int = 0
    """Samples that earlier sessions drew for unfinished questions."""
    fresh_samples: int = 0
    """Samples of questions that this session finished."""
    now: Cost = field(default_factory=Cost)
    """What this session paid, also for questions that it has not finished."""
    checks: int = 0
    """Replies that were rated or graded in this session, and programs that were run."""
    checking: float = 0.0
    """The seconds in which at least one check ran."""
    checked: float = -math.inf
    """When the last one ended."""
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
        if outcome not in ("error", "ungraded"):
            group = self.groups.get(record.question_id, "")
            self.grades.append((float(outcome == "right"), group))

    @property
    def graded(self) -> int:
        """How many questions have a grade."""
        return len(self.grades)

    @property
    def right(self) -> int:
        """How many questions are right."""
        return int(sum(right for right, _ in self.grades))

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
        """The share of right answers and its 95 % interval, as in a report; None before the first."""
        import numpy as np

        from reasoner_evals.stats.intervals import interval

        if not self.grades:
            return None
        rights, groups = zip(*self.grades, strict=True)
        share = interval(np.array(rights), groups if all(groups) else None)
        return share.mean, share.low, share.high

    def paid(self, cost: Cost) -> None:
        """Count what a piece of work cost."""
        self.now += cost

    def check(self, now: float, seconds: float, replies: int) -> None:
        """Count a check of this many replies that ends now and took `seconds`, with its wait for a processor."""
        self.checks += replies
        self.checking += min(seconds, now - self.checked)
        self.checked = now

    def left(self, now: float) -> float | None:
        """Seconds to the end of the arm, at this session's rates of tokens and of checks; None before one is known.

        Tokens and checks are computed side by side, so the slower of the two decides.
        """
        if self.began is None or self.ended is not None or self.done >= self.total:
            return None
        work = (now - self.began, self._share), (self.checking, self._checked)
        known = [
            seconds * (1 - share) / share
            for seconds, share in work
            if seconds > 0 and 0 < share <= 1
        ]
        return max(known, default=None)

    @property
    def open_samples(self) -> int:
        """The samples of questions that are not finished, of all sessions."""
        return max(self.samples_before + self.now.samples - self.fresh_samples, 0)

    @property
    def _share(self) -> float:
        """How much of this session's work is done; 0 where that is not known.

        With recorded samples it is their share; other work is expected to cost what a finished question did.
        """
        fresh, todo = self.done - self.earlier, self.total - self.earlier
        if self.arm.pool:
            done: float = self.now.samples
            expected: float = max(todo * self.arm.pool - self.samples_before, 1)
        elif fresh:
            done, expected = self.now.tokens, todo * self.fresh_tokens / fresh
        else:
            return 0.0
        return max(min(done / max(expected, 1.0), 1.0), fresh / todo)

    @property
    def _checked(self) -> float:
        """How many of this session's checks are done; a pool's replies are each graded, and rated by a verifier."""
        fresh, todo = self.done - self.earlier, self.total - self.earlier
        expected = todo * self.arm.pool * (2 if self.arm.verifier else 1)
        done = self.checks / expected if expected else 0.0
        return max(min(done, 1.0), fresh / todo)


@dataclass(slots=True)
class EvalProgress(Display):
    """Follows an evaluation."""

    tallies: dict[str, TaskTally] = field(default_factory=dict, init=False)

    def expect(
        self,
        arms: Sequence[Arm],
        groups: Mapping[str, Mapping[str, str]],
        *,
        thinks: bool = False,
    ) -> None:
        """Set the arms to come, and the group of each question by task and id; `thinks` says that the model does."""
        names = short_names(arms, thinks=thinks)
        self.tallies = {
            arm.name: TaskTally(
                arm, len(groups[arm.task]), names[arm.name], groups[arm.task]
            )
            for arm in arms
        }

    def arm_started(self, arm: Arm, total: int, done: int) -> None:
        """An arm begins; `done` of its questions were finished in an earlier session."""
        tally = self.tallies.setdefault(arm.name, TaskTally(arm, total))
        tally.total, tally.earlier, tally.began = total, done, self.clock()
        before = f", {done} of them done earlier" if done else ""
        self.tell(f"{tally.name}: {counted(total, 'question')}{before}")

    def samples_kept(self, arm: Arm, samples: int) -> None:
        """Earlier sessions drew `samples` for questions that they did not finish."""
        tally = self.tallies[arm.name]
        tally.samples_before = samples
        self.tell(
            f"{tally.name}: {counted(samples, 'sample')} of unfinished questions are reused"
        )

    def spent(self, arm: Arm, cost: Cost) -> None:
        """This session paid for work on a question of an arm."""
        self.tallies[arm.name].paid(cost)

    def checked(self, arm: Arm, seconds: float, replies: int) -> None:
        """Some replies of an arm were rated or graded, or a program was run."""
        self.tallies[arm.name].check(self.clock(), seconds, replies)

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
        samples = sum(tally.open_samples for tally in tallies)
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
        left = tally.left(now)
        parts = [f"{tally.done} of {tally.total}"]
        parts += [f"{clock(left)} left"] if left is not None else []
        parts += [counted(tally.errors, "error")] if tally.errors else []
        parts += [f"{tally.tokens / tally.done:,.0f} tokens each"] if tally.done else []
        parts += [shown_accuracy(tally.accuracy)] if tally.accuracy else []
        return " · ".join(parts)


def shown_accuracy(accuracy: tuple[float, float, float]) -> str:
    """A share with its interval, in percent."""
    share, low, high = (100 * value for value in accuracy)
    return f"{share:.1f} % ({low:.0f}-{high:.0f})"
