"""What a report says, as data: no layout, no drawing.

Shares and accuracies are in [0, 1]. A number that is not known is None, never 0. Tuples are in reading order.
"""

from dataclasses import dataclass

from reasoner_evals.report.diagnoses import Calibration, Case, Difficulty, Ending, Scaling, VerifierQuality
from reasoner_evals.report.points import Curve, Delta, FrontMember, Point
from reasoner_evals.runs.records import Machine, Source


@dataclass(frozen=True, slots=True)
class ArmState:
    """How complete an arm is."""

    run: str
    arm: str
    task: str
    strategy: str
    verifier: str
    budget: str
    seed: int
    pool: int
    asked: int
    finished: int
    errors: int
    ungraded: int
    """Questions whose answer, or one of whose replies, has no verdict."""
    retried: int
    """Earlier lines of a question that ended in an error, which a later one replaces."""
    duplicates: int
    """Further lines of a question that was finished: not counted."""
    left_out: tuple[str, ...] = ()
    """Questions whose record holds an impossible count; they are among the errors."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of provenance."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a run was made by and of."""

    run: str
    folder: str
    """As given; its journals are read again for the table of questions."""
    created: str
    command: str
    engine: str
    facts: tuple[Fact, ...]
    """The model's card, and the graders."""
    sources: tuple[Source, ...]
    prices: tuple[Fact, ...]
    machine: Machine
    notes: tuple[str, ...]
    manifest_hash: str
    """sha256 of the manifest file, 64 hex digits."""
    arms: tuple[ArmState, ...]


@dataclass(frozen=True, slots=True)
class TaskReport:
    """All that is said of one task, over the models and strategies that were run on it."""

    task: str
    source: Source
    questions: int
    groups: int
    """Groups that intervals are clustered by; 0 where each question stands for itself."""
    chance: float | None
    """What a blind guess gets right, where the answers are a choice of a known number."""
    findings: tuple[str, ...]
    """The result in a few sentences."""
    warnings: tuple[str, ...]
    """What speaks against trusting a confidence, a sentence each."""
    points: tuple[Point, ...]
    curves: tuple[Curve, ...]
    deltas: tuple[Delta, ...]
    front: tuple[FrontMember, ...]
    """Of tokens and accuracy, within each model."""
    front_by_flops: tuple[FrontMember, ...]
    """Of FLOPs and accuracy, across models; empty where there is one model."""
    difficulty: tuple[Difficulty, ...]
    endings: tuple[Ending, ...]
    """Of every point that was run; empty where no rule, price or budget ended a question and no confidence is known."""
    calibration: tuple[Calibration, ...]
    scaling: tuple[Scaling, ...]
    verifiers: tuple[VerifierQuality, ...]
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a report of one or more runs shows."""

    title: str
    tasks: tuple[TaskReport, ...]
    runs: tuple[Provenance, ...]
    methods: tuple[str, ...]
    """How the numbers were made: estimators, intervals, cost rules and the FLOPs formula, a sentence each."""
    limits: tuple[str, ...]
    """What the numbers do not say, a sentence each."""
