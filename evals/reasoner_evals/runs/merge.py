"""Merging the shards of a run into one run, as if one process had made it."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import BaseModel

from reasoner.errors import TraceError, UsageError
from reasoner.journal.folder import appearing, make_folder
from reasoner.journal.lines import Format, read_lines, sealed
from reasoner_evals.runs.folder import RunFolder
from reasoner_evals.runs.manifest import differences, machine_differences, read_manifest, write_manifest
from reasoner_evals.runs.reading import check_each_once
from reasoner_evals.runs.records import VERSION, Arm, Manifest
from reasoner_evals.runs.subset import Shard, Subset
from reasoner_evals.tasks.data import Source

SAME: Final = "run all shards with the same options"
MAX_NAMED: Final = 5
"""Missing shards, or values of a machine's part, that a message names."""


class Merged(NamedTuple):
    """What a merge made: the numbers of its shards and questions, and of results that are errors."""

    shards: int
    questions: int
    errors: int


@dataclass(frozen=True, slots=True)
class _Part:
    """A shard's run."""

    folder: RunFolder
    manifest: Manifest
    subset: Subset

    @property
    def shard(self) -> Shard:
        """Which one it is."""
        assert self.subset.shard
        return self.subset.shard

    def __str__(self) -> str:
        return f"shard {self.shard} ({self.folder.path})"


class _Line(BaseModel):
    """The part of a line of any of a run's files that says which question it is about."""

    question_id: str
    task: str = ""
    status: str = ""


def merge(paths: Sequence[Path], out: Path) -> Merged:
    """Make one run of all shards of a run; files are streamed, and only the ids of one shard are in memory.

    The new folder is there when it is complete, or not at all. Its files hold the lines of the shards, shard by shard.
    `created` is the earliest of the shards', `command` and `machine` are those of shard 1.

    Raises:
        UsageError: a shard is missing, given twice, unfinished or being written, the shards are not of one run, or
            `out` is not free.
        TraceError: a folder is not a run, a file is damaged, or the new one cannot be written.
    """
    _check_apart(paths, out)
    parts = sorted(map(_opened, paths), key=lambda part: part.shard)
    _check_complete(parts)
    manifest = _whole_manifest(parts)
    for part in parts:
        _Shard(part).check()
    errors = 0
    with appearing(out) as new:
        folder = RunFolder(new)
        for part in parts:
            with part.folder.writing():
                errors += _Shard(part).append_to(folder)
        write_manifest(folder, manifest)
    return Merged(len(parts), sum(source.items for source in manifest.sources), errors)


def _check_apart(paths: Sequence[Path], out: Path) -> None:
    if not paths:
        raise UsageError("no run is given: name the folders of all shards")
    check_each_once(paths)
    target = Path(os.path.realpath(out))
    for path in paths:
        if target.is_relative_to(os.path.realpath(path)):
            raise UsageError(f"--out {out} is inside {path}, which is read: give another folder")


def _opened(path: Path) -> _Part:
    folder = RunFolder(path)
    manifest = read_manifest(folder)
    subsets = {source.subset for source in manifest.sources}
    try:
        subset = Subset.parse(subsets.pop()) if len(subsets) == 1 else Subset()
    except UsageError as error:
        raise TraceError(f"{folder.manifest}: {error}") from error
    if subset.shard is None:
        raise UsageError(f"{path} is not a shard: only runs of `reasoner eval --shard I/N` can be merged")
    return _Part(folder, manifest, subset)


def _check_complete(parts: Sequence[_Part]) -> None:
    """Raise UsageError unless these are all shards of one division, each once."""
    first, *others = parts
    for former, part in zip(parts, others, strict=False):
        if part.shard.count != first.shard.count:
            raise UsageError(f"{first} and {part} are of different divisions: give the shards of one run")
        if part.shard == former.shard:
            raise UsageError(f"shard {part.shard} is there twice: {former.folder.path} and {part.folder.path}")
    count = first.shard.count
    given = {part.shard.index for part in parts}
    missing = [str(Shard(count, index)) for index in range(1, count + 1) if index not in given]
    if missing:
        more = f" and {len(missing) - MAX_NAMED:,} more" if len(missing) > MAX_NAMED else ""
        raise UsageError(f"missing shard {', '.join(missing[:MAX_NAMED])}{more}: give the folders of all shards")


def _whole_manifest(parts: Sequence[_Part]) -> Manifest:
    """The manifest of the unsharded run. Raises UsageError if the shards are not of one run."""
    first = parts[0]
    rules = {name: version for part in parts for name, version in part.manifest.answer_rules.items()}
    settings = {"sources": first.manifest.sources, "answer_rules": dict(sorted(rules.items()))}
    whole = first.manifest.model_copy(update=settings)
    for part in parts:
        # A shard knows the kinds of its own questions only.
        sources = tuple(_unsharded(source, items=0) for source in part.manifest.sources)
        expected = tuple(_unsharded(source, items=0) for source in first.manifest.sources)
        own = part.manifest.model_copy(update={"sources": sources, "answer_rules": rules | part.manifest.answer_rules})
        changed = differences(whole.model_copy(update={"sources": expected}), own)
        if changed:
            what, was, now = changed[0]
            raise UsageError(f"{first} and {part} are not of one run: {what} differ, {was} and {now}; {SAME}")
        if own.arms != whole.arms or sources != expected:
            raise UsageError(f"{first} and {part} are not of one run: their arms or their sources differ; {SAME}")
    totals = [sum(part.manifest.sources[at].items for part in parts) for at in range(len(whole.sources))]
    for part in parts:
        for source, total in zip(part.manifest.sources, totals, strict=True):
            if source.items != len(range(part.shard.index - 1, total, part.shard.count)):
                raise UsageError(
                    f"{part} has {source.items:,} of {total:,} questions of {source.task}: not its part; {SAME}"
                )
    sources = tuple(_unsharded(source, items=total) for source, total in zip(whole.sources, totals, strict=True))
    created = min(part.manifest.created for part in parts)
    return whole.model_copy(update={"sources": sources, "created": created, "notes": tuple(_notes(parts))})


