"""Which of a task's questions a run asks."""

import hashlib
import math
import re
from dataclasses import dataclass, replace
from typing import Final

from reasoner.budget import Budget
from reasoner.errors import UsageError
from reasoner_evals.tasks.benchmark import TaskData

MAX_SHARDS: Final = 100_000
_SPEC = re.compile(r"(?:all|first (\d+)(?: in the order of seed (\d+))?)(?:, shard (\d+/\d+))?", re.ASCII)
_SHARD = re.compile(r"(\d{1,9})/(\d{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """One of `count` equal parts of a run: of the questions in order, every `count`-th from number `index`, from 1."""

    count: int
    index: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """The shard that `str` writes as `text`, such as 2/8. Raises UsageError for other texts."""
        match = _SHARD.fullmatch(text)
        if not match or not 1 <= int(match[1]) <= int(match[2]) <= MAX_SHARDS:
            raise UsageError(
                f"--shard must be I/N with I from 1 to N and N at most {MAX_SHARDS:,}, as in 2/8 (got {text!r:.40})"
            )
        return cls(int(match[2]), int(match[1]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def part_of(self, total: Budget) -> Budget:
        """Its part of a budget that all questions share; a deadline holds for each shard in full.

        The parts of all shards are no more than the whole: counts add up to it exactly, other amounts are rounded down.
        """

        def whole(limit: int | None) -> int | None:
            # The first shards get the rest of the division: they have the questions where there are few.
            return None if limit is None else limit // self.count + (self.index <= limit % self.count)

        def real(limit: float | None) -> float | None:
            return None if limit is None else math.nextafter(limit / self.count, 0)

        return Budget(
            tokens=whole(total.tokens),
            generated=whole(total.generated),
            samples=whole(total.samples),
            seconds=total.seconds,
            flops=real(total.flops),
            usd=real(total.usd),
        )


@dataclass(frozen=True, slots=True)
class Subset:
    """All questions, or the first `limit` in the benchmark's own order or in that of a seed; or one shard of these.

    In a seed's order the rank of a question depends only on its id, so a larger limit only adds questions.
    """

    limit: int | None = None
    seed: int | None = None
    shard: Shard | None = None

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
        match = _SPEC.fullmatch(text)
        if not match:
            raise UsageError(
                f"{text!r} is not a subset: write all, first 100, or first 100 in the order of seed 0; a part of it is "
                "written all, shard 2/8"
            )
        limit, seed = (None if number is None else int(number) for number in match.groups()[:2])
        return cls(limit, seed, None if match[3] is None else Shard.parse(match[3]))

    def __str__(self) -> str:
        whole = "all" if self.limit is None else f"first {self.limit}"
        order = "" if self.seed is None else f" in the order of seed {self.seed}"
        return whole + order + (f", shard {self.shard}" if self.shard else "")

    def part_of(self, total: Budget) -> Budget:
        """Its part of a budget that all questions of a run share: all of it, or that of its shard."""
        return self.shard.part_of(total) if self.shard else total

    def cut(self, data: TaskData) -> TaskData:
        """The task with these questions only; its source counts them, its data hash stays that of all."""
        items = data.items
        if self.seed is not None:
            items = tuple(sorted(items, key=lambda item: _rank(item.question.id, self.seed)))
        items = items[: self.limit]
        if self.shard is not None:
            items = items[self.shard.index - 1 :: self.shard.count]
        source = data.source.model_copy(update={"items": len(items), "subset": str(self)})
        return replace(data, items=items, source=source)


def _rank(question_id: str, seed: int | None) -> bytes:
    return hashlib.sha256(f"{seed}\0{question_id}".encode("utf-8", "surrogatepass")).digest()
