"""What a plan has seen: the results that it has received, what they cost, and what it has said about them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from reasoner.budget import NO_COST, Cost
from reasoner.execution.executor import OperationExecutor
from reasoner.execution.programs import with_output
from reasoner.execution.replies import RatingFailures, Replies
from reasoner.strategy import ComparePair, Execute, Finished, Note, Probe, Score
from reasoner.types import Answer, Completion, Proposal

Examination = Score | ComparePair | Probe | Execute
"""What a plan asks about replies that it has; it may wait for it at once, or start it."""


@dataclass(slots=True)
class PlanView:
    """What the plan of one question has seen."""

    executor: OperationExecutor
    replies: Replies
    cost: Cost = NO_COST
    """The cost of all received results; its sequential tokens are where the latest one ended."""
    failures: RatingFailures = field(default_factory=RatingFailures)
    remarks: list[Note] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)
    confidence: float | None = None
    """How sure the last proposal is, where it has a leader."""

    @property
    def best(self) -> Answer | None:
        """The answer that it has proposed last."""
        return self.proposals[-1].answer if self.proposals else None

    def receive(self, finished: Finished, op: Examination | None) -> None:
        """Add the results of an operation; `op` is the examination, None for samples."""
        if op is None:
            self.receive_completions(finished.completions, finished.end)
            return
        for rating in finished.ratings:
            self.cost += rating.cost
            self.failures.add(rating)
        if isinstance(op, Probe):
            for chain, extraction in zip(op.chains, finished.extractions, strict=True):
                self.replies.add(replace(chain, extraction=extraction))
                self.cost += extraction.cost.taking(0) if extraction else NO_COST
        program = finished.execution
        if isinstance(op, Execute) and op.reply and program and not program.failure:
            self.replies.add(
                with_output(op.reply, program, self.executor.question.space)
            )

    def receive_completions(self, completions: Sequence[Completion], end: int) -> None:
        """Add the sequences of an operation that ended at a virtual time."""
        for completion in completions:
            self.replies.add(completion)
            if completion.usage.prompt_tokens or completion.usage.generated_tokens:
                # Each is waited for until all of the operation have ended.
                self.cost += self.executor.cost_of(
                    completion, at=end - completion.usage.generated_tokens
                )
            if completion.extraction:
                self.cost += completion.extraction.cost
