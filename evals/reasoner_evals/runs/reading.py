"""A run read back: its journals and verdicts as arrays of a few bytes per sample, without texts."""

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from reasoner.answers.reading import RULES
from reasoner.errors import TraceError, UsageError, require_name
from reasoner.journal.lines import read_lines
from reasoner.system.files import read_whole
from reasoner.trace.replies import STATUSES
from reasoner.types import EndedBy
from reasoner_evals.runs.manifest import read_manifest, whole_manifest
from reasoner_evals.runs.records import (
    ITEM_LINES,
    Arm,
    AskedItem,
    ItemRecord,
    Manifest,
    Outcome,
    RunFolder,
    counted_records,
)
from reasoner_evals.runs.verdicts import RunVerdicts
from reasoner_evals.stats import Bools, Floats, Ints
from reasoner_evals.tasks.data import Source

OUTCOMES: Final[tuple[Outcome, ...]] = (*STATUSES, "timed_out", "error", "ungraded")
"""The outcomes of questions; arrays hold indices into this tuple."""
ENDS: Final[tuple[EndedBy, ...]] = get_args(EndedBy)
"""Who ended a question; arrays hold indices into this tuple."""
UNFINISHED: Final = -1
RIGHT: Final = OUTCOMES.index("right")
WRONG: Final = OUTCOMES.index("wrong")
UNGRADED: Final = OUTCOMES.index("ungraded")
ERROR: Final = OUTCOMES.index("error")
SILENT: Final = -1
"""The class of a reply without an answer."""
UNKNOWN: Final = -1
"""In `stated`: the rule that found the answer is not recorded."""
COSTS: Final[Mapping[str, str]] = {
    "prompt": "strategy_cost.prompt_tokens",
    "cached": "strategy_cost.cached_tokens",
    "generated": "strategy_cost.generated_tokens",
    "verifier": "strategy_cost.verifier_tokens",
    "cancelled": "strategy_cost.cancelled_tokens",
    "samples": "strategy_cost.samples",
    "thinking": "strategy_cost.thinking_tokens",
    "sequential": "strategy_cost.sequential_tokens",
    "drawn": "cut.samples",
    "cut": "cut.cut",
    "cut_thinking": "cut.thinking",
    "probe": "probed.tokens",
    "probe_prompt": "probed.prompt_tokens",
    "probe_cached": "probed.cached_tokens",
    "redrawn": "redrawn.tokens",
}
"""The counts of `ArmData.costs`, and where an `ItemRecord` has them."""
_COSTS: Final = attrgetter(*COSTS.values())

STATED: Final = frozenset({*RULES, "given"})
"""Rules that find a stated answer: a form in the reply, or an answer that was not read from a text. The answer of a
probe is none."""


class RaggedSlices(NamedTuple):
    """The slice of each question in flat arrays: `[Q]` starts and lengths."""

    start: Ints
    length: Ints

    def of(self, row: int) -> slice:
        """The slice of one question."""
        return slice(int(self.start[row]), int(self.start[row] + self.length[row]))


@dataclass(frozen=True, slots=True)
class ReplyArrays:
    """The replies of all questions, in launch order within each; flat arrays, cut by `rows`."""

    rows: RaggedSlices
    classes: NDArray[np.int32]
    """Equal within a question for answers of one key; `SILENT` without an answer."""
    outcome: NDArray[np.int8]
    """Indices into `OUTCOMES`."""
    stated: NDArray[np.int8]
    """1 for a stated answer, 0 for another one or none, or `UNKNOWN`."""
    score: NDArray[np.float32]
    """The verifier's value in [0, 1]; nan without a rating."""
    prompt: NDArray[np.int32]
    """Prompt tokens that were computed, without the cached ones."""
    cached: NDArray[np.int32]
    generated: NDArray[np.int32]
    verifier: NDArray[np.int32]

    def per_question(self, selected: Bools) -> Ints:
        """[Q]: how many of a question's replies are selected."""
        totals = np.concatenate([[0], np.cumsum(selected)])
        counts: Ints = (
            totals[self.rows.start + self.rows.length] - totals[self.rows.start]
        )
        return counts

    def right(self, row: int) -> int:
        """How many replies to a question are right."""
        return int((self.outcome[self.rows.of(row)] == RIGHT).sum())


@dataclass(frozen=True, slots=True)
class ArmData:
    """What one arm's journal holds: arrays over its task's questions in the order of `TaskItems.ids`."""

    arm: Arm
    outcome: NDArray[np.int8]
    """Indices into `OUTCOMES`, or `UNFINISHED`."""
    share: Floats
    ended: NDArray[np.int8]
    """Indices into `ENDS`, or `UNFINISHED`."""
    confidence: Floats
    """The calibrated chance that the answer is right; nan without a calibration."""
    costs: Mapping[str, Ints]
    """`[Q]` for each name of `COSTS`."""
    flops: Floats
    """nan if unknown."""
    seconds: Floats
    replies: ReplyArrays

    @property
    def tokens(self) -> Ints:
        """All tokens that each question computed, without cached ones."""
        kinds = ("prompt", "generated", "verifier", "cancelled")
        spent: Ints = np.sum([self.costs[kind] for kind in kinds], axis=0)
        return spent

    @property
    def finished(self) -> Bools:
        """Which questions are done; those that ended in an error are too."""
        done: Bools = self.outcome != UNFINISHED
        return done

    @property
    def has_result(self) -> Bools:
        """Which questions are done without an error."""
        done: Bools = self.finished & (self.outcome != ERROR)
        return done

    @property
    def missed(self) -> Bools:
        """Which questions have a right reply and a wrong answer."""
        missed: Bools = (self.outcome == WRONG) & (
            self.replies.per_question(self.replies.outcome == RIGHT) > 0
        )
        return missed


