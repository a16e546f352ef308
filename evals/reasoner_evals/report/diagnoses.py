"""What a report says about why, as data: difficulty, calibration, scaling, verifiers, and failures worth reading.

Shares and accuracies are in [0, 1]. A number that is not known is None, never 0.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from reasoner.solution import EndedBy
from reasoner_evals.report.points import Estimate
from reasoner_evals.runs.records import Outcome


@dataclass(frozen=True, slots=True)
class Bin:
    """Questions of like difficulty, by the share of held-out samples that were right, in [low, high]."""

    low: float
    high: float
    questions: int


class BinRow(NamedTuple):
    """The accuracy of a point in each bin; None in an empty one."""

    key: str
    accuracies: tuple[Estimate | None, ...]


class Ended(NamedTuple):
    """The questions of a point that one thing ended: their share of all, and what one of them cost."""

    by: EndedBy
    share: float
    tokens: float | None
    """Mean tokens; None where there is no such question."""


class Drawn(NamedTuple):
    """The share of a point's questions that drew `low` to `high` samples."""

    low: int
    high: int
    share: float


@dataclass(frozen=True, slots=True)
class Ending:
    """What ended the questions of a point that was run, what they bought, and whether they keep their confidence."""

    key: str
    """The `Point` it is of."""
    questions: int
    """Finished ones, without errors; of several seeds together."""
    by: tuple[Ended, ...]
    """By rule, price, budget and strategy, in this order."""
    samples: float
    """Samples a question, cancelled ones among them."""
    samples_p95: float
    drawn: tuple[Drawn, ...]
    """Every question once, ascending in samples; no empty ones."""
    judged: int
    """Graded questions with a calibrated confidence, which the next two are over."""
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Difficulty:
    """The accuracy by difficulty, hardest first. The half of the pool that made the bins is in no accuracy."""

    arm: str
    """`RUN:ARM` of the pool that told the difficulty."""
    held_out: int
    """Samples a question that made the bins."""
    bins: tuple[Bin, ...]
    rows: tuple[BinRow, ...]


class ReliabilityBin(NamedTuple):
    """Answers of like confidence: their number, their mean confidence, and the share that is right."""

    low: float
    high: float
    answers: int
    confidence: float
    accuracy: float


class RiskPoint(NamedTuple):
    """Answering only the surest `coverage` of the questions: the share of those that is wrong."""

    coverage: float
    risk: float
    threshold: float
    """The least confidence that is answered."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well a strategy's confidence, its share of the vote, tells right from wrong."""

    key: str
    """The `Point` it is of."""
    questions: int
    ece: float
    """Expected calibration error over the bins."""
    auroc: float | None
    """The chance that a right answer is held surer than a wrong one; None where all are alike."""
    aurc: float
    """The area under the risk-coverage curve; lower is better."""
    bins: tuple[ReliabilityBin, ...]
    risks: tuple[RiskPoint, ...]


class Parameter(NamedTuple):
    """A fitted number."""

    name: str
    estimate: Estimate


class FitPoint(NamedTuple):
    """The fitted value at a size, with its band where there is one, and what was measured there, if it was."""

    size: float
    fitted: Estimate
    measured: float | None


class HeldOut(NamedTuple):
    """A fit on the small sizes alone, asked for a larger one that was measured."""

    fitted_to: int
    """The largest size it was shown."""
    size: int
    predicted: float
    measured: float


@dataclass(frozen=True, slots=True)
class Fit:
    """A law of accuracy against the number of samples; no further than twice the measured sizes."""

    law: str
    """Its name and formula, such as `beta-binomial: 1 - B(a, b + k) / B(a, b)`."""
    parameters: tuple[Parameter, ...]
    points: tuple[FitPoint, ...]
    held_out: HeldOut | None
    note: str
    """Why it was not fitted, or what to beware of; empty where nothing is."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """How far more samples take a pool."""

    series: str
    label: str
    coverage: Fit | None
    selection: Fit | None
    gain: float
    """The least gain that a doubling is worth, in accuracy."""
    diminishing: int | None
    """The size from which another doubling buys less than `gain`; None where that lies beyond twice the pool."""


@dataclass(frozen=True, slots=True)
class VerifierQuality:
    """How well a verifier's values tell right replies from wrong ones."""

    arm: str
    series: str
    verifier: str
    replies: int
    """Rated replies."""
    unrated: int
    """Replies with an answer that were not rated."""
    within: Estimate | None
    """AUROC within a question, over those with both kinds; None where there is none."""
    mixed: int
    """Questions with both kinds."""
    top: Estimate
    """The share of questions whose best rated reply is right, ties shared."""
    chance: Estimate
    """The share whose reply drawn blindly among the rated is right."""
    deciles: tuple[ReliabilityBin, ...]


class VoteShare(NamedTuple):
    """One class of answers in a case's vote."""

    answer: str
    votes: int
    right: bool


CaseKind = Literal["backfired", "missed", "no_answer", "truncated", "overconfident"]
"""Baseline right and strategy wrong; covered yet not chosen; nothing to read; all cut; wrong and sure."""


@dataclass(frozen=True, slots=True)
class Case:
    """A failure worth reading. Of a source that may not be shown, `text`, `gold`, `answer` and `votes` are empty."""

    kind: CaseKind
    key: str
    """The `Point` that failed."""
    run: str
    """The run's folder, as given."""
    arm: str
    """The arm's name: its trace is `RunFolder(run).arm(arm).trace`, to be shown only if `shareable`."""
    question_id: str
    shareable: bool
    text: str
    gold: str
    answer: str
    outcome: Outcome
    confidence: float
    """The share of the vote behind the answer."""
    votes: tuple[VoteShare, ...]
    tokens: int
    why: str
    """What makes it a case, in a sentence."""
    ended_by: EndedBy
    reason: str
    """Why it ended, in words."""
    calibrated: float | None
    """The calibrated chance that the answer is right."""
