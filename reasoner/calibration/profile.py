"""What a model gains from compute per task, as measured: written by `reasoner calibrate`, read by `auto`."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reasoner.errors import UnknownName, UsageError
from reasoner.system.files import complaint_of, read_whole, replacing

VERSION: Final = 3
MIN_QUESTIONS = 30
"""An arm measured on fewer is never chosen: its accuracy is a guess."""

Signal = Literal["none", "prompt", "split"]
"""A free signal of difficulty: none, the characters of the question, minus the mean log-probability of the first
sample's tokens, or the leader's share of the first four samples."""
_Share = Annotated[float, Field(ge=0, le=1)]
_Amount = Annotated[float, Field(ge=0, le=1e15)]
_Count = Annotated[int, Field(ge=1, le=10**12)]
_WEIGHT_SLACK = 1e-3
"""The rounding error that the sum of weights may have."""


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
    """The chance that an arm's answer is right by its smoothed share of the vote: a rising curve through points."""

    shares: Annotated[tuple[_Share, ...], Field(min_length=1)]
    chances: tuple[_Share, ...]
    weights: tuple[_Share, ...]
    """The part of the questions that each point stands for; their sum is 1."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if not len(self.shares) == len(self.chances) == len(self.weights):
            raise ValueError("each share must have a chance and a weight")
        if abs(sum(self.weights) - 1) > _WEIGHT_SLACK:
            raise ValueError("the weights must sum to 1")
        if any(low >= high for low, high in pairwise(self.shares)):
            raise ValueError("the shares must ascend")
        if any(low > high for low, high in pairwise(self.chances)):
            raise ValueError("the chances must not fall with the share")
        return self

    def chance(self, share: float) -> float:
        """The calibrated chance at a smoothed share: linear between the points, flat outside."""
        import numpy as np

        return float(np.interp(share, self.shares, self.chances))

    def answered(self, threshold: float) -> tuple[float, float]:
        """The part of the questions that have this chance or more, and how many of those answers are right, 0 to 1.

        Both as measured in calibration; the second is 1 where no question is answered.
        """
        parts = [
            (weight, chance) for weight, chance in zip(self.weights, self.chances, strict=True) if chance >= threshold
        ]
        answered = sum(weight for weight, _ in parts)
        return answered, sum(weight * chance for weight, chance in parts) / answered if answered else 1.0


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
    squares: _Amount
    """The sum of squares of the outcomes, for the error of their mean."""
    harmed: _Amount
    """On how many questions the baseline was right and this arm wrong."""
    helped: _Amount
    """On how many questions this arm was right and the baseline wrong."""
    loss_squares: _Amount
    """The sum over questions of the square of the baseline's outcome minus this one, for the error of the loss."""
    tokens: _Amount
    """Mean tokens computed per question, everything counted."""
    tokens_p95: _Amount
    sequential_tokens: _Amount | None = None
    """Mean sequential tokens per question; None where they were not counted."""
    samples: _Amount
    share: _Share
    """The mean of the leader's smoothed share of the vote at the end: the agreement."""
    share_sd: _Amount
    trust: Trust

    @property
    def arm(self) -> tuple[str, str, str]:
        """Strategy, verifier, budget: the arm in any bin."""
        return self.strategy, self.verifier, self.budget

    @property
    def eligible(self) -> bool:
        """Whether it was measured on enough questions to be chosen."""
        return self.questions >= MIN_QUESTIONS


class Family(_ProfilePart):
    """All measurements on one kind of task."""

    task: str
    questions: _Count
    bins: Bins
    arms: tuple[ArmRow, ...]
    baseline: str
    """The spec of the arm that risk is measured against: voting with all samples, no verifier, no budget."""
    safe: str
    """The spec of the arm that is chosen without evidence: the same answers as the baseline, for less if possible."""
    sample_tokens: Annotated[float, Field(gt=0)]
    """The mean cost of one more sample."""
    origin: str
    """The run that measured it, and when."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        bins = self.bins.count
        for (arm, index), rows in Counter((row.arm, row.bin) for row in self.arms).items():
            if index >= bins:
                raise ValueError(f"{arm[0]!r:.80} has a row in bin {index}, and there are {bins} bins, from 0")
            if rows > 1:
                raise ValueError(f"{arm[0]!r:.80} has {rows} rows in bin {index}")
        for name, spec in (("baseline", self.baseline), ("safe arm", self.safe)):
            measured = {row.bin for row in self.arms if row.arm == (spec, "", "")}
            if missing := sorted(set(range(bins)) - measured):
                raise ValueError(f"the {name} {spec!r:.80} has no row in bin {missing[0]}")
        return self

    def rows(self, bin: int) -> tuple[ArmRow, ...]:
        """The arms of one bin, from 0 to `bins.count - 1`; cheapest first, ties by name."""
        return tuple(sorted((row for row in self.arms if row.bin == bin), key=lambda row: (row.tokens, row.arm)))

    def standard(self, bin: int) -> ArmRow:
        """The baseline in one bin."""
        return self._row(self.baseline, bin)

    def safest(self, bin: int) -> ArmRow:
        """The safe arm in one bin."""
        return self._row(self.safe, bin)

    def _row(self, spec: str, bin: int) -> ArmRow:
        return next(row for row in self.arms if row.bin == bin and row.arm == (spec, "", ""))


class Profile(_ProfilePart):
    """A model's calibration, versioned; see `docs/controller.md`."""

    v: Literal[3] = VERSION
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
            if task not in families:
                raise UnknownName("calibrated task", task, families, of=self.model)
            return families[task]
        if len(families) != 1:
            advice = f"choose one with task or --task: {', '.join(families)}" if families else "calibrate first"
            raise UsageError(f"the profile holds {len(families)} tasks: {advice}")
        return self.families[0]

    def write(self, path: Path) -> None:
        """Write it atomically: another process sees the old file or the new one.

        Raises:
            UsageError: it cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                file.write(self.model_dump_json(indent=1).encode() + b"\n")
        except OSError as error:
            raise UsageError(f"cannot write the profile {path}: {error.strerror}") from error


class _Versioned(BaseModel):
    v: int


def read_profile(path: Path) -> Profile:
    """The profile in a file.

    Raises:
        UsageError: it cannot be read, was written by another version, or is not a profile; the message says where.
    """
    try:
        text = read_whole(path)
    except OSError as error:
        raise UsageError(
            f"cannot read the profile {path}: {error.strerror}: give a file that `reasoner calibrate` wrote"
        ) from error
    try:
        if (version := _Versioned.model_validate_json(text).v) != VERSION:
            raise UsageError(
                f"{path} was written by version {version}, and this one reads version {VERSION}: calibrate again"
            )
        return Profile.model_validate_json(text)
    except ValidationError as error:
        raise UsageError(f"{path} is not a profile: {complaint_of(error)}") from error
