"""What a model gains from compute per task, as measured: written by `reasoner tune`, read by `auto`."""

import itertools
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reasoner.calibration.promises import LEVEL, needed, p_value
from reasoner.errors import UsageError, require_name
from reasoner.system.files import read_value

VERSION: Final = 8

Signal = Literal["none", "prompt", "split"]
"""A free signal of difficulty: none, the question's characters, or the leader's share of the first four samples."""
_Share = Annotated[float, Field(ge=0, le=1)]
_Amount = Annotated[float, Field(ge=0, le=1e15)]
_Count = Annotated[int, Field(ge=1, le=10**12)]
LONGER: Final = 0.25
"""How far log odds fall with the log of the mean length, where lengths count: so little reorders only near ties."""
_EDGE = 1e-6
"""Shares are kept so far from 0 and 1, where log odds are infinite."""


class _ProfilePart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Bins(_ProfilePart):
    """Bins of difficulty: the bin of a question is the number of `edges` that its signal reaches."""

    signal: Signal = "none"
    edges: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError("the edges of the bins must ascend")
        if self.edges and self.signal == "none":
            raise ValueError("edges need a signal to compare with them")
        return self

    @property
    def count(self) -> int:
        """The number of bins, 1 or more."""
        return len(self.edges) + 1

    def index(self, value: float) -> int:
        """The bin of a question with this signal, from 0."""
        return sum(edge <= value for edge in self.edges)

    def words(self, bin: int) -> str:
        """The questions of a bin, such as `0.5 <= split < 0.75`; empty where there is only one bin."""
        if not self.edges:
            return ""
        low = f"{self.edges[bin - 1]:.4g} <= " if bin else ""
        high = f" < {self.edges[bin]:.4g}" if bin < len(self.edges) else ""
        return f"{low}{self.signal}{high}"


