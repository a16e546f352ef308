"""What a report says, as data. Shares and accuracies are in [0, 1]; an unknown number is None, never 0."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from reasoner_evals.runs.reading import RunData
from reasoner_evals.runs.records import Arm, AskedItem, ItemRecord, Outcome
from reasoner_evals.tasks.data import Source

if TYPE_CHECKING:
    import pandas as pd


LEVEL: Final = 0.05
"""A p-value below this is called significant."""


class BoundedValue(NamedTuple):
    """A value and its 95 % interval over questions; the bounds are None where too few questions allow none."""

    value: float
    low: float | None = None
    high: float | None = None

    def cells(self, name: str) -> dict[str, float | None]:
        """The value and its bounds as flat fields: NAME, NAME_low and NAME_high."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


def estimate_of(row: Any, name: str) -> BoundedValue | None:
    """An estimate from a row of `TaskReport.points`; None where it is not known."""
    value = getattr(row, name)
    return (
        None
        if value is None
        else BoundedValue(
            value, getattr(row, f"{name}_low"), getattr(row, f"{name}_high")
        )
    )


Against = Literal["greedy", "cheapest", "self_consistency"]
"""One greedy sample; without one, the point that costs the fewest tokens; self-consistency for as many tokens."""
Claim = Literal["nothing", "alone", "gain", "leaning", "unresolved", "loss"]
"""No result; one point only; a strategy beats the baseline; one may, but too few questions show it; none is known to;
all are behind it."""


class Headline(NamedTuple):
    """The result of a task in one sentence, which claims only what the intervals and tests of its table show."""

    claim: Claim
    sentence: str
    key: str = ""
    """The point that it is about, and the baseline of that; empty where there is none."""
    baseline: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A point or an arm minus a baseline, compared question by question."""

    baseline: str
    """The key of the baseline's point, or the name of an arm."""
    questions: int
    difference: BoundedValue
    p: float
    p_holm: float
    """Adjusted for the `family` of comparisons that it belongs to: all against one kind of baseline in a task."""
    family: int
    test: str
    """mcnemar for single outcomes, otherwise the method of the interval, such as `t` or `score, clustered`."""
    better: int
    """Questions on which the first is ahead."""
    worse: int
    """Questions on which the baseline is ahead."""
    detectable: float | None
    """The smallest difference that this many questions can show: 80 % power at the 5 % level."""
    resolvable: bool
    """Whether the difference is as large as that."""
    backfired: float
    """The share of the questions that the baseline answers right and the first wrong."""
    mixed: float = 0.0
    """The share of the questions that the next size of the baseline answers, so that both cost the same."""

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval is known and on one side of 0."""
        _, low, high = self.difference
        return low is not None and high is not None and (low > 0 or high < 0)

    @property
    def sure(self) -> bool:
        """Whether the difference is significant, excludes 0, and is as large as its questions can show."""
        return self.excludes_zero and self.p_holm < LEVEL and self.resolvable

    def against_label(self, label: str) -> str:
        """The baseline in words, by the label of its point."""
        return (
            f"{label} (for {self.mixed:.0%} of the questions the next size)"
            if self.mixed
            else label
        )


class VerifierQuality(NamedTuple):
    """How well a verifier's scores separate right replies from wrong ones."""

    arm: str
    series: str
    verifier: str
    replies: int
    """Rated replies."""
    unrated: int
    """Replies with an answer that were not rated."""
    within: BoundedValue | None
    """AUROC within a question, over those with right and wrong replies; None where there is none."""
    mixed: int
    """Questions with right and wrong replies."""
    top: BoundedValue
    """The share of questions with a right best-rated reply; ties are shared."""
    chance: BoundedValue
    """The share of questions with a right reply if it is chosen at random among the rated ones."""


FailureKind = Literal["backfired", "missed", "overconfident"]
"""Baseline right and strategy wrong; covered but not chosen; wrong with a high confidence."""


class FailureExample(NamedTuple):
    """A failure worth reading."""

    kind: FailureKind
    key: str
    """The point that failed."""
    trace: Path
    record: ItemRecord
    """Without its pool, and without its answer if its source may not be shown."""
    item: AskedItem | None
    """The question with its reference answer; None if its source may not be shown: then no text of it may be."""
    outcome: Outcome
    why: str
    """What makes it a failure worth reading, in a sentence."""


class Provenance(NamedTuple):
    """How a run was made. Its journals are read again for the table of questions."""

    run: RunData
    facts: tuple[tuple[str, str], ...]
    """Names and values: the model's geometry and the graders."""
    arms: tuple[tuple[Arm, dict[str, int]], ...]
    """Each arm with numbers of questions: asked, finished, errors and ungraded."""
    names: dict[str, str]
    """What people call an arm, by its name."""


@dataclass(frozen=True)
class TaskReport:
    """What is reported about one task, over the models and strategies that were run on it."""

    id: str
    """Unique in the report, such as `t1`."""
    task: str
    source: Source
    questions: int
    groups: int
    """Groups that intervals are clustered by; 0 where questions are independent."""
    shared: str
    """The sampling options that all strategies share, which their names leave out; empty where there are none."""
    verdict: Headline
    points: "pd.DataFrame"
    """The table of results: a row for each strategy at each size or budget, with the columns of `table`."""
    verifiers: tuple[VerifierQuality, ...]
    failures: tuple[FailureExample, ...]

    @cached_property
    def rows(self) -> list[Any]:
        """The rows of `points`."""
        return list(self.points.itertuples())

    @cached_property
    def by_key(self) -> dict[str, Any]:
        """The rows of `points` by their keys."""
        return {row.key: row for row in self.rows}

    @property
    def largest(self) -> list[Any]:
        """The point of each series with the most tokens."""
        by_series = {
            row.series: row for row in sorted(self.rows, key=lambda row: row.tokens)
        }
        return [row for row in self.rows if row is by_series[row.series]]

    @property
    def compact(self) -> list[tuple[Any, Delta | None]]:
        """Each series at its largest size, and its difference to one greedy sample or else to the cheapest point.

        The most accurate comes first; of equally accurate ones, the cheapest.
        """
        keys = {*(row.key for row in self.largest), self.verdict.key}
        rows = sorted(
            (row for row in self.rows if row.key in keys),
            key=lambda row: (-row.acc, row.tokens),
        )
        return [
            (row, row.deltas.get("greedy") or row.deltas.get("cheapest"))
            for row in rows
        ]


@dataclass(frozen=True, slots=True)
class EvalReport:
    """Everything that a report of one or more runs shows."""

    title: str
    tasks: tuple[TaskReport, ...]
    runs: tuple[Provenance, ...]
    methods: tuple[str, ...]
    """How the numbers were made, and what they do not show, a sentence each."""
    unfinished: tuple[str, ...] = ()
    """The arms that lack questions, and how to continue, a line for each run; only the list of arms shows them."""
