"""Answers graded by a scorer of reasoning-gym that does not execute them, in a process that can be killed."""

import json
import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

from reasoner.answers.process_pool import Failed
from reasoner.equivalence import Equivalence
from reasoner.grades import GradeStatus
from reasoner.types import Answer
from reasoner_evals.grading import GradedQuestion

RIGHT = 0.999
"""A score from here on is right; all below is wrong, as partial credit is for what is near."""
SECONDS = 30.0
"""What one scoring may take in its process, the import of reasoning-gym included; then it is tried once with PATIENCE
times as long, so that a grade does not depend on what else the machine does."""
PATIENCE = 3.0


@dataclass(frozen=True, slots=True)
class ByGym:
    """Grades by `score_answer` of the data set `name`. Which names are safe is decided by the task, not here.

    `entry` is the puzzle as reasoning-gym made it, and `config` the JSON of its options.
    """

    name: ClassVar[str] = "gym"
    version: ClassVar[int] = 1

    dataset: str
    config: str
    entry: dict[str, Any] = field(repr=False, hash=False)

    async def grade(self, item: GradedQuestion, answer: Answer, equivalence: Equivalence) -> GradeStatus:
        """Whether the scorer gives it full marks; a scorer that raises or hangs has judged nothing."""
        outcome = None
        for seconds in (SECONDS, SECONDS * PATIENCE):
            outcome = await equivalence.pool.call(
                _score, self.dataset, self.config, self.entry, answer.text, seconds=seconds
            )
            if not (isinstance(outcome, Failed) and outcome.kind == "timeout"):
                break
        if isinstance(outcome, Failed):
            return "grader_timeout" if outcome.kind == "timeout" else "grader_crash"
        return "right" if outcome and outcome.value >= RIGHT else "wrong"


def _score(dataset: str, config: str, entry: dict[str, Any], answer: str) -> float:
    """Runs in a worker."""
    return float(made(dataset, config, size=1, seed=0).score_answer(answer, entry))


@lru_cache(maxsize=8)
def made(dataset: str, config: str, *, size: int, seed: int) -> Any:
    """A data set of reasoning-gym; `config` is the JSON of its options."""
    with warnings.catch_warnings():
        # A dependency of it compares with `is`, which Python points out as it compiles.
        warnings.simplefilter("ignore", SyntaxWarning)
        import reasoning_gym  # type: ignore[import-untyped]
    return reasoning_gym.create_dataset(dataset, size=size, seed=seed, **json.loads(config))
