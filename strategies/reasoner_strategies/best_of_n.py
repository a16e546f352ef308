"""Best-of-N: draw many chains, let a verifier choose."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reasoner.budget import Cost
from reasoner.errors import BudgetExhausted, UsageError, require_choice
from reasoner.plan import Plan, Sample, check_n, count, propose, sample, score, stopped
from reasoner.protocols import StopRule, Strategy
from reasoner.together import Outcome, together
from reasoner.types import Answer, Completion, Question, Rating, SamplingParams
from reasoner.votes import Tally
from reasoner_strategies._search.ordered_sampling import LaunchOrder
from reasoner_strategies._voting.pool import rated_vote, ratings_of, vote
from reasoner_strategies._voting.running_vote import RunningVote
from reasoner_strategies._voting.stopping_vote import WINDOW, check_stop, cost_of

PARAMS = SamplingParams(temperature=0.8)


@dataclass(frozen=True, slots=True)
class BestOfN:
    """The best rated of `n` samples, or the class of answers with the highest total rating.

    `selector` "argmax" takes the answer of the best rated sample (Cobbe 2021, 2110.14168); "weighted" sums the ratings
    of each class of answers (Li 2022, 2206.02336). A sample that could not be rated drops out of the selection and
    stays in the cost. Without any rating (a single sample, a failing verifier, no budget left) the majority decides.

    With `stop`, at most `n` are drawn: they are looked at in launch order, `window` in flight at a time, and rated one
    after the other, until the rule says of the ratings so far that it is enough.

    With `of`, candidates are the outcomes of `n` runs of that strategy, side by side, each rated by the sequence that
    its answer comes from.
    """

    n: int = 16
    selector: Literal["argmax", "weighted"] = "argmax"
    params: SamplingParams = PARAMS
    of: Strategy | None = None
    stop: StopRule | None = None
    window: int = WINDOW

    def __post_init__(self) -> None:
        check_n(self.n)
        require_choice(self.selector, "selector", ("argmax", "weighted"))
        if self.of is not None and self.params != PARAMS:
            raise UsageError("with `of`, how sequences are drawn is an option of that strategy: set it there")
        check_stop(self.stop, self.window, self.of)

    @property
    def uses_verifier(self) -> bool:
        """It does."""
        return True

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, propose the majority, rate those that hold an answer, select."""
        if self.stop is not None:
            return (yield from self._until(self.stop, question))
        if self.of is None:
            drawn: Sequence[Completion | None] = yield from sample(question.prompt, n=self.n, params=self.params)
        else:
            drawn = yield from outcomes(self.of, self.n, question)
        majority = yield from vote(question, drawn)
        yield from propose(majority.leader, majority)
        ratings = yield from ratings_of(question, drawn)
        if all(rating is None for rating in ratings):
            return majority.leader
        chosen = yield from rated_vote(question, drawn, ratings, by=self._by)
        yield from propose(chosen.leader, chosen)
        return chosen.leader

    @property
    def _by(self) -> Literal["max", "sum"]:
        return "max" if self.selector == "argmax" else "sum"

    def _until(self, stop: StopRule, question: Question) -> Plan[Answer | None]:
        samples = LaunchOrder(Sample((question.prompt,), params=self.params), self.n, self.window)
        votes, cost, answer = RunningVote(question.space, by=self._by), Cost(), None
        while (completion := (yield from samples.take())) is not None:
            place, found = votes.seen, question.read(completion)
            votes.look(found, order=place)
            rating = (yield from rating_of(question, completion)) if found else None
            if found and rating:
                votes.rate(found, rating.value, order=place)
            cost += cost_of(completion) + (rating.cost if rating else Cost())
            chosen = replace((yield from votes.standing()), most=self.n)
            answer = chosen.leader
            yield from propose(answer, chosen)
            if votes.seen < self.n and (reason := stop.stop(chosen, cost)):
                yield from samples.cancel()
                yield from stopped(reason)
                break
        return answer


def rating_of(question: Question, completion: Completion) -> Plan[Rating | None]:
    """What the verifier says of one sequence; None where that was refused."""
    try:
        [rating] = yield from score(question, (completion,))
    except BudgetExhausted:
        return None
    return rating


def outcomes(of: Strategy, n: int, question: Question) -> Plan[list[Completion | None]]:
    """The sequence that each of `n` runs of a strategy has its answer from; the majority is proposed meanwhile."""
    found: dict[int, Completion | None] = {}
    tally = Tally(question.space)

    def told(place: int, outcome: Outcome) -> Plan[None]:
        found[place] = outcome.evidence
        tally.add(question.read(outcome.evidence) if outcome.evidence else None, index=place)
        standing = yield from count(tally)
        yield from propose(standing.leader, standing)

    yield from together((of.plan(question) for _ in range(n)), question, told, among=n)
    return [found[at] for at in sorted(found)]
