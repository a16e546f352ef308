"""Early-stopping self-consistency: draw windows until one agrees."""

from dataclasses import dataclass
from typing import ClassVar

from reasoner import Answer, Question, SamplingParams, VoteState
from reasoner.specs import CheckedOptions, Count, Samples
from reasoner.strategy import (
    BudgetExhausted,
    Plan,
    Tally,
    count_votes,
    note_stop,
    propose,
    sample,
)
from reasoner_strategies._voting.pool import vote


@dataclass(frozen=True, slots=True)
class EarlyStopping(CheckedOptions):
    """ESC: a vote that ends with the first window that agrees (Li 2024, 2401.10480).

    Otherwise the majority of all samples decides. Windows of `window` samples are drawn one after the other, at most
    `n` samples. A window agrees if all its samples give one answer: with a single abstention, or cut sample, it does
    not. Its answer may differ from the majority so far. The rest of `n` after whole windows, which the paper drops, is
    drawn too and only joins the vote; so does a window that the budget cut short.
    """

    listed_under: ClassVar[str] = "Votes that stop early"
    uses_verifier: ClassVar[bool] = False

    n: Samples = 40
    window: Count = 5
    params: SamplingParams = SamplingParams()

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw window by window."""
        tally, vote_state, drawn = (
            Tally(question.space, max_samples=self.n),
            VoteState(),
            0,
        )
        while drawn < self.n:
            size = min(self.window, self.n - drawn)
            try:
                latest = yield from sample(question.prompt, n=size, params=self.params)
            except BudgetExhausted:
                break
            for index, completion in enumerate(latest, drawn):
                tally.add(question.read(completion), index=index)
            drawn += len(latest)
            vote_state = yield from count_votes(tally)
            agreed = yield from vote(question, latest)
            if len(agreed.votes) == 1 and agreed.votes[0].count == self.window:
                yield from propose(agreed.leader, vote_state)
                if drawn < self.n:
                    yield from note_stop(f"a window of {self.window} samples agrees")
                return agreed.leader
            yield from propose(vote_state.leader, vote_state)
            if len(latest) < size:
                break
        return vote_state.leader
