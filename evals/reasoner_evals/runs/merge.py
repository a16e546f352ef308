"""Merging the shards of a run into one run, as if one process had made it."""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import BaseModel

from reasoner.errors import TraceError, UsageError
from reasoner.journal.folder import appearing, make_folder
from reasoner.journal.lines import Format, read_lines, sealed
from reasoner.system.printing import counted
from reasoner_evals.runs.arms import Shard, Subset
from reasoner_evals.runs.manifest import (
    differences,
    machine_differences,
    read_manifest,
    write_manifest,
)
from reasoner_evals.runs.reading import ERROR, check_each_once, open_run, read_arm
from reasoner_evals.runs.records import VERSION, Manifest, RunFolder

SAME: Final = "run all shards with the same options"
MAX_NAMED: Final = 5
"""Missing shards that a message names."""


class MergeResult(NamedTuple):
    """What a merge made: the numbers of its shards, of parts that are missing, of questions, and of error results."""

    shards: int
    missing: int
    questions: int
    errors: int


class _About(BaseModel):
    """The part of a line of any of a run's files that says which question it is about."""

    question_id: str


def merge(paths: Sequence[Path], out: Path, *, partial: bool = False) -> MergeResult:
    """Make one run of all shards of a run, or of some if `partial`.

    Files are streamed, and one shard is in memory without its texts.

    The new folder is there when it is complete, or not at all. Its files hold the lines of the shards, shard by shard.
    `created` is the earliest of the shards', `command` and `machine` are those of shard 1.

    Raises:
        UsageError: a shard is missing (unless `partial`), given twice, unfinished or being written, the shards are not
            of one run, or `out` is not free.
        TraceError: a folder is not a run, a file is damaged, or the new one cannot be written.
    """
    _check_apart(paths, out)
    shards = sorted(map(_opened, paths), key=lambda shard: shard.part)
    together = _together(shards)
    if together.missing and not partial:
        raise UsageError(_names_missing(together))
    manifest, errors = _whole_manifest(shards, together), 0
    with appearing(out) as new:
        folder = RunFolder(new)
        for shard in shards:
            with shard.folder.writing():
                errors += shard.append_to(folder)
        write_manifest(folder, manifest)
    return MergeResult(
        len(shards),
        len(together.missing),
        sum(source.items for source in manifest.sources),
        errors,
    )


@dataclass(frozen=True, slots=True)
class _ShardRun:
    """The run of one shard."""

    folder: RunFolder
    manifest: Manifest
    part: Shard

    def __str__(self) -> str:
        return f"shard {self.part} ({self.folder.path})"

    def append_to(self, folder: RunFolder) -> int:
        """Append all lines to the files of another run; the number of results that are errors.

        Raises UsageError if a result or the grades of an arm are missing, or TraceError.
        """
        run, errors = open_run(self.folder.path), 0
        every = {name for items in run.tasks.values() for name in items.ids}
        self._append(self.folder.items, folder.items, every)
        self._append(self.folder.verdicts, folder.verdicts, every)
        for arm in self.manifest.arms:
            data, ours, theirs = (
                read_arm(run, arm.name),
                self.folder.arm(arm.name),
                folder.arm(arm.name),
            )
            if missing := int((~data.finished).sum()):
                raise self._unfinished(
                    f"{arm.name} lacks {missing:,} of {counted(len(data.finished), 'question')}"
                )
            if not ours.grades.exists():
                raise self._unfinished(f"{arm.name} has no grades")
            make_folder(theirs.path)
            ids = set(run.tasks[arm.task].ids)
            for source, target in (
                (ours.trace, theirs.trace),
                (ours.journal, theirs.journal),
                (ours.grades, theirs.grades),
            ):
                self._append(source, target, ids)
            errors += int((data.outcome == ERROR).sum())
        return errors

    def _append(self, source: Path, target: Path, ids: Collection[str]) -> None:
        """Append the lines of a file, which are about these questions, to another one. Raises TraceError."""

        def read(content: bytes) -> bytes:
            if (name := _About.model_validate_json(content).question_id) not in ids:
                raise TraceError(
                    f"{source} holds question {name!r:.80}, which {self} does not ask"
                )
            return content

        with target.open("ab") as file:
            lines = (
                read_lines(
                    source, Format(source.stem, read, VERSION), advice=self._resume
                )
                if source.exists()
                else ()
            )
            file.writelines(map(sealed, lines))

    @property
    def _resume(self) -> str:
        return f"resume the shard with: reasoner eval --resume {self.folder.path}"

    def _unfinished(self, why: str) -> UsageError:
        return UsageError(f"{self} is not finished: {why}; {self._resume}")


