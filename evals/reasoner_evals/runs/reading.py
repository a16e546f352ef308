"""A run read back: streamed line by line into arrays, so that 200,000 samples take little memory and no text."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from reasoner.answers.choices import choice_in
from reasoner.errors import TraceError, UnknownName, UsageError
from reasoner.files import read_whole
from reasoner.lines import read_lines
from reasoner_evals.runs.arrays import ArmArrays, ArmData, VerdictIndex, holds
from reasoner_evals.runs.folder import RunFolder
from reasoner_evals.runs.journal import read_journal, sound_record
from reasoner_evals.runs.manifest import read_manifest
from reasoner_evals.runs.records import VERSION, Item, ItemRecord, Manifest, Source
from reasoner_evals.runs.verdicts import read_verdicts


@dataclass(frozen=True, slots=True)
class TaskItems:
    """A task's questions without their texts, ordered by id, so that runs over the same ones line up."""

    source: Source
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    chances: tuple[float | None, ...]
    """What a blind guess gets right: known of choices and of yes or no."""
    digests: tuple[bytes, ...]
    """Of each question's text and reference answer."""


@dataclass(frozen=True, slots=True)
class RunData:
    """A run's folder, opened: what was asked and what was judged. Arms are read one at a time, by `read_arm`."""

    folder: RunFolder
    name: str
    manifest: Manifest
    manifest_hash: str
    tasks: Mapping[str, TaskItems]
    verdicts: VerdictIndex


class _Fate(BaseModel):
    """As much of a journal's line as says which question it is on."""

    question_id: str


def check_same(first: RunData, second: RunData, task: str) -> None:
    """Refuse two runs that do not ask the same questions of a task.

    Raises:
        UsageError: how many differ, and an example.
    """
    one, other = (dict(zip(run.tasks[task].ids, run.tasks[task].digests, strict=True)) for run in (first, second))
    differing = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    if differing:
        raise UsageError(
            f"{first.name} and {second.name} ask different questions of {task}: {len(differing)} of "
            f"{len(one.keys() | other.keys())} differ ({differing[0]!r}, for one): take runs over the same questions"
        )


def open_run(path: Path) -> RunData:
    """A run's manifest, questions and verdicts; texts are read and let go.

    Raises:
        TraceError: a file is missing or holds what is no such record; the message names it and the line.
    """
    folder = RunFolder(path)
    manifest = read_manifest(folder)
    digest = hashlib.sha256(read_whole(folder.manifest)).hexdigest()
    verdicts = VerdictIndex()
    for verdict in read_verdicts(folder.verdicts):
        verdicts.add(verdict)
    return RunData(folder, path.name or str(path), manifest, digest, _tasks(folder, manifest), verdicts)


def read_arm(run: RunData, name: str) -> ArmData:
    """One arm's journal, joined with the verdicts. An arm that has not begun is empty.

    Of several lines on a question the first holds, unless it is an error: then the next does. A torn last line is
    skipped. A line with impossible counts is an error too.

    Raises:
        UnknownName: the run has no such arm.
        TraceError: a line is no record, or is on a question that the run does not have.
    """
    arms = {arm.name: arm for arm in run.manifest.arms}
    if name not in arms:
        raise UnknownName("arm", name, arms, of=f"run {run.name}")
    arrays = ArmArrays(run.name, arms[name], run.tasks[arms[name].task].ids, run.verdicts)
    journal = run.folder.arm(name).journal
    for record in read_journal(run.folder.arm(name)):
        arrays.add(record, journal)
    return arrays.done()


def records_in(run: RunData, name: str) -> Iterator[ItemRecord]:
    """The records of an arm that `read_arm` counts, streamed in the order of its journal; none before it has begun.

    An error that a later line replaces is left out.
    """
    files = run.folder.arm(name)
    taken: dict[str, int] = {}
    for place, (question, status) in enumerate((one.question_id, one.status) for one in read_journal(files)):
        if taken.get(question, -1) < 0:
            taken[question] = -1 - place if status == "error" else place
    places = {place if place >= 0 else -1 - place for place in taken.values()}
    yield from (record for place, record in enumerate(read_journal(files)) if place in places)


def records_of(run: RunData, name: str, ids: set[str]) -> dict[str, ItemRecord]:
    """The whole records of a few questions of an arm, by id; the same lines that `read_arm` counts."""

    def wanted(line: bytes) -> ItemRecord | None:
        fate = _Fate.model_validate_json(line)
        return sound_record(line) if fate.question_id in ids else None

    found: dict[str, ItemRecord] = {}
    for record in read_journal(run.folder.arm(name), wanted):
        if record and holds(found.get(record.question_id)):
            found[record.question_id] = record
    return found


def questions_of(run: RunData, task: str, ids: set[str]) -> dict[str, Item]:
    """A few questions of a task with their texts, by id."""
    return {one.question_id: one for one in _items(run.folder) if one.task == task and one.question_id in ids}


def _chance(item: Item) -> float | None:
    if item.space == "yes_no":
        return 0.5
    choice = choice_in(item.text) if item.space == "choice" else None
    return 1 / len(choice.options) if choice else None


def _items(folder: RunFolder) -> Iterator[Item]:
    return read_lines(
        folder.items,
        Item.model_validate_json,
        file="questions",
        record="record of the questions",
        version=VERSION,
        way_out=f"delete this file, and `reasoner eval --resume {folder.path}` writes it again",
    )


def _tasks(folder: RunFolder, manifest: Manifest) -> dict[str, TaskItems]:
    rows: dict[str, list[tuple[str, str, float | None, bytes]]] = {source.task: [] for source in manifest.sources}
    for item in _items(folder):
        if item.task not in rows:
            raise TraceError(f"{folder.items} holds a question of {item.task!r}, a task that the manifest lacks")
        digest = hashlib.blake2b(
            f"{len(item.text)}\0{item.text}{item.gold}".encode("utf-8", "surrogatepass"), digest_size=8
        )
        rows[item.task].append((item.question_id, item.group, _chance(item), digest.digest()))
    tasks = {}
    for source in manifest.sources:
        found = sorted(rows[source.task], key=lambda row: row[0])
        if not found:
            raise TraceError(f"{folder.items} holds no question of {source.task}: begin the run anew")
        ids, groups, chances, digests = zip(*found, strict=True)
        if len(set(ids)) < len(ids):
            raise TraceError(f"{folder.items} holds two questions of {source.task} with one id")
        tasks[source.task] = TaskItems(source, ids, groups, chances, digests)
    return tasks