def _unsharded(source: Source, *, items: int) -> Source:
    subset = Subset.parse(source.subset)
    return source.model_copy(update={"subset": str(Subset(subset.limit, subset.seed)), "items": items})


def _notes(parts: Sequence[_Part]) -> Iterator[str]:
    """The notes of all shards, and what a reader of the whole cannot know otherwise."""
    first = parts[0].manifest
    yield from dict.fromkeys(note for part in parts for note in part.manifest.notes)
    if any(arm.total for arm in first.arms):
        yield f"a budget that all questions share was divided into {len(parts)} equal parts, one for each shard"
    values: dict[str, dict[str, None]] = {}
    for part in parts:
        for what, was, now in machine_differences(first.machine, part.manifest.machine):
            values.setdefault(what, {was: None})[now] = None
    for what, seen in values.items():
        more = f" and {len(seen) - MAX_NAMED:,} more" if len(seen) > MAX_NAMED else ""
        yield f"the shards ran with different {what}: {', '.join(list(seen)[:MAX_NAMED])}{more}"


class _Shard:
    """Reads the files of one shard."""

    def __init__(self, part: _Part) -> None:
        self.part = part
        self.folder, self.manifest = part.folder, part.manifest
        self.ids: dict[str, set[str]] = {source.task: set() for source in part.manifest.sources}
        for _ in self.items():
            pass
        for source in part.manifest.sources:
            if len(self.ids[source.task]) != source.items:
                raise self._unfinished(f"{self.folder.items} lacks questions of {source.task}")

    def check(self) -> None:
        """Check that all questions have a result, and all answers a grade. Raises UsageError, or TraceError."""
        for arm in self.manifest.arms:
            for _ in self.journal(arm, set()):
                pass
            if not self.folder.arm(arm.name).grades.exists():
                raise self._unfinished(f"{arm.name} is not graded")

    def append_to(self, folder: RunFolder) -> int:
        """Append all lines to the files of another run; the number of results that are errors."""
        errors = 0
        _append(folder.items, self.items())
        _append(folder.verdicts, self.lines(self.folder.verdicts, "verdicts"))
        for arm in self.manifest.arms:
            ours, theirs = self.folder.arm(arm.name), folder.arm(arm.name)
            make_folder(theirs.path)
            failed: set[str] = set()
            _append(theirs.trace, self.lines(ours.trace, "trace", arm.task))
            _append(theirs.journal, self.journal(arm, failed))
            _append(theirs.grades, self.lines(ours.grades, "grades", arm.task))
            errors += len(failed)
        return errors

    def items(self) -> Iterator[bytes]:
        """The lines of the questions, whose ids are kept."""
        for line, content in _contents(self.folder.items, "questions", self._resume):
            if line.task not in self.ids:
                raise TraceError(f"{self.folder.items} holds a question of {line.task!r:.80}, not a task of this run")
            self.ids[line.task].add(line.question_id)
            yield content

    def journal(self, arm: Arm, failed: set[str]) -> Iterator[bytes]:
        """The lines of an arm's journal; `failed` gets the ids of questions that ended in an error only."""
        seen, asked = set[str](), self.ids.get(arm.task, set())
        files = self.folder.arm(arm.name)
        if not files.journal.exists():
            raise self._unfinished(f"{arm.name} has not started")
        for line, content in _contents(files.journal, "journal", self._resume):
            self._check_asked(files.journal, line, arm.task)
            if line.status != "error":
                failed.discard(line.question_id)
            elif line.question_id not in seen:
                failed.add(line.question_id)
            seen.add(line.question_id)
            yield content
        if missing := len(asked) - len(seen):
            raise self._unfinished(f"{arm.name} lacks {missing:,} of {len(asked):,} questions")

    def lines(self, path: Path, file: str, task: str = "") -> Iterator[bytes]:
        """The lines of another file, whose questions are of `task` or of the one that a line names."""
        for line, content in _contents(path, file, self._resume):
            self._check_asked(path, line, task or line.task)
            yield content

    def _check_asked(self, path: Path, line: _Line, task: str) -> None:
        if line.question_id not in self.ids.get(task, ()):
            raise TraceError(f"{path} holds question {line.question_id!r:.80}, which {self.part} does not ask")

    @property
    def _resume(self) -> str:
        return f"resume the shard with: reasoner eval --resume {self.folder.path}"

    def _unfinished(self, why: str) -> UsageError:
        return UsageError(f"{self.part} is not finished: {why}; {self._resume}")


def _contents(path: Path, file: str, advice: str) -> Iterator[tuple[_Line, bytes]]:
    """What each line of a file is about, and its content."""

    def read(content: bytes) -> tuple[_Line, bytes]:
        return _Line.model_validate_json(content), content

    return read_lines(path, Format(file, read, VERSION), advice=advice)


def _append(path: Path, contents: Iterator[bytes]) -> None:
    with path.open("ab") as file:
        file.writelines(map(sealed, contents))