def _check_apart(paths: Sequence[Path], out: Path) -> None:
    if not paths:
        raise UsageError("no run is given: name the folders of all shards")
    check_each_once(paths)
    target = Path(os.path.realpath(out))
    for path in paths:
        if target.is_relative_to(os.path.realpath(path)):
            raise UsageError(
                f"--out {out} is inside {path}, which is read: give another folder"
            )


def _opened(path: Path) -> _ShardRun:
    folder = RunFolder(path)
    manifest = read_manifest(folder)
    subsets = {source.subset for source in manifest.sources}
    try:
        subset = Subset.parse(subsets.pop()) if len(subsets) == 1 else Subset()
    except UsageError as error:
        raise TraceError(f"{folder.manifest}: {error}") from error
    if subset.shard is None:
        raise UsageError(
            f"{path} is not a shard: only runs of `reasoner eval --shard I/N` can be merged"
        )
    return _ShardRun(folder, manifest, subset.shard)


def _together(shards: Sequence[_ShardRun]) -> Shard:
    """What the shards are together. Raises UsageError unless they are parts of one division, each there once."""
    first, given = shards[0], dict[int, _ShardRun]()
    for shard in shards:
        if shard.part.count != first.part.count:
            raise UsageError(
                f"{first} and {shard} are of different divisions: give the shards of one run"
            )
        for part in shard.part.parts:
            if former := given.get(part):
                twice = Shard(shard.part.count, (part,))
                raise UsageError(
                    f"shard {twice} is there twice: {former.folder.path} and {shard.folder.path}"
                )
            given[part] = shard
    return Shard(first.part.count, tuple(sorted(given)))


def _names_missing(together: Shard) -> str:
    """The error that names the missing shards."""
    named = ", ".join(
        str(Shard(together.count, (part,))) for part in together.missing[:MAX_NAMED]
    )
    more = (
        f" and {len(together.missing) - MAX_NAMED:,} more"
        if len(together.missing) > MAX_NAMED
        else ""
    )
    return (
        f"missing shard {named}{more}: give the folders of all shards, or add --partial"
    )


def _whole_manifest(shards: Sequence[_ShardRun], together: Shard) -> Manifest:
    """The manifest of the unsharded run, or of the parts that are there.

    Raises UsageError if the shards are not of one run.
    """
    first = shards[0]
    named = f", shard {together}" if together.missing else ""
    # A shard knows the kinds of its own questions only.
    rules = {
        name: version
        for shard in shards
        for name, version in shard.manifest.answer_rules.items()
    }
    wholes = [
        shard.manifest.model_copy(
            update={
                "sources": tuple(
                    source.model_copy(
                        update={
                            "subset": source.subset.partition(", shard")[0] + named,
                            "items": 0,
                        }
                    )
                    for source in shard.manifest.sources
                ),
                "answer_rules": dict(
                    sorted((rules | shard.manifest.answer_rules).items())
                ),
            }
        )
        for shard in shards
    ]
    for shard, whole in zip(shards, wholes, strict=True):
        if changed := differences(wholes[0], whole):
            what, was, now = changed[0]
            raise UsageError(
                f"{first} and {shard} are not of one run: {what} differ, {was} and {now}; {SAME}"
            )
        if (whole.arms, whole.sources) != (wholes[0].arms, wholes[0].sources):
            raise UsageError(
                f"{first} and {shard} are not of one run: their arms or their sources differ; {SAME}"
            )
    totals = (
        sum(shard.manifest.sources[at].items for shard in shards)
        for at in range(len(wholes[0].sources))
    )
    return wholes[0].model_copy(
        update={
            "sources": tuple(
                source.model_copy(update={"items": total})
                for source, total in zip(wholes[0].sources, totals, strict=True)
            ),
            "created": min(shard.manifest.created for shard in shards),
            "notes": tuple(_notes(shards)),
        }
    )


def _notes(shards: Sequence[_ShardRun]) -> Iterator[str]:
    """The notes of all shards, and what a reader of the whole cannot know otherwise."""
    first = shards[0].manifest
    yield from dict.fromkeys(note for shard in shards for note in shard.manifest.notes)
    if any(arm.total for arm in first.arms):
        yield f"a budget that all questions share was divided into {len(shards)} equal parts, one for each shard"
    machines = [
        machine_differences(first.machine, shard.manifest.machine) for shard in shards
    ]
    if differing := dict.fromkeys(
        drift.what for drifts in machines for drift in drifts
    ):
        yield f"the shards ran with different {', '.join(differing)}"
