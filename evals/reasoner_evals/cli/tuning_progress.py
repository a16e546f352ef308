"""What a person sees of a race: a table on a terminal, plain lines elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from reasoner import Cost
from reasoner.cli.progress import Display, clock
from reasoner.system.printing import counted, one_line, printable
from reasoner_evals.runs.records import Arm, ItemRecord, Outcome
from reasoner_evals.tuning.race import Race, why_out

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

    def arm_started(self, arm: Arm, total: int, done: int) -> None:
        """A candidate, or a pool of samples, is asked."""
        self._arm = arm.strategy

    def samples_kept(self, arm: Arm, samples: int) -> None:
        """Earlier sessions drew them: a race counts finished questions."""

    def spent(self, arm: Arm, cost: Cost) -> None:
        """This session paid for work on a question."""
        self._paid += cost.tokens

    def checked(self, arm: Arm, seconds: float, replies: int) -> None:
        """Replies were rated or graded."""

    def item_done(self, arm: Arm, record: ItemRecord, outcome: Outcome) -> None:
        """A question of it is finished."""

    def arm_finished(self, arm: Arm) -> None:
        """All its questions of this round are finished."""

    def summary(self) -> str:
        """How far the race is, in one line."""
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
        done, now = self.race.right.shape[1], self._paid
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
