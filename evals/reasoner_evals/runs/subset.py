"""Which of a task's questions a run asks."""

import hashlib
import re
from dataclasses import dataclass, replace

from reasoner.errors import UsageError
from reasoner_evals.tasks.benchmark import TaskData

_SPEC = re.compile(r"first (\d+)(?: in the order of seed (\d+))?")


@dataclass(frozen=True, slots=True)
class Subset:
    """All questions, or the first `limit` in the benchmark's own order or in that of a seed.

    In a seed's order the rank of a question depends only on its id, so a larger limit only adds questions.
    """

    limit: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit must be at least 1 (got {self.limit})")
        if self.seed is not None and self.seed < 0:
            raise UsageError(f"--subset-seed must be at least 0 (got {self.seed})")
        if self.seed is not None and self.limit is None:
            raise UsageError(f"--subset-seed {self.seed} has no effect without --limit: add it, or leave this out")

    @classmethod
    def parse(cls, text: str) -> "Subset":
        """The subset that `str` wrote as `text`. Raises UsageError for other texts."""
        if text == "all":
            return cls()
        match = _SPEC.fullmatch(text)
        if not match:
            raise UsageError(f"{text!r} is not a subset: write all, first 100, or first 100 in the order of seed 0")
        return cls(int(match[1]), None if match[2] is None else int(match[2]))

    def __str__(self) -> str:
        if self.limit is None:
            return "all"
        return f"first {self.limit}" + ("" if self.seed is None else f" in the order of seed {self.seed}")

    def cut(self, data: TaskData) -> TaskData:
        """The task with these questions only; its source counts them, its data hash stays that of all."""
        items = data.items
        if self.seed is not None:
            items = tuple(sorted(items, key=lambda item: _rank(item.question.id, self.seed)))
        items = items[: self.limit]
        source = data.source.model_copy(update={"items": len(items), "subset": str(self)})
        return replace(data, items=items, source=source)


def _rank(question_id: str, seed: int | None) -> bytes:
    return hashlib.sha256(f"{seed}\0{question_id}".encode("utf-8", "surrogatepass")).digest()
