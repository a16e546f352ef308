"""The rounds of a race on disk: each is a run of its own, resumed and read back like any other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reasoner.engine import Engine
from reasoner.errors import TraceError
from reasoner.registry import build
from reasoner.verifier import Verifier
from reasoner_evals.calibration.outcomes import (
    pooled_arm,
    random_orders,
    stopped,
    usable,
)
from reasoner_evals.runs.arms import Grid, Subset, arms_of
from reasoner_evals.runs.manifest import (
    DriftError,
    differences,
    freeze,
    read_manifest,
    write_items,
    write_manifest,
)
from reasoner_evals.runs.measures import ArmReading, as_run, joined, pooled
from reasoner_evals.runs.reading import ERROR, UNFINISHED, UNGRADED, open_run, read_arm
from reasoner_evals.runs.records import Arm, RunFolder, counted_records
from reasoner_evals.runs.run import Watcher, evaluate, shares_samples
from reasoner_evals.stats import Floats
from reasoner_evals.tasks import GradedQuestion, TaskData
from reasoner_evals.tuning.candidates import Candidate


class RoundMeasures(NamedTuple):
    """What candidates did on the questions of a round: arrays [K, q]; nan where one was not asked or not graded."""

    right: Floats
    tokens: Floats
    sequential: Floats
    seconds: Floats

    @classmethod
    def unasked(cls, candidates: int, questions: int) -> "RoundMeasures":
        """Values of nobody."""
        return cls(*(np.full((candidates, questions), np.nan) for _ in cls._fields))

    @classmethod
    def side_by_side(cls, parts: Sequence["RoundMeasures"]) -> "RoundMeasures":
        """Rounds, one after the other."""
        return cls(
            *(np.concatenate(columns, axis=1) for columns in zip(*parts, strict=True))
        )


@dataclass(frozen=True, slots=True)
class FinishedRound:
    """A finished round."""

    measured: RoundMeasures
    groups: tuple[str, ...]
    """The groups of its questions; empty texts where they have none."""
    drawn: float
    """The tokens that were really computed: samples that several candidates share count once."""
    errors: dict[int, str]
    """The candidates without a single result, with the first error of each."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """What all rounds of a race have in common."""

    path: Path
    data: TaskData
    engine: Engine
    verifier: Verifier | None
    verifier_spec: str
    seed: int
    command: str

    def folder(self, name: str) -> RunFolder:
        """The folder of a round."""
        return RunFolder(self.path / name)

    async def ask(
        self,
        name: str,
        candidates: Sequence[Candidate],
        inside: Sequence[int],
        items: tuple[GradedQuestion, ...],
        watcher: Watcher,
    ) -> None:
        """Ask these of the candidates, as far as an earlier session has not.

        Raises:
            Drifted: what decides the round has changed since it began.
            TraceError: a file cannot be read or written.
            EngineError: the engine does not answer any more.
        """
        folder = self.folder(name)
        source = self.data.source.model_copy(
            update={"items": len(items), "subset": str(Subset())}
        )
        data = replace(self.data, items=items, source=source)
        tasks = {source.task: data}
        with folder.writing(fresh=not folder.manifest.exists()):
            manifest = freeze(
                tasks,
                self._arms([candidates[who] for who in inside]),
                self.engine,
                None,
                command=self.command,
            )
            if folder.manifest.exists():
                before = read_manifest(folder)
                if changed := differences(before, manifest):
                    raise DriftError(folder, changed)
                manifest = before
            else:
                write_manifest(folder, manifest)
            write_items(folder, tasks)
            if not _is_whole(folder):
                await evaluate(
                    folder, manifest, tasks, self.engine, self.verifier, watcher
                )

    def _arms(self, candidates: Sequence[Candidate]) -> tuple[Arm, ...]:
        specs = tuple(dict.fromkeys(each.arm for each in candidates))
        arms = arms_of(
            Grid(
                (self.data.source.task,),
                specs,
                self.verifier_spec,
                seeds=(self.seed,),
            )
        )
        # A larger pool of the same samples comes first, so that a smaller one takes its samples from there. Of equal
        # ones, that is one whose log-probabilities a verifier reads.
        return tuple(sorted(arms, key=lambda arm: (-arm.pool, not arm.verifier)))

    def read(
        self, name: str, candidates: Sequence[Candidate], inside: Sequence[int]
    ) -> FinishedRound:
        """A finished round in which these of the candidates were asked. Raises TraceError: its files are damaged."""
        run = open_run(self.folder(name).path)
        items = run.tasks[self.data.source.task]
        measured, errors = (
            RoundMeasures.unasked(len(candidates), len(items.ids)),
            dict[int, str](),
        )
        arms = {
            arm.strategy: ArmReading(run, read_arm(run, arm.name))
            for arm in run.manifest.arms
        }
        for who in inside:
            read = arms[candidates[who].arm]
            failed = read.data.outcome == ERROR
            values = _values(candidates[who], read)
            values["right"] = np.where(failed, 0.0, values["right"])
            values["tokens"] = np.where(failed, read.data.tokens, values["tokens"])
            for field in RoundMeasures._fields:
                getattr(measured, field)[who] = values[field]
            if failed.all():
                errors[who] = next(
                    each.error
                    for each in counted_records(run.folder.arm(read.data.arm.name))
                )
        drawn = self._drawn(list(arms.values()))
        return FinishedRound(measured, items.groups, drawn, errors)

    def calibrated(self, names: Sequence[str]) -> list[ArmReading]:
        """The arms that were asked with its most frequent vote, joined over these rounds; none without one.

        Raises:
            TraceError: a file of a round is damaged.
        """
        arms: dict[str, dict[str, ArmReading]] = {}
        for name in names:
            run = open_run(self.folder(name).path)
            for arm in run.manifest.arms:
                read = ArmReading(run, read_arm(run, arm.name))
                arms.setdefault(arm.strategy, {})[name] = read
        votes = {
            strategy: (len(parts), read.data.arm.pool)
            for strategy, parts in arms.items()
            if (read := next(iter(parts.values()))).data.arm.rule == "majority"
        }
        if not votes:
            return []
        asked = arms[max(votes, key=lambda strategy: votes[strategy])]
        return [
            joined([parts[name] for name in asked])
            for parts in arms.values()
            if asked.keys() <= parts.keys()
        ]

    def _drawn(self, arms: Sequence[ArmReading]) -> float:
        total = 0.0
        for at, read in enumerate(arms):
            shared = any(
                shares_samples(other.data.arm, read.data.arm, self.verifier)
                for other in arms[:at]
            )
            values = (
                as_run(read)["verifier"]
                if shared
                else read.data.tokens + read.data.costs["redrawn"].astype(np.float64)
            )
            total += float(np.nansum(values))
        return total


def _is_whole(folder: RunFolder) -> bool:
    """Whether each question has a result with its grades in each arm; an error is a result, too."""
    try:
        run = open_run(folder.path)
        arms = [read_arm(run, arm.name) for arm in run.manifest.arms]
    except TraceError:
        return False
    return all(
        run.folder.arm(data.arm.name).grades.exists()
        and not {UNFINISHED, UNGRADED}.intersection(data.outcome.tolist())
        for data in arms
    )


def _values(candidate: Candidate, read: ArmReading) -> dict[str, Floats]:
    if not candidate.size:
        return as_run(read)
    if not candidate.stop:
        return pooled(read, [candidate.size])[0]
    rows = np.flatnonzero(usable(read))
    values = {
        name: np.full(len(read.data.outcome), np.nan) for name in RoundMeasures._fields
    }
    if len(rows):
        pool, strategy = pooled_arm(read, rows), build("strategy", candidate.arm)
        orders = random_orders(pool.ids, pool.arm.pool)
        ended = stopped(pool.samples, orders, strategy, candidate.stop, candidate.order)
        whole = as_run(read)
        share = ended.tokens.mean(axis=1) / np.maximum(whole["tokens"][rows], 1)
        for name in ("right", "tokens", "sequential"):
            values[name][rows] = getattr(ended, name).mean(axis=1)
        values["seconds"][rows] = whole["seconds"][rows] * share
    return values