class Trust(_ProfilePart):
    """The chance that an arm's answer is right by its smoothed share of the vote: logistic in the share's log odds.

    It rises strictly with the share. Of nearly equal shares, those of shorter samples are surer, if lengths count.
    """

    intercept: float
    slope: Annotated[float, Field(gt=0)]
    length: _Amount = 0.0
    """The geometric mean over votes of the mean generated tokens of a sample; 0 where lengths do not count."""
    shares: Annotated[tuple[_Share, ...], Field(min_length=1)]
    """The shares that occurred in calibration, of one answer a question, ascending."""
    answered: tuple[_Count, ...]
    """How many answers had each share."""
    right: tuple[Annotated[int, Field(ge=0)], ...]
    """How many of those were right."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not len(self.shares) == len(self.answered) == len(self.right):
            raise ValueError("each share must have its answers and how many are right")
        if any(low >= high for low, high in pairwise(self.shares)):
            raise ValueError("the shares must ascend")
        if any(
            good > given for good, given in zip(self.right, self.answered, strict=True)
        ):
            raise ValueError("no more answers can be right than there are")
        return self

    def chance(self, share: float, length: float = 0.0) -> float:
        """The calibrated chance at a smoothed share, between 0 and 1, for samples of this mean length; 0 if unknown."""
        inside = min(max(share, _EDGE), 1 - _EDGE)
        longer = math.log(length / self.length) if length and self.length else 0.0
        odds = (
            self.intercept
            + self.slope * math.log(inside / (1 - inside))
            - LONGER * longer
        )
        return 1 / (1 + math.exp(-odds))

    def answers_above(self, threshold: float) -> tuple[float, float]:
        """The part of the questions that have this chance or more, and how many of those answers are right, 0 to 1.

        Both as counted in calibration; the second is 1 where no question is answered.
        """
        given = [self.chance(share) >= threshold for share in self.shares]
        answered, right = (
            math.fsum(itertools.compress(counts, given))
            for counts in (self.answered, self.right)
        )
        return answered / sum(self.answered), right / answered if answered else 1.0


class ArmRow(_ProfilePart):
    """One arm as measured in one bin. Sums are over questions; a sampled outcome may be an expectation."""

    strategy: str
    """Its spec, such as `self_consistency:n=40,stop=lock_in`."""
    verifier: str = ""
    budget: str = ""
    """The budget of one question, as `Budget` writes it; empty where unbounded."""
    bin: Annotated[int, Field(ge=0)]
    questions: _Count
    right: _Amount
    """The number of right answers."""
    losses: tuple[tuple[Annotated[float, Field(ge=-1, le=1)], _Count], ...]
    """The baseline's outcome of a question minus this arm's, and how many questions have this loss."""
    most: _Share
    """The most that any question can lose, in the mean over all orders of its samples; 1 where no bound is known."""
    orders: _Count
    """The outcome of a question is a mean over this many orders or seeds."""
    tokens: _Amount
    """Mean tokens computed per question, everything counted."""
    sequential_tokens: _Amount | None = None
    """Mean sequential tokens per question; None where they were not counted."""
    samples: _Amount
    trust: Trust

    @property
    def arm(self) -> tuple[str, str, str]:
        """Strategy, verifier, budget: the arm in any bin."""
        return self.strategy, self.verifier, self.budget

    @property
    def loss(self) -> float:
        """The mean loss of accuracy against the baseline, -1 to 1; negative where this arm is right more often."""
        return math.fsum(loss * n for loss, n in self.losses) / self.questions

    def p_value(self, risk: float) -> float:
        """The p-value of "it loses more than `risk` on average"; 0 where no question can."""
        return 0.0 if self.most <= risk else p_value(self.losses, risk, self.bound)

    def needed(self, risk: float, level: float = LEVEL) -> int | None:
        """About how many questions would promise that it loses at most `risk`; None where no number would."""
        return 0 if self.most <= risk else needed(self.losses, risk, self.bound, level)

    @property
    def bound(self) -> float:
        """The most that any question can lose in this many orders: what is cut off above two errors is negligible."""
        return min(
            1.0, self.most + 2 * math.sqrt(self.most * (1 - self.most) / self.orders)
        )


class Family(_ProfilePart):
    """All measurements on one kind of task."""

    task: str
    questions: _Count
    bins: Bins
    arms: tuple[ArmRow, ...]
    baseline: str
    """The spec of the arm that risk is measured against: voting with all samples, no verifier, no budget."""
    safe: str
    """The spec of the arm that loses next to nothing on any question, by its rule."""
    sample_tokens: Annotated[float, Field(gt=0)]
    """The mean cost of one more sample."""
    origin: str
    """The run that measured it, and when."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        bins = self.bins.count
        for row in self.arms:
            if sum(n for _, n in row.losses) != row.questions:
                raise ValueError(
                    f"{row.strategy!r:.80} has losses of other than its {row.questions} questions"
                )
        for (arm, index), rows in Counter(
            (row.arm, row.bin) for row in self.arms
        ).items():
            if index >= bins:
                raise ValueError(
                    f"{arm[0]!r:.80} has a row in bin {index}, and there are {bins} bins, from 0"
                )
            if rows > 1:
                raise ValueError(f"{arm[0]!r:.80} has {rows} rows in bin {index}")
        for name, spec in (("baseline", self.baseline), ("safe arm", self.safe)):
            measured = {row.bin for row in self.arms if row.arm == (spec, "", "")}
            if missing := sorted(set(range(bins)) - measured):
                raise ValueError(
                    f"the {name} {spec!r:.80} has no row in bin {missing[0]}"
                )
        return self

    def rows(self, bin: int) -> tuple[ArmRow, ...]:
        """The arms of one bin, from 0 to `bins.count - 1`; cheapest first, ties by name."""
        return tuple(
            sorted(
                (row for row in self.arms if row.bin == bin),
                key=lambda row: (row.tokens, row.arm),
            )
        )

    def safest(self, bin: int) -> ArmRow:
        """The safe arm in one bin."""
        return next(row for row in self.rows(bin) if row.arm == (self.safe, "", ""))


class Profile(_ProfilePart):
    """A model's calibration, versioned; see `docs/controller.md`."""

    v: Literal[8] = VERSION
    model: str
    created: str
    """ISO 8601, UTC."""
    families: tuple[Family, ...]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for task, times in Counter(family.task for family in self.families).items():
            if times > 1:
                raise ValueError(f"{times} families are of the task {task!r:.80}")
        return self

    def family(self, task: str = "") -> Family:
        """The measurements on this kind of task; on the only one where none is named.

        Raises:
            UnknownName: the task was not measured; the message lists those that were.
            UsageError: no task is named, and the profile holds none or several.
        """
        families = {family.task: family for family in self.families}
        if task:
            require_name("calibrated task", task, families, of=self.model)
            return families[task]
        if len(families) != 1:
            advice = (
                f"choose one with task or --task: {', '.join(families)}"
                if families
                else "calibrate first"
            )
            raise UsageError(f"the profile holds {len(families)} tasks: {advice}")
        return self.families[0]


class _Versioned(BaseModel):
    v: int


def read_profile(path: Path) -> Profile:
    """The profile in a file.

    Raises:
        UsageError: it cannot be read, was written by another version, or is not a profile; the message says where.
    """
    advice = "give a file that `reasoner tune` wrote"
    version = read_value(path, _Versioned, what="profile", advice=advice).v
    if version != VERSION:
        raise UsageError(
            f"{path} was written by version {version}, and this one reads version {VERSION}: calibrate again"
        )
    return read_value(path, Profile, what="profile", advice=advice)
