"""Bins of a task's questions by a cheap signal of difficulty."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast, get_args

import numpy as np
from pydantic import BaseModel

from reasoner.calibration.profile import MIN_QUESTIONS, Bins, Signal
from reasoner.errors import UsageError
from reasoner.journal.lines import read_lines
from reasoner.registry import build
from reasoner.trace.events import EVENT_LINES
from reasoner_evals.calibration.outcomes import PooledArm
from reasoner_evals.runs.arrays import SILENT, Floats, Ints
from reasoner_evals.runs.measures import ArmRead
from reasoner_evals.runs.reading import questions_of
from reasoner_evals.runs.records import Arm

FIRST: Final = 4
"""Samples that the signal `split` looks at."""
SPLITS: Final = (0.5, 0.75, 1.0)
PARTS: Final = 3
MAX_PARTS: Final = 20


@dataclass(frozen=True, slots=True)
class Binning:
    """A signal and the number of bins, which have about equal size; 0 is the signal's default."""

    signal: Signal = "none"
    parts: int = 0

    @classmethod
    def parse(cls, text: str) -> "Binning":
        """The binning of a signal, or with a number of bins as in `prompt:4`. Raises UsageError for other texts."""
        name, colon, count = text.partition(":")
        if name not in get_args(Signal):
            raise UsageError(f"--bins must be one of {', '.join(get_args(Signal))}, as in split:3 (got {text!r})")
        if not colon:
            return cls(cast("Signal", name))
        if name == "none":
            raise UsageError(f"--bins none makes one bin and takes no number (got {text!r})")
        if not (count.isascii() and count.isdigit() and len(count) <= 2 and 2 <= int(count) <= MAX_PARTS):
            raise UsageError(f"--bins must have 2 to {MAX_PARTS} bins, as in {name}:3 (got {text!r})")
        return cls(cast("Signal", name), int(count))

    def bins(self, values: Floats) -> Bins:
        """The edges between questions with these signals [Q]; bins of fewer than 30 are merged with a neighbour."""
        if self.signal == "none":
            return Bins()
        if self.signal == "split" and not self.parts:
            edges = list(SPLITS)
        else:
            parts = self.parts or PARTS
            edges = np.quantile(values, [part / parts for part in range(1, parts)]).tolist()
        # An edge at the minimum would leave the bin below it empty.
        edges = sorted({edge for edge in edges if edge > values.min()})
        while edges:
            sizes = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1).tolist()
            smallest = sizes.index(min(sizes))
            if sizes[smallest] >= MIN_QUESTIONS:
                break
            # The smallest bin is merged with the smaller of its neighbours.
            below, above = (sizes[i] if 0 <= i < len(sizes) else math.inf for i in (smallest - 1, smallest + 1))
            del edges[smallest - 1 if below <= above else smallest]
        return Bins(signal=self.signal, edges=tuple(edges)) if edges else Bins()


def check_signal(binning: Binning, arms: Sequence[Arm]) -> None:
    """Raise UsageError if these arms cannot provide the signal, before anything is sampled."""
    votes = [arm for arm in arms if arm.rule == "majority"]
    if binning.signal == "split" and votes:
        _check_split(max(arm.pool for arm in votes))
    with_logprobs = (build("strategy", arm.strategy).params.logprobs is not None for arm in votes)
    if binning.signal == "likelihood" and votes and not any(with_logprobs):
        raise _without_logprobs(votes[0])


def _check_split(pool: int) -> None:
    if pool < FIRST:
        raise UsageError(
            f"--bins split looks at the first {FIRST} samples of a vote, and the largest has {pool}: add "
            "-s self_consistency:n=16, or choose other bins"
        )


def _without_logprobs(arm: Arm) -> UsageError:
    extra = f"{arm.strategy}{',' if ':' in arm.strategy else ':'}logprobs=0"
    return UsageError(
        f"--bins likelihood needs the log-probabilities of the samples, which {arm.strategy} does not keep: run it "
        f"with -s {extra}, or choose other bins"
    )


def signals(signal: Signal, pooled: PooledArm) -> Floats:
    """[q]: the signal of each question of a pool, nan if unknown. Raises UsageError as `check_signal`."""
    if signal == "prompt":
        questions = questions_of(pooled.read.run, pooled.arm.task, set(pooled.ids))
        return np.array([float(len(questions[question_id].text)) for question_id in pooled.ids])
    if signal == "likelihood":
        likelihoods = _likelihoods(pooled.read)
        if not likelihoods:
            raise _without_logprobs(pooled.arm)
        return np.array([likelihoods.get(question_id, math.nan) for question_id in pooled.ids])
    if signal == "split":
        _check_split(pooled.arm.pool)
        return np.array([_split(classes) for classes in pooled.samples.classes[:, :FIRST]])
    return np.zeros(len(pooled.ids))


def _split(classes: Ints) -> float:
    """The leader's share of the votes of the first samples; 0 without an answer."""
    votes = Counter(number for number in classes.tolist() if number != SILENT)
    return max(votes.values()) / votes.total() if votes else 0.0


class _Logprobs(BaseModel):
    sampled: tuple[float, ...] = ()


class _Sample(BaseModel):
    """The part of a trace line that says how likely a question's first sample was."""

    event: str
    question_id: str
    index: int = -1
    logprobs: _Logprobs | None = None


def _likelihoods(read: ArmRead) -> dict[str, float]:
    """Minus the mean log-probability of each question's first sample, by id."""
    path, likelihoods = read.run.folder.arm(read.data.arm.name).trace, dict[str, float]()
    for event in read_lines(path, EVENT_LINES.reading(_Sample.model_validate_json)):
        if event.event == "sampled" and event.index == 0 and event.logprobs and event.logprobs.sampled:
            likelihoods.setdefault(event.question_id, -float(np.mean(event.logprobs.sampled)))
    return likelihoods
