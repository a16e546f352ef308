"""The result of a run for one question."""

from collections.abc import Iterable
from dataclasses import asdict, field
from html import escape
from typing import TYPE_CHECKING, Any

from reasoner.budget import Cost, cost_line
from reasoner.errors import ReasonerError
from reasoner.system.printing import counted, printable
from reasoner.system.values import value
from reasoner.trace.replies import Reply, replies_in
from reasoner.types import Answer, CutSamples, EndedBy, Proposal, VoteState
from reasoner.voting import VoteSummary

if TYPE_CHECKING:
    import pandas as pd

    from reasoner.trace.events import Event

INTERRUPTED = "interrupted"
"""The reason of a question that was cut off from outside."""
MAX_LINE = 500
"""Characters of an answer or a reason that a summary shows."""
MAX_LISTED = 20
"""Solutions that such a table shows."""


@value(frozen=True, slots=True, repr=False)
class Solution:
    """The answer to one question and its cost. `print` shows it in at most four lines.

    `answer` is None if no sample had one. `proposals` are the answers along the way, so one run gives the whole
    compute-accuracy curve. `ended_by` says what ended it and `reason` describes it; "rule" is a stop rule, "price"
    means that another sample would have gained less than it costs. With `error` set, `answer` is the best until then.
    `notes` say what the engine could not do exactly and where the run was limited; `remarks` are those of the plan.
    `confidence` is the calibrated probability that the answer is right; None without a calibration.

    `unrated` says why, if the verifier was asked and not one rating succeeded; the answer was then chosen without it.
    `cut` says how many samples were cut at `max_tokens`.

    `text` is the reply that gives the answer; without an answer, the best reply there is, or "". `events` are those of
    the trace: `solve` keeps them, `solve_many` and `solve_each` do not, as they may have millions of questions.
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
    text: str = ""
    cut: CutSamples = CutSamples()
    events: "tuple[Event, ...]" = field(default=(), compare=False)
    unrated: str = ""

    @property
    def vote_state(self) -> VoteState:
        """The votes behind the last proposal."""
        return self.proposals[-1].vote_state if self.proposals else VoteState()

    @property
    def abstained(self) -> bool:
        """Whether there was an answer that the strategy was not sure enough of to give."""
        return (
            self.answer is None
            and self.confidence is not None
            and self.vote_state.leader is not None
        )

    @property
    def samples(self) -> tuple[Reply, ...]:
        """The completions in the order in which they ended; empty where `events` were not kept."""
        return replies_in(self.events)

    def row(self) -> dict[str, Any]:
        """The solution as one row of a table, without proposals and samples; `share` is the leader's, 0 to 1."""
        return {
            "answer": self.answer.text if self.answer else None,
            "text": self.text or None,
            "confidence": self.confidence,
            "share": round(self.vote_state.share, 6) if self.vote_state.votes else None,
            "ended_by": self.ended_by,
            "reason": self.reason,
            "error": str(self.error) if self.error else None,
            "tokens": self.cost.tokens,
            **asdict(self.cost),
        }

    def to_dict(self) -> dict[str, Any]:
        """The solution as plain data for JSON. `samples` is the number of samples that the vote counted."""
        return {
            "question_id": self.question_id,
            "answer": asdict(self.answer) if self.answer else None,
            "text": self.text,
            **VoteSummary(self.vote_state).document(),
            "cost": {**asdict(self.cost), "tokens": self.cost.tokens},
            "cut": asdict(self.cut),
            "ended_by": self.ended_by,
            "reason": self.reason,
            "error": str(self.error) if self.error else None,
            "notes": list(self.notes),
            "remarks": list(self.remarks),
            "unrated": self.unrated,
            "confidence": self.confidence,
            "proposals": [
                {
                    "answer": proposal.answer.text if proposal.answer else None,
                    "samples": proposal.vote_state.samples,
                    "tokens": proposal.cost.tokens,
                }
                for proposal in self.proposals
            ],
            "completions": [
                {
                    "text": reply.text,
                    "thinking": reply.completion.thinking,
                    "answer": reply.answer.text if reply.answer else None,
                    "score": reply.score,
                    "finish_reason": reply.completion.finish_reason,
                    "generated_tokens": reply.completion.usage.generated_tokens,
                    "thinking_tokens": reply.completion.usage.thinking_tokens,
                }
                for reply in self.samples
            ],
        }

    @property
    def headline(self) -> str:
        """The answer in one line, or why there is none."""
        answer = printable(self.answer.text, limit=MAX_LINE) if self.answer else ""
        if self.error:
            why = printable(str(self.error), limit=MAX_LINE)
            return (
                f"{answer} (not the final answer, as the run failed: {why})"
                if answer
                else f"no answer: {why}"
            )
        if answer:
            return answer
        return (
            "not sure"
            if self.abstained
            else f"no answer: {printable(self.reason, limit=MAX_LINE)}"
        )

    def __str__(self) -> str:
        vote_state = self.vote_state
        votes = (
            [f"vote     {VoteSummary(vote_state).line}"]
            if vote_state.samples or vote_state.votes
            else []
        )
        cut = [f"cut      {line}"] if (line := self.cut.line()) else []
        return "\n".join(
            [self.headline, *votes, *cut, f"cost     {cost_line(self.cost)}"]
        )

    def __repr__(self) -> str:
        answer = printable(self.answer.text) if self.answer else None
        counts = f"samples={self.cost.samples}, tokens={self.cost.tokens}"
        error = f", error={printable(repr(self.error))}" if self.error else ""
        ended = f"ended_by={self.ended_by!r}{error}"
        return f"<Solution of {printable(self.question_id)}: answer={answer!r}, {counts}, {ended}>"

    def _repr_html_(self) -> str:
        """What `print` shows, for a notebook."""
        return f"<pre>{escape(str(self))}</pre>"


class Solutions(list[Solution]):
    """The solutions of many questions, in their order. A notebook shows the first ones as a table."""

    def to_pandas(self) -> "pd.DataFrame":
        """A data frame with a row for each solution: its id, answer, votes, end, and each part of its cost."""
        import pandas as pd

        return pd.DataFrame(
            {"question_id": solution.question_id, **solution.row()} for solution in self
        )

    def __repr__(self) -> str:
        shown = [repr(solution) for solution in self[:MAX_LISTED]]
        shown += [f"... {len(self) - MAX_LISTED:,} more"] * (len(self) > MAX_LISTED)
        return "[" + ",\n ".join(shown) + "]"

    def _repr_html_(self) -> str:
        """The first solutions as a table, for a notebook."""
        heads = ("question", "answer", "samples", "tokens", "ended by")
        rows = [
            (
                solution.question_id,
                solution.headline,
                f"{solution.cost.samples:,}",
                f"{solution.cost.tokens:,}",
                solution.ended_by,
            )
            for solution in self[:MAX_LISTED]
        ]
        table = [_html_row("th", heads), *(_html_row("td", row) for row in rows)]
        tokens = sum(solution.cost.tokens for solution in self)
        return (
            f"<table>{''.join(table)}</table>"
            f"<p>{len(rows):,} of {counted(len(self), 'solution')} shown; {tokens:,} tokens in all</p>"
        )


def _html_row(tag: str, cells: Iterable[str]) -> str:
    shown = (
        # Characters of a cell in the table of a notebook
        f"<{tag}>{escape(printable(cell, limit=80))}</{tag}>"
        for cell in cells
    )
    return f"<tr>{''.join(shown)}</tr>"
