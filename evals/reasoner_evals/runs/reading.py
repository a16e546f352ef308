"""A run read back: streamed line by line into arrays, so that 200,000 samples take little memory and no text."""

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reasoner.answers.choices import choice_in
from reasoner.errors import TraceError, UnknownName, UsageError
from reasoner.journal.lines import read_lines
from reasoner.system.files import read_whole
from reasoner_evals.runs.arrays import ArmArrays, ArmData, VerdictIndex
from reasoner_evals.runs.folder import RunFolder
from reasoner_evals.runs.manifest import read_manifest
from reasoner_evals.runs.records import ITEM_LINES, Item, ItemRecord, Manifest, counted_records, read_journal
from reasoner_evals.runs.verdicts import read_verdicts
from reasoner_evals.tasks.data import Source


@dataclass(frozen=True, slots=True)
class TaskItems:
    """A task's questions without their texts, ordered by id, so that runs over the same ones line up."""

    source: Source
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    chances: tuple[float | None, ...]
    """The accuracy of a blind guess: known for multiple choice and yes or no."""
    digests: tuple[bytes, ...]
    """Of each question's text and reference answer."""


@dataclass(frozen=True, slots=True)
class RunData:
    """An opened run: its questions and verdicts. Arms are read one at a time, by `read_arm`."""

    folder: RunFolder
    name: str
    manifest: Manifest
    manifest_hash: str
    tasks: Mapping[str, TaskItems]
    verdicts: VerdictIndex


def check_same(first: RunData, second: RunData, task: str) -> None:
    """Raise UsageError if two runs ask different questions of a task; it says how many and names one."""
    ours, theirs = (dict(zip(run.tasks[task].ids, run.tasks[task].digests, strict=True)) for run in (first, second))
    ids = ours.keys() | theirs.keys()
    differing = sorted(key for key in ids if ours.get(key) != theirs.get(key))
    if differing:
        raise UsageError(
            f"{first.name} and {second.name} ask different questions of {task}: {len(differing)} of {len(ids)} differ "
            f"(for example {differing[0]!r}): choose runs over the same questions"
        )


def open_run(path: Path) -> RunData:
    """A run's manifest, questions and verdicts, without texts. A TraceError names file and line."""
    folder = RunFolder(path)
    manifest = read_manifest(folder)
    digest = hashlib.sha256(read_whole(folder.manifest)).hexdigest()
    verdicts = VerdictIndex()
    for verdict in read_verdicts(folder.verdicts):
        verdicts.add(verdict)
    return RunData(folder, path.name or str(path), manifest, digest, _tasks(folder, manifest), verdicts)


def check_each_once(paths: Sequence[Path]) -> None:
    """Raise UsageError if two paths name one folder."""
    seen: set[str] = set()
    for path in paths:
        if (real := os.path.realpath(path)) in seen:
            raise UsageError(f"{path} is given twice: keep one")
        seen.add(real)


def open_runs(paths: Sequence[Path]) -> list[RunData]:
    """Several runs, named by their paths where folders have the same name. Raises UsageError: one is given twice."""
    check_each_once(paths)
    runs = [open_run(path) for path in paths]
    if len({run.name for run in runs}) == len(runs):
        return runs
    return [replace(run, name=str(path)) for run, path in zip(runs, paths, strict=True)]


def read_arm(run: RunData, name: str) -> ArmData:
    """One arm's journal, joined with the verdicts. An arm that has not started is empty.

    Of several lines on a question the first counts, unless it is an error: then the next one does. A torn last line is
    skipped.

    Raises:
        UnknownName: the run has no such arm.
        TraceError: a line is not a record, or is about a question that the run does not have.
    """
    arms = {arm.name: arm for arm in run.manifest.arms}
    if name not in arms:
        raise UnknownName("arm", name, arms, of=f"run {run.name}")
    files = run.folder.arm(name)
    arrays = ArmArrays(run.name, arms[name], run.tasks[arms[name].task].ids, run.verdicts)
    for record in read_journal(files):
        arrays.add(record, files.journal)
    return arrays.done()


def records_in(run: RunData, name: str, ids: Collection[str] | None = None) -> Iterator[ItemRecord]:
    """The records of an arm that `read_arm` counts; see `counted_records`."""
    return counted_records(run.folder.arm(name), ids)


def records_of(run: RunData, name: str, ids: Collection[str]) -> dict[str, ItemRecord]:
    """The records of a few questions of an arm, by id; see `records_in`."""
    return {record.question_id: record for record in records_in(run, name, ids)}


def questions_of(run: RunData, task: str, ids: Collection[str]) -> dict[str, Item]:
    """A few questions of a task with their texts, by id."""
    return {item.question_id: item for item in _items(run.folder) if item.task == task and item.question_id in ids}


def _chance(item: Item) -> float | None:
    if item.space == "yes_no":
        return 0.5
    choice = choice_in(item.text) if item.space == "choice" else None
    return 1 / len(choice.options) if choice else None


def _items(folder: RunFolder) -> Iterator[Item]:
    advice = f"delete this file, and `reasoner eval --resume {folder.path}` writes it again"
    return read_lines(folder.items, ITEM_LINES, advice=advice)


def _tasks(folder: RunFolder, manifest: Manifest) -> dict[str, TaskItems]:
    rows: dict[str, list[tuple[str, str, float | None, bytes]]] = {source.task: [] for source in manifest.sources}
    for item in _items(folder):
        if item.task not in rows:
            raise TraceError(f"{folder.items} holds a question of {item.task!r}, a task that the manifest lacks")
        content = f"{len(item.text)}\0{item.text}{item.gold}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(content, digest_size=8).digest()
        rows[item.task].append((item.question_id, item.group, _chance(item), digest))
    tasks = {}
    for source in manifest.sources:
        if not source.items:
            shard = f"it is part {source.subset.rpartition(' ')[2]} of a run: merge all parts with `reasoner merge`"
            raise UsageError(f"{folder.path} asks no question of {source.task}: {shard}")
        if not rows[source.task]:
            raise TraceError(f"{folder.items} holds no question of {source.task}: start the run again")
        ids, groups, chances, digests = zip(*sorted(rows[source.task], key=lambda row: row[0]), strict=True)
        if len(set(ids)) < len(ids):
            raise TraceError(f"{folder.items} holds two questions of {source.task} with the same id")
        tasks[source.task] = TaskItems(source, ids, groups, chances, digests)
    return tasks
