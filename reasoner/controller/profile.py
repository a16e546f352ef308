"""What a model was measured to gain from compute, per kind of task: written by `reasoner calibrate`, read by `auto`."""

from bisect import bisect_right
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reasoner.errors import UnknownName, UsageError
from reasoner.files import read_whole, replacing

VERSION: Final = 1
LEAST_QUESTIONS = 30
"""An arm that was measured on fewer is not chosen: its accuracy is a guess."""

Signal = Literal["none", "prompt", "likelihood", "split"]
"""What tells difficulty for free: nothing, the characters of the question, minus the mean log-probability of the first
sample's tokens, or the leader's share of the first four samples."""
_Share = Annotated[float, Field(ge=0, le=1)]
_Amount = Annotated[float, Field(ge=0, le=1e15)]
_Count = Annotated[int, Field(ge=1, le=10**12)]
_SLACK = 1e-6
"""How far sums that were rounded on their way may be off."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Bins(_Part):
    """How questions are sorted by difficulty: into `len(edges) + 1` bins, by how many edges a signal reaches."""

    signal: Signal = "none"
    edges: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError("the edges of the bins must ascend")
        if self.edges and self.signal == "none":
            raise ValueError("edges need a signal that is compared with them")
        return self

    @property
    def count(self) -> int:
        """How many bins there are, 1 or more."""
        return len(self.edges) + 1

    def place(self, value: float) -> int:
        """The bin of a question with this signal, from 0."""
        return sum(edge <= value for edge in self.edges)

    def words(self, place: int) -> str:
        """Which questions a bin holds, such as `0.5 <= split < 0.75`; empty where there is one bin alone."""
        if not self.edges:
            return ""
        low = f"{self.edges[place - 1]:.4g} <= " if place else ""
        high = f" < {self.edges[place]:.4g}" if place < len(self.edges) else ""
        return f"{low}{self.signal}{high}"


class ArmRow(_Part):
    """One way to spend, as measured in one bin. Sums are over questions; a sampled outcome may be an expectation."""

    strategy: str
    """Its spec, such as `self_consistency:n=40,stop=lock_in`."""
    verifier: str = ""
    budget: str = ""
    """What one question could spend, as `Budget` writes it; empty where unbounded."""
    bin: Annotated[int, Field(ge=0)]
    questions: _Count
    right: _Amount
    """How many were answered rightly."""
    squares: _Amount
    """The sum of squares of the single outcomes, for the spread of their mean."""
    harmed: _Amount
    """On how many the baseline was right and this arm wrong."""
    helped: _Amount
    """On how many this arm was right and the baseline wrong."""
    gap: Annotated[float, Field(ge=-1e15, le=1e15)]
    """The sum of this outcome minus that of the bin's cheapest arm (the fewest `tokens`), question by question."""
    gap_squares: _Amount
    """The sum of the squares of those differences; both are 0 for the cheapest arm itself."""
    tokens: _Amount
    """Computed a question, everything counted, on average."""
    tokens_p95: _Amount
    samples: _Amount
    share: _Share
    """The leader's smoothed share of the vote in the end, on average: how much agreement there was."""
    share_sd: _Amount

    @model_validator(mode="after")
    def _possible(self) -> Self:
        most = self.questions + _SLACK
        if self.right > most or self.squares > self.right + _SLACK:
            raise ValueError("right is at most the questions, and squares at most right")
        if self.harmed + self.helped > most:
            raise ValueError("a question is harmed or helped, not both: their sum is at most the questions")
        if abs(self.gap) > most or self.gap_squares > most or self.gap**2 > self.questions * self.gap_squares + _SLACK:
            raise ValueError("gap and gap_squares are no sums of differences between -1 and 1 and of their squares")
        return self

    @property
    def arm(self) -> tuple[str, str, str]:
        """What it is apart from the bin: strategy, verifier, budget."""
        return self.strategy, self.verifier, self.budget

    @property
    def eligible(self) -> bool:
        """Whether it was measured on enough questions to be chosen."""
        return self.questions >= LEAST_QUESTIONS


class Trust(_Part):
    """How often an answer is right whose vote has a smoothed share: a rising curve through these points."""

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
            raise ValueError("the chances must not fall: more agreement is no worse")
        return self

    def chance(self, share: float) -> float:
        """The calibrated chance at a smoothed share: linear between the points, flat outside."""
        after = bisect_right(self.shares, share)
        if after in (0, len(self.shares)):
            return self.chances[max(0, after - 1)]
        (left, right), (low, high) = self.shares[after - 1 : after + 1], self.chances[after - 1 : after + 1]
        return low + (high - low) * (share - left) / (right - left)


class Family(_Part):
    """All that was measured on one kind of task."""

    task: str
    questions: _Count
    bins: Bins
    arms: tuple[ArmRow, ...]
    baseline: str
    """The spec of the arm that risk is measured against: voting with all samples, no verifier, no budget."""
    sample_tokens: Annotated[float, Field(gt=0)]
    """What one more sample costs, on average."""
    trust: Trust
    origin: str
    """Which run it was measured in, and when."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        bins = self.bins.count
        for (arm, place), rows in Counter((row.arm, row.bin) for row in self.arms).items():
            if place >= bins:
                raise ValueError(f"{arm[0]!r:.80} has a row in bin {place}, and there are {bins} bins, from 0")
            if rows > 1:
                raise ValueError(f"{arm[0]!r:.80} has {rows} rows in bin {place}")
        there = {row.bin for row in self.arms if row.arm == (self.baseline, "", "")}
        if missing := sorted(set(range(bins)) - there):
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

    v: Literal[1] = VERSION
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

    def family(self, task: str) -> Family:
        """What was measured on this kind of task.

        Raises:
            UnknownName: nothing was; the message lists what there is.
        """
        found = next((family for family in self.families if family.task == task), None)
        if found is None:
            raise UnknownName("calibrated task", task, (family.task for family in self.families), of=self.model)
        return found

    def write(self, path: Path) -> None:
        """Write it whole or not at all: another process sees the old file or the new one.

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
        UsageError: it cannot be read, was written by another version, or is no profile; the message says where.
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
                f"{path} was written by another version: it is {version}, and this one reads version {VERSION}: "
                "calibrate anew"
            )
        return Profile.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise UsageError(f"{path} is no profile: {where:.200}: {first['msg'].lower():.200}") from error
