"""Where things lie in a run's folder."""

from dataclasses import dataclass
from pathlib import Path

from reasoner.grades import GRADES, TRACE


@dataclass(frozen=True, slots=True)
class ArmFolder:
    """The files of one arm. With `trace` and `grades` in it, a verifier can be fitted on it."""

    path: Path

    @property
    def trace(self) -> Path:
        """Every event, appended as it happens; what a resumed run goes on from."""
        return self.path / TRACE

    @property
    def journal(self) -> Path:
        """One `ItemRecord` a finished question, appended as it finishes."""
        return self.path / "journal.jsonl"

    @property
    def grades(self) -> Path:
        """Grades of single sequences, derived from the verdicts."""
        return self.path / GRADES


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of a run."""

    path: Path

    @property
    def manifest(self) -> Path:
        """What decides the run; written first, atomically, and never changed."""
        return self.path / "manifest.json"

    @property
    def items(self) -> Path:
        """The questions with their reference answers."""
        return self.path / "items.jsonl"

    @property
    def verdicts(self) -> Path:
        """Grades of answers; can be made anew without a model."""
        return self.path / "verdicts.jsonl"

    @property
    def lock(self) -> Path:
        """Held by the one process that writes."""
        return self.path / ".lock"

    def arm(self, name: str) -> ArmFolder:
        """The folder of one arm."""
        return ArmFolder(self.path / "arms" / name)