def stated_code(rule: str) -> int:
    """1 for a rule that finds stated answers, 0 for any other, `UNKNOWN` without a rule."""
    return int(rule in STATED) if rule else UNKNOWN


_ITEM: Final = np.dtype(
    [
        ("outcome", np.int8),
        ("ended", np.int8),
        ("share", np.float64),
        ("confidence", np.float64),
        ("flops", np.float64),
        ("seconds", np.float64),
    ]
)
_REPLY: Final = np.dtype(
    [
        ("classes", np.int32),
        ("outcome", np.int8),
        ("stated", np.int8),
        ("score", np.float32),
        ("prompt", np.int32),
        ("cached", np.int32),
        ("generated", np.int32),
        ("verifier", np.int32),
    ]
)


def _columns(table: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {name: table[name].copy() for name in table.dtype.names or ()}


def _reply_rows(
    record: ItemRecord, verdicts: Mapping[str, int]
) -> list[tuple[float, ...]]:
    classes: dict[str, int] = {}
    return [
        (
            classes.setdefault(reply.key or reply.answer, len(classes))
            if reply.status == "read"
            else SILENT,
            verdicts[reply.answer]
            if reply.status == "read"
            else OUTCOMES.index(reply.status),
            stated_code(reply.rule) if reply.status == "read" else 0,
            np.nan if reply.score is None else reply.score,
            reply.prompt_tokens,
            reply.cached_tokens,
            reply.generated_tokens,
            reply.verifier_tokens,
        )
        for reply in record.pool
    ]


@dataclass(frozen=True, slots=True)
class TaskItems:
    """A task's questions without their texts, ordered by id, so that runs over the same ones line up."""

    source: Source
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    subtasks: tuple[str, ...]
    digests: tuple[bytes, ...]
    """Of each question's text and reference answer."""


@dataclass(frozen=True, slots=True)
class RunData:
    """An opened run: its questions and verdicts. Arms are read one at a time, by `read_arm`."""

    folder: RunFolder
    parts: tuple[RunFolder, ...]
    """The folders of its shards; without shards its own."""
    name: str
    manifest: Manifest
    manifest_hash: str
    tasks: Mapping[str, TaskItems]
    verdicts: RunVerdicts

    def grades(self, task: str, question_id: str, answers: Iterable[str]) -> list[int]:
        """Indices into `OUTCOMES`: the verdict on each answer, or ungraded."""
        return [
            OUTCOMES.index(
                self.verdicts.status(task, question_id, answer) or "ungraded"
            )
            for answer in answers
        ]


def check_same(first: RunData, second: RunData, task: str) -> None:
    """Raise UsageError if two runs ask different questions of a task; it says how many and names one."""
    ours, theirs = (
        dict(zip(run.tasks[task].ids, run.tasks[task].digests, strict=True))
        for run in (first, second)
    )
    ids = ours.keys() | theirs.keys()
    differing = sorted(key for key in ids if ours.get(key) != theirs.get(key))
    if differing:
        raise UsageError(
            f"{first.name} and {second.name} ask different questions of {task}: {len(differing)} of {len(ids)} differ "
            f"(for example {differing[0]!r}): choose runs over the same questions; of shards give the folder that "
            "holds all of one run"
        )


def open_run(path: Path) -> RunData:
    """A run's manifest, questions and verdicts, without texts; of a folder with all shards of a run, that run.

    Raises:
        TraceError: a file cannot be read; the message names file and line.
        UsageError: the folders inside are not the shards of one run, each once, or it is a shard that asks no question
            of a task.
    """
    folder, parts = RunFolder(path), parts_in(path)
    manifest = (
        read_manifest(folder) if parts[0].path == path else whole_manifest(path, parts)
    )
    frozen = b"".join(read_whole(part.manifest) for part in parts)
    return RunData(
        folder,
        parts,
        path.name or str(path),
        manifest,
        hashlib.sha256(frozen).hexdigest(),
        _tasks(folder, parts, manifest),
        RunVerdicts(*(part.verdicts for part in parts)),
    )


def parts_in(path: Path) -> tuple[RunFolder, ...]:
    """The folders of the shards inside a folder that is no run itself, else its own."""
    whole, inside = RunFolder(path), sorted(path.glob("*/manifest.json"))
    alone = whole.manifest.exists() or not inside
    return (whole,) if alone else tuple(RunFolder(each.parent) for each in inside)


def check_each_once(paths: Sequence[Path]) -> None:
    """Raise UsageError if two paths name one folder."""
    seen: set[str] = set()
    for path in paths:
        if (real := os.path.realpath(path)) in seen:
            raise UsageError(f"{path} is given twice: keep one")
        seen.add(real)


def open_runs(paths: Sequence[Path]) -> list[RunData]:
    """Several runs, named by their paths where folders have the same name.

    Raises:
        UsageError: one is given twice, or as `open_run`.
    """
    check_each_once(paths)
    runs = [open_run(path) for path in paths]
    if len({run.name for run in runs}) == len(runs):
        return runs
    return [replace(run, name=str(path)) for run, path in zip(runs, paths, strict=True)]


def records_of(run: RunData, arm: str) -> Iterator[ItemRecord]:
    """The records of an arm that count."""
    for part in run.parts:
        yield from counted_records(part.arm(arm))


def read_arm(run: RunData, name: str) -> ArmData:
    """One arm's journal, joined with the verdicts. An arm that has not started is empty.

    Raises:
        UnknownName: the run has no such arm.
        TraceError: a line is not a record, or is about a question that the run does not have.
    """
    arms = {arm.name: arm for arm in run.manifest.arms}
    require_name("arm", name, arms, of=f"run {run.name}")
    arm = arms[name]
    rows = {question_id: row for row, question_id in enumerate(run.tasks[arm.task].ids)}
    items, costs = (
        np.zeros(len(rows), dtype=_ITEM),
        np.zeros(len(rows), dtype=[(name, np.int64) for name in COSTS]),
    )
    items["outcome"] = items["ended"] = UNFINISHED
    items["flops"] = items["confidence"] = np.nan
    slices, replies = (
        RaggedSlices(np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)),
        bytearray(),
    )
    for record in records_of(run, name):
        row = rows.get(record.question_id)
        if row is None:
            raise TraceError(
                f"the journal of {name} in {run.folder.path} holds question {record.question_id!r}, which the run does "
                "not ask"
            )
        cost = record.strategy_cost
        answers = sorted({source.answer for source in record.candidates})
        verdicts = dict(
            zip(answers, run.grades(arm.task, record.question_id, answers), strict=True)
        )
        answered = record.status == "answered"
        items[row] = (
            verdicts[record.answer] if answered else OUTCOMES.index(record.status),
            ENDS.index(record.ended_by),
            record.share,
            np.nan if record.confidence is None else record.confidence,
            np.nan if cost.flops is None else cost.flops,
            cost.seconds,
        )
        costs[row] = _COSTS(record)
        slices.start[row], slices.length[row] = (
            len(replies) // _REPLY.itemsize,
            len(record.pool),
        )
        replies += np.array(_reply_rows(record, verdicts), dtype=_REPLY).tobytes()
    pool = ReplyArrays(slices, **_columns(np.frombuffer(replies, dtype=_REPLY)))
    return ArmData(arm, **_columns(items), costs=_columns(costs), replies=pool)


