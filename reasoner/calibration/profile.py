"""What a model gains from compute per task, as measured: written by `reasoner calibrate`, read by `auto`."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reasoner.errors import UnknownName, UsageError
from reasoner.system.files import read_whole, replacing

VERSION: Final = 2
MIN_QUESTIONS = 30
"""An arm measured on fewer is never chosen: its accuracy is a guess."""

Signal = Literal["none", "prompt", "likelihood", "split"]
"""A free signal of difficulty: none, the characters of the question, minus the mean log-probability of the first
sample's tokens, or the leader's share of the first four samples."""
_Share = Annotated[float, Field(ge=0, le=1)]
_Amount = Annotated[float, Field(ge=0, le=1e15)]
_Count = Annotated[int, Field(ge=1, le=10**12)]
_SLACK = 1e-6
"""The rounding error that sums may have."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Bins(_Part):
    """Bins of difficulty: a question is in the bin whose number is the number of `edges` that its signal reaches."""

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


class ArmRow(_Part):
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
    gap: Annotated[float, Field(ge=-1e15, le=1e15)]
    """The sum over questions of this outcome minus that of the bin's cheapest arm (the fewest `tokens`)."""
    gap_squares: _Amount
    """The sum of the squares of those differences; both are 0 for the cheapest arm itself."""
    tokens: _Amount
    """Mean tokens computed per question, everything counted."""
    tokens_p95: _Amount
    samples: _Amount
    share: _Share
    """The mean of the leader's smoothed share of the vote at the end: the agreement."""
    share_sd: _Amount

    @model_validator(mode="after")
    def _possible(self) -> Self:
        maximum = self.questions + _SLACK
        if self.right > maximum or self.squares > self.right + _SLACK:
            raise ValueError("right must be at most the questions, and squares at most right")
        if self.harmed + self.helped > maximum:
            raise ValueError("a question is harmed or helped, not both: their sum must be at most the questions")
        if (
            abs(self.gap) > maximum
            or self.gap_squares > maximum
            or self.gap**2 > self.questions * self.gap_squares + _SLACK
        ):
            raise ValueError("gap and gap_squares must be sums of differences between -1 and 1 and of their squares")
        return self

    @property
    def arm(self) -> tuple[str, str, str]:
        """Strategy, verifier, budget: the arm in any bin."""
        return self.strategy, self.verifier, self.budget

    @property
    def eligible(self) -> bool:
        """Whether it was measured on enough questions to be chosen."""
        return self.questions >= MIN_QUESTIONS


class Trust(_Part):
    """The chance that an answer is right by its smoothed share of the vote: a rising curve through these points."""

    questions: _Count
    shares: Annotated[tuple[_Share, ...], Field(min_length=1)]
    chances: tuple[_Share, ...]

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if len(self.shares) != len(self.chances):
            raise ValueError("each share must have a chance")
        if any(low >= high for low, high in pairwise(self.shares)):
            raise ValueError("the shares must ascend")
        if any(low > high for low, high in pairwise(self.chances)):
            raise ValueError("the chances must not fall with the share")
        return self

    def chance(self, share: float) -> float:
        """The calibrated chance at a smoothed share: linear between the points, flat outside."""
        import numpy as np

        return float(np.interp(share, self.shares, self.chances))


class Family(_Part):
    """All measurements on one kind of task."""

    task: str
    questions: _Count
    bins: Bins
    arms: tuple[ArmRow, ...]
    baseline: str
    """The spec of the arm that risk is measured against: voting with all samples, no verifier, no budget."""
    sample_tokens: Annotated[float, Field(gt=0)]
    """The mean cost of one more sample."""
    trust: Trust
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
        measured = {row.bin for row in self.arms if row.arm == (self.baseline, "", "")}
        if missing := sorted(set(range(bins)) - measured):
            raise ValueError(f"the baseline {self.baseline!r:.80} has no row in bin {missing[0]}")
        return self

    def rows(self, bin: int) -> tuple[ArmRow, ...]:
        """The arms of one bin, from 0 to `bins.count - 1`; cheapest first, ties by name."""
        return tuple(sorted((row for row in self.arms if row.bin == bin), key=lambda row: (row.tokens, row.arm)))

    def standard(self, bin: int) -> ArmRow:
        """The baseline in one bin."""
        return next(row for row in self.rows(bin) if row.arm == (self.baseline, "", ""))


class Profile(_Part):
    """A model's calibration, versioned; see `docs/controller.md`."""

    v: Literal[2] = VERSION
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
            way_out = f"choose one with task or --task: {', '.join(families)}" if families else "calibrate first"
            raise UsageError(f"the profile holds {len(families)} tasks: {way_out}")
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
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise UsageError(f"{path} is not a profile: {where:.200}: {first['msg'].lower():.200}") from error
