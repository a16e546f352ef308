"""The result of a run for one question."""

from dataclasses import dataclass
from typing import Literal

from reasoner.budget import Cost
from reasoner.errors import ReasonerError
from reasoner.types import Answer, VoteState

INTERRUPTED = "interrupted"
"""The reason of a question that was cut off from outside."""
EndedBy = Literal["strategy", "budget", "rule", "price", "error"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """The best answer at one moment, the votes behind it, and the cost of the results received by then.

    `cost` does not include work in flight, so the curve of proposals depends only on the replies.
    """

    answer: Answer | None
    vote_state: VoteState
    cost: Cost


@dataclass(frozen=True, slots=True)
class Solution:
    """The answer to one question and its cost.

    `answer` is None if no sample had one. `proposals` are the answers along the way, so one run gives the whole
    compute-accuracy curve. `ended_by` says what ended it and `reason` describes it; "rule" is a stop rule, "price"
    means that another sample would have gained less than it costs. With `error` set, `answer` is the best until then.
    `notes` say what the engine could not do exactly and where the run was limited; `remarks` are those of the plan.
    `confidence` is the calibrated probability that the answer is right; None without a calibration.
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
    def vote_state(self) -> VoteState:
        """The votes behind the last proposal."""
        return self.proposals[-1].vote_state if self.proposals else VoteState()
