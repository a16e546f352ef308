"""Which of a task's questions a run asks."""

import hashlib
import re
from dataclasses import dataclass, replace

from reasoner.errors import UsageError, require
from reasoner_evals.tasks.task import TaskData

_WRITTEN = re.compile(r"first (\d+)(?: in the order of seed (\d+))?")


@dataclass(frozen=True, slots=True)
class Subset:
    """All questions, or the first `limit` in the benchmark's own order or in that of a seed.

    In a seed's order a question's place depends on its id alone, so a larger limit adds questions and takes none away.
    """

    limit: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        require(self.limit, "--limit", at_least=1)
        require(self.seed, "--subset-seed", at_least=0)
        if self.seed is not None and self.limit is None:
            raise UsageError(f"--subset-seed {self.seed} has no effect without --limit: add it, or leave this out")

    @classmethod
    def parse(cls, text: str) -> "Subset":
        """The subset that was written as `text`.

        Raises:
            UsageError: it is none.
        """
        if text == "all":
            return cls()
        match = _WRITTEN.fullmatch(text)
        if not match:
            raise UsageError(f"{text!r} names no subset: write all, first 100, or first 100 in the order of seed 0")
        return cls(int(match[1]), None if match[2] is None else int(match[2]))

    def __str__(self) -> str:
        if self.limit is None:
            return "all"
        return f"first {self.limit}" + ("" if self.seed is None else f" in the order of seed {self.seed}")

    def cut(self, data: TaskData) -> TaskData:
        """The task with these questions only; its source says which and how many, its data hash is of all."""
        items = data.items
        if self.seed is not None:
            items = tuple(sorted(items, key=lambda item: _place(item.question.id, self.seed)))
        items = items[: self.limit]
        return replace(
            data, items=items, source=data.source.model_copy(update={"items": len(items), "subset": str(self)})
        )


def _place(question_id: str, seed: int | None) -> bytes:
    return hashlib.sha256(f"{seed}\0{question_id}".encode("utf-8", "surrogatepass")).digest()
