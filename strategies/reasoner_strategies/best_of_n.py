"""Best-of-N: draw many chains, let a verifier choose."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from reasoner.answers.questions import Question
from reasoner.budget import Cost
from reasoner.errors import BudgetExhausted, UsageError, require_choice
from reasoner.specs import Samples
from reasoner.strategy import (
    Outcome,
    Plan,
    Sample,
    StopRule,
    Strategy,
    check_n,
    count_votes,
    gather,
    note_stop,
    propose,
    sample,
    score,
)
from reasoner.types import Answer, Completion, Rating, SamplingParams
from reasoner.voting import Tally
from reasoner_strategies._voting.pool import RunningVote, proposed, rated_choice, vote
from reasoner_strategies._voting.stopping_vote import WINDOW, OrderedSampling, check_stop, cost_of


@dataclass(frozen=True, slots=True)
class BestOfN:
    """The best rated of `n` samples, or the class of answers with the highest total rating.

    `selector` "argmax" takes the answer of the best rated sample (Cobbe 2021, 2110.14168); "weighted" sums the ratings
    of each class of answers (Li 2022, 2206.02336). A sample that could not be rated drops out of the selection and
    stays in the cost. Without any rating (a single sample, a failing verifier, no budget left) the majority decides.

    With `stop`, at most `n` are drawn: they are counted in launch order, `window` in flight at a time, and rated one
    after the other, until the rule stops the vote.

    With `of`, candidates are the outcomes of `n` runs of that strategy, side by side, each rated by the sequence that
    its answer comes from.
    """

    sampling: ClassVar[SamplingParams] = SamplingParams(temperature=0.8)

    n: Samples = 16
    selector: Literal["argmax", "weighted"] = "argmax"
    params: SamplingParams = SamplingParams()
    of: Strategy | None = None
    stop: StopRule | None = None
    window: int = WINDOW

    def __post_init__(self) -> None:
        check_n(self.n)
        require_choice(self.selector, "selector", ("argmax", "weighted"))
        if self.of is not None and self.params != SamplingParams():
            raise UsageError("with `of`, sampling options belong to that strategy: set them there")
        check_stop(self.stop, self.window, self.of)

    @property
    def uses_verifier(self) -> bool:
        """Always."""
        return True

    @property
    def free_form(self) -> bool:
        """Whether it takes the best reply, rather than the class of answers with the highest total."""
        return self.selector == "argmax" and (self.of is None or bool(getattr(self.of, "free_form", False)))

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, propose the majority, rate those that hold an answer, select."""
        if self.stop is not None:
            return (yield from self._until(self.stop, question))
        if self.of is None:
            drawn: Sequence[Completion | None] = yield from sample(question.prompt, n=self.n, params=self.params)
        else:
            drawn = yield from outcomes(self.of, self.n, question)
        majority = yield from proposed(vote(question, drawn))
        return (yield from rated_choice(question, drawn, majority, by=self._by))

    @property
    def _by(self) -> Literal["max", "sum"]:
        return "max" if self.selector == "argmax" else "sum"

    def _until(self, stop: StopRule, question: Question) -> Plan[Answer | None]:
        samples = OrderedSampling(Sample((question.prompt,), params=self.params), self.n, self.window)
        votes, cost, answer = RunningVote(question.space, by=self._by), Cost(), None
        while (completion := (yield from samples.take())) is not None:
            index, read = votes.seen, question.read(completion)
            votes.count(read, order=index)
            rating = (yield from rating_of(question, completion)) if read else None
            if read and rating:
                votes.rate(read, rating.value, order=index)
            cost += cost_of(completion) + (rating.cost if rating else Cost())
            vote_state = replace((yield from votes.vote_state()), max_samples=self.n)
            answer = vote_state.leader
            yield from propose(answer, vote_state)
            if votes.seen < self.n and (reason := stop.stop(vote_state, cost)):
                yield from samples.cancel()
                yield from note_stop(reason)
                break
        return answer


def rating_of(question: Question, completion: Completion) -> Plan[Rating | None]:
    """The verifier's rating of one sequence; None if the budget refused it."""
    try:
        [rating] = yield from score(question, (completion,))
    except BudgetExhausted:
        return None
    return rating


def outcomes(of: Strategy, n: int, question: Question) -> Plan[list[Completion | None]]:
    """The sequence behind the answer of each of `n` runs of a strategy; the majority is proposed as they end."""
    evidence: dict[int, Completion | None] = {}
    tally = Tally(question.space)

    def ended(index: int, outcome: Outcome) -> Plan[None]:
        evidence[index] = outcome.evidence
        tally.add(question.read(outcome.evidence) if outcome.evidence else None, index=index)
        yield from proposed(count_votes(tally))

    yield from gather((of.plan(question) for _ in range(n)), question, ended, among=n)
    return [evidence[index] for index in sorted(evidence)]
