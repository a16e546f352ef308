"""How the questions of a task are sorted by a signal of difficulty that costs nothing."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast, get_args

import numpy as np
from pydantic import BaseModel

from reasoner.catalog import build
from reasoner.controller.profile import LEAST_QUESTIONS, Bins, Signal
from reasoner.errors import UsageError
from reasoner.lines import read_lines
from reasoner.trace import VERSION
from reasoner_evals.profiling.outcomes import Sampled
from reasoner_evals.report.measures import ArmRead
from reasoner_evals.runs.arrays import SILENT, Floats, Ints
from reasoner_evals.runs.reading import questions_of
from reasoner_evals.runs.records import Arm

FIRST: Final = 4
"""Samples whose split is looked at."""
SPLITS: Final = (0.5, 0.75, 1.0)
PARTS: Final = 3
MOST_PARTS: Final = 20


@dataclass(frozen=True, slots=True)
class Binning:
    """By which signal, and into how many bins of about equal size; 0 leaves the number to the signal."""

    signal: Signal = "none"
    parts: int = 0

    @classmethod
    def parse(cls, text: str) -> "Binning":
        """The binning of `none`, `prompt`, `likelihood` or `split`, and of `prompt:4`.

        Raises:
            UsageError: it is none of these.
        """
        name, colon, count = text.partition(":")
        if name not in get_args(Signal):
            raise UsageError(f"--bins {text!r} is out of range: choose {', '.join(get_args(Signal))}, as in split:3")
        if not colon:
            return cls(cast("Signal", name))
        if name == "none":
            raise UsageError(f"--bins {text!r} is out of range: none makes one bin and takes no number")
        if not (count.isascii() and count.isdigit() and len(count) <= 2 and 2 <= int(count) <= MOST_PARTS):
            raise UsageError(f"--bins {text!r} is out of range: give 2 to {MOST_PARTS} bins, as in {name}:3")
        return cls(cast("Signal", name), int(count))

    def bins(self, values: Floats) -> Bins:
        """The edges between questions with these signals [Q]; bins of fewer than 30 are joined with a neighbour."""
        if self.signal == "none":
            return Bins()
        if self.signal == "split" and not self.parts:
            edges = list(SPLITS)
        else:
            parts = self.parts or PARTS
            edges = np.quantile(values, [part / parts for part in range(1, parts)]).tolist()
        # Nothing lies below an edge at the least value.
        return _joined(self.signal, sorted({edge for edge in edges if edge > values.min()}), values)


def _joined(signal: Signal, edges: list[float], values: Floats) -> Bins:
    """Bins of enough questions: the smallest goes with the smaller of its neighbours until none is too small."""
    while edges:
        sizes = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1).tolist()
        least = sizes.index(min(sizes))
        if sizes[least] >= LEAST_QUESTIONS:
            break
        below, above = (sizes[at] if 0 <= at < len(sizes) else math.inf for at in (least - 1, least + 1))
        del edges[least - 1 if below <= above else least]
    return Bins(signal=signal, edges=tuple(edges)) if edges else Bins()


def check_kept(binning: Binning, arms: Sequence[Arm]) -> None:
    """Refuse a signal that these arms will not give, before anything is drawn.

    Raises:
        UsageError: likelihoods are wanted and no pool keeps them, or a split and no pool has four samples.
    """
    votes = [arm for arm in arms if arm.rule == "majority"]
    if binning.signal == "split" and votes:
        _check_split(max(arm.pool for arm in votes))
    if binning.signal == "likelihood" and votes and not any(_keeps(arm) for arm in votes):
        raise UsageError(_unkept(votes[0]))


def _check_split(pool: int) -> None:
    if pool < FIRST:
        raise UsageError(
            f"--bins split looks at the first {FIRST} samples of a vote, and the largest has {pool}: add "
            "-s self_consistency:n=16, or choose other bins"
        )


def _keeps(arm: Arm) -> bool:
    return build("strategy", arm.strategy).params.logprobs is not None


def _unkept(arm: Arm) -> str:
    extra = f"{arm.strategy}{',' if ':' in arm.strategy else ':'}logprobs=0"
    return (
        f"--bins likelihood needs the log-probabilities of the samples, which {arm.strategy} does not keep: run it "
        f"with -s {extra}, or choose other bins"
    )


def signals(signal: Signal, pool: Sampled) -> Floats:
    """[q]: the signal of each question of a pool; nan where it is not known.

    Raises:
        UsageError: the pool's trace holds no log-probabilities, or it has too few samples for a split.
    """
    ids = pool.one.run.tasks[pool.one.data.arm.task].ids
    names = [ids[row] for row in pool.rows]
    if signal == "prompt":
        texts = questions_of(pool.one.run, pool.one.data.arm.task, set(names))
        return np.array([float(len(texts[name].text)) for name in names])
    if signal == "likelihood":
        found = _surprise(pool.one)
        if not found:
            raise UsageError(_unkept(pool.one.data.arm))
        return np.array([found.get(name, math.nan) for name in names])
    if signal == "split":
        _check_split(pool.one.data.arm.pool)
        return np.array([_split(row) for row in pool.drawn.classes[:, :FIRST]])
    return np.zeros(len(names))


def _split(classes: Ints) -> float:
    """The leader's share of the votes of the first samples; 0 where none has an answer."""
    votes = Counter(one for one in classes.tolist() if one != SILENT)
    return max(votes.values()) / votes.total() if votes else 0.0


class _Kept(BaseModel):
    sampled: tuple[float, ...] = ()


class _First(BaseModel):
    """As much of a trace's line as says how likely a question's first sample was."""

    event: str
    question_id: str
    index: int = -1
    logprobs: _Kept | None = None


def _surprise(one: ArmRead) -> dict[str, float]:
    """Minus the mean log-probability of each question's first sample, by id."""

    def first(line: bytes) -> _First | None:
        read = _First.model_validate_json(line)
        return read if read.event == "sampled" and read.index == 0 else None

    path, found = one.run.folder.arm(one.data.arm.name).trace, dict[str, float]()
    for event in read_lines(path, first, file="trace", record="trace event", version=VERSION):
        if event and event.logprobs and event.logprobs.sampled:
            found.setdefault(event.question_id, -float(np.mean(event.logprobs.sampled)))
    return found