def questions_of(run: RunData, task: str, ids: Collection[str]) -> dict[str, AskedItem]:
    """A few questions of a task with their texts, by id."""
    return {
        item.question_id: item
        for part in run.parts
        for item in _items(part)
        if item.task == task and item.question_id in ids
    }


def _items(folder: RunFolder) -> Iterator[AskedItem]:
    return read_lines(folder.items, ITEM_LINES, advice=_again(folder))


def _again(folder: RunFolder) -> str:
    return (
        f"delete this file, and `reasoner eval --resume {folder.path}` writes it again"
    )


def _tasks(
    folder: RunFolder, parts: Sequence[RunFolder], manifest: Manifest
) -> dict[str, TaskItems]:
    rows: dict[str, list[tuple[str, str, str, bytes]]] = {
        source.task: [] for source in manifest.sources
    }
    for item in (item for part in parts for item in _items(part)):
        if item.task not in rows:
            raise TraceError(
                f"{folder.items} holds a question of {item.task!r}, a task that the manifest lacks"
            )
        content = f"{len(item.text)}\0{item.text}{item.gold}".encode(
            "utf-8", "surrogatepass"
        )
        digest = hashlib.blake2b(content, digest_size=8).digest()
        rows[item.task].append((item.question_id, item.group, item.subtask, digest))
    tasks = {}
    for source in manifest.sources:
        if len(rows[source.task]) < source.items:
            raise TraceError(
                f"{folder.items} lacks questions of {source.task}: {_again(folder)}"
            )
        if not rows[source.task]:
            raise UsageError(
                f"{folder.path} asks no question of {source.task}: give the folder that holds all shards of the run"
            )
        ids, groups, subtasks, digests = zip(*sorted(rows[source.task]), strict=True)
        if len(set(ids)) < len(ids):
            raise TraceError(
                f"{folder.items} holds two questions of {source.task} with the same id"
            )
        tasks[source.task] = TaskItems(source, ids, groups, subtasks, digests)
    return tasks
