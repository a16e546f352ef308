"""The files of a run's folder."""

from contextlib import AbstractContextManager
from pathlib import Path

from reasoner.journal.folder import check_free, writing
from reasoner.trace.replies import GRADES, TRACE


class ArmFolder:
    """The files of one arm. A verifier can be fitted on its `trace` and `grades`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trace = path / TRACE
        """Every event, appended as it happens; a resumed run starts from it."""
        self.journal = path / "journal.jsonl"
        """One `ItemRecord` per finished question, appended as it finishes."""
        self.grades = path / GRADES
        """Grades of single sequences, derived from the verdicts."""


class RunFolder:
    """The files of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = path / "manifest.json"
        """What decides the run; written first, atomically, and never changed."""
        self.items = path / "items.jsonl"
        """The questions with their reference answers."""
        self.verdicts = path / "verdicts.jsonl"
        """Grades of answers; can be made again without a model."""

    def arm(self, name: str) -> ArmFolder:
        """The folder of one arm."""
        return ArmFolder(self.path / "arms" / name)

    def writing(self, *, fresh: bool = False) -> AbstractContextManager[None]:
        """Lock the folder as its only writer; a `fresh` one is created, and removed if it stays empty.

        Raises:
            UsageError: another process writes it; the message names it. Or a fresh folder is not empty.
            TraceError: the folder cannot be created, or its file system does not support locks.
        """
        if fresh:
            check_free(self.path, "resume it with --resume, or give --out another folder")
        return writing(self.path, self.manifest, create=fresh)
