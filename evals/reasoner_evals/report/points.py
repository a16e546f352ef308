"""The measured heart of a report, as data: points with what they got right and cost, their curves and differences.

Shares and accuracies are in [0, 1]. A number that is not known is None, never 0.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

ALLOCATED: Final = ", allocated"
"""How the name of a series ends whose points divide one budget among all questions."""


class Estimate(NamedTuple):
    """A value and its 95 % interval over questions; the bounds are None where too few questions allow none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """How a number of tokens is spread over questions."""

    mean: float
    median: float
    p95: float
    most: float


@dataclass(frozen=True, slots=True)
class Spent:
    """What one question cost, as means over questions; each token in one field only."""

    prompt: float
    """Prompt tokens that were computed."""
    cached: float
    """Prompt tokens served from the cache: free of computation, and not in `tokens`."""
    generated: float
    verifier: float
    cancelled: float
    tokens: Spread
    """All that was computed: prompt, generated, verifier and cancelled."""
    flops: float | None
    """None where a model's geometry is not known."""
    seconds: float
    """As measured at the run's concurrency; of a size below its pool, the pool's time in proportion to its tokens."""
    usd: float | None
    """None without a price table."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of the questions, but for the two of single replies; None where that is not recorded."""

    tied: float | None
    """The vote had no single winner."""
    no_answer: float
    """No reply held an answer, and not all of them were cut."""
    truncated: float
    """There was no answer, as every reply was cut by a token limit."""
    timed_out: float
    grader: float
    """The grader could not judge the answer, which counts as wrong."""
    replies_without_answer: float | None
    replies_truncated: float | None


@dataclass(frozen=True, slots=True)
class Point:
    """One strategy at one size or budget: a row of the table."""

    key: str
    """Unique in the report, such as `model|arithmetic|self_consistency|n=8`; what everything else refers to."""
    series: str
    """The curve it lies on, `Curve.series`; a series has one colour in every figure."""
    model: str
    task: str
    strategy: str
    """The spec, as the catalog reads it."""
    verifier: str
    label: str
    """For people, such as `self_consistency, n=8`."""
    arms: tuple[str, ...]
    """`RUN:ARM` of each arm behind it, one a seed."""
    pooled: bool
    """Estimated from subsets of one pool, not run at this size."""
    few_subsets: bool
    """Above half the pool: subsets overlap much, and the interval is too narrow."""
    size: int | None
    """Samples a question, of a pooled point."""
    budget: str
    """What one question could spend; empty where unbounded."""
    questions: int
    """The questions behind the accuracy; errors and ungraded ones are not among them."""
    seeds: int
    accuracy: Estimate
    strict: Estimate | None
    """The accuracy had only answers in a stated form been answers; None where a rule is not recorded."""
    coverage: Estimate | None
    """The chance that any of its samples is right: an oracle, not an accuracy."""
    gap: Estimate | None
    """Coverage less accuracy: what a perfect selection would still gain."""
    spent: Spent
    rates: Rates
    errors: int
    """Answers that the engine's failure prevented; in no accuracy."""
    ungraded: int
    """Answers without a verdict; in no accuracy."""
    overshoots: int
    """Questions that spent more than their budget allows, of any unit but seconds: has to be 0."""


class CurvePoint(NamedTuple):
    """One marker of a curve: where it lies on each axis, and its height."""

    size: float | None
    tokens: float
    flops: float | None
    seconds: float | None
    usd: float | None
    accuracy: Estimate
    key: str = ""
    """The `Point` it shows; empty where it shows none."""


CurveKind = Literal["measured", "oracle", "random", "anytime"]


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of a figure, ascending in tokens.

    "oracle" is the coverage of a pool and no accuracy; "random" is what one of its samples, drawn blindly, gets right.
    "anytime" is a step function: the mean accuracy of the answers held when so many tokens were spent; its points have
    tokens only.
    """

    series: str
    model: str
    label: str
    kind: CurveKind
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True)
class Delta:
    """A point less a baseline, paired by question."""

    key: str
    baseline: str
    """The `Point.key` of the baseline."""
    against: Literal["greedy", "self_consistency", "larger_model"]
    """One greedy sample; self-consistency for as many tokens; one greedy sample of a larger model that costs no fewer
    FLOPs."""
    questions: int
    difference: Estimate
    p: float
    p_holm: float
    """Adjusted for all differences against the same baseline in this task, `family` of them."""
    family: int
    test: str
    """mcnemar, sign flips, or sign flips, clustered."""
    better: int
    """Questions on which this one is ahead."""
    worse: int
    detectable: float | None
    """The smallest difference that this many questions can show: 80 % power at the 5 % level."""
    resolvable: bool
    """Whether the difference is as large as that."""
    backfired: float
    """The share of the questions that the baseline gets right and this one wrong."""
    mixed: float = 0.0
    """The share of the questions that the next size of the baseline answers, so that both cost the same."""

    def against_label(self, label: str) -> str:
        """The baseline in words, by the label of its point."""
        return f"{label} (for {self.mixed:.0%} of the questions the next size)" if self.mixed else label


class FrontMember(NamedTuple):
    """A point's standing to the frontier."""

    key: str
    on_front: bool
    behind: Estimate | None
    """The paired difference to the frontier point that costs no more; None on the frontier."""
    significant: bool
    """Whether `behind` is below 0 beyond chance; False is a hollow marker."""
