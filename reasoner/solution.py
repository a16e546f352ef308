"""What a run gives back for one question."""

from dataclasses import dataclass
from typing import Literal

from reasoner.budget import Cost
from reasoner.errors import ReasonerError
from reasoner.types import Answer, Standing

EndedBy = Literal["strategy", "budget", "rule", "price", "error"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """The best answer at one moment, what stood behind it, and what the results seen until then had cost.

    Work still in flight is not in `cost`, so the curve of proposals depends on the replies alone.
    """

    answer: Answer | None
    standing: Standing
    cost: Cost


@dataclass(frozen=True, slots=True)
class Solution:
    """The answer to one question and its price.

    `answer` is None where no sample held one. `proposals` are the answers along the way, so one run gives the whole
    compute-accuracy curve. `ended_by` says who ended it and `reason` says it in words; "rule" is a stop rule, "price"
    that nothing more was worth what it costs. With `error` set, `answer` is the best until then. `notes` say what the
    engine could not do exactly and where the run was narrowed; `remarks` are what the plan wrote down on its way.
    `confidence` is the calibrated chance that the answer is right, None where nothing was calibrated.
    """

    question_id: str
    answer: Answer | None
    cost: Cost
    proposals: tuple[Proposal, ...]
    ended_by: EndedBy
    reason: str
    error: ReasonerError | None = None
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    confidence: float | None = None

    @property
    def stands(self) -> bool:
        """Whether the answer may be used; False where an error ended the run: it is then only the best until there."""
        return self.error is None

    @property
    def standing(self) -> Standing:
        """The votes behind the last proposal."""
        return self.proposals[-1].standing if self.proposals else Standing()
