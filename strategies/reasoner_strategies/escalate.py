"""Escalation: cheap samples first, and more thinking only where they disagree."""

from dataclasses import dataclass, replace
from typing import ClassVar

from reasoner import Answer, Completion, Question, SamplingParams
from reasoner.specs import CheckedOptions, Samples
from reasoner.strategy import BudgetExhausted, Plan, Strategy, Tally, note_stop, sample
from reasoner.types import NO_THINKING, thinking_level
from reasoner_strategies._voting.gathering import Gathering
from reasoner_strategies._voting.pool import LaunchOrder, proposed, vote
from reasoner_strategies.single import Single


@dataclass(frozen=True, slots=True)
class Escalate(CheckedOptions):
    """`n` cheap samples; one that thinks where they disagree.

    The cheap samples are drawn at the thinking level `first`, by default without thinking. If all of them give one
    answer, that is it. Otherwise, also if one has no answer, `then` answers: a strategy with sampling options of its
    own, by default one sample with `params`. Its answer has one vote, and the cheap ones share less than one: they
    decide only where it has no answer. This is a cascade by agreement (Yue 2024, 2310.03094) between two levels of one
    model. The cheap samples of a model that does not think differ in nothing
    from the last one.
    """

    listed_under: ClassVar[str] = "Votes that stop early"

    n: Samples = 2
    first: str = NO_THINKING
    params: SamplingParams = SamplingParams()
    then: Strategy | None = None

    def complete(self) -> None:
        thinking_level(self.first, "first")

    @property
    def uses_verifier(self) -> bool:
        """Only if the strategy that answers after a disagreement does."""
        return self.then is not None and self.then.uses_verifier

    @property
    def free_form(self) -> bool:
        """Whether what answers after a disagreement can choose among replies that all differ."""
        return self.then is None or bool(getattr(self.then, "free_form", False))

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw the cheap samples, propose their vote, and think where it is not unanimous."""
        cheap: tuple[Completion, ...] = ()
        try:
            params = replace(self.params, thinking=thinking_level(self.first))
            cheap = yield from sample(question.prompt, n=self.n, params=params)
        except BudgetExhausted:
            return None
        vote_state = yield from proposed(vote(question, cheap))
        if len(vote_state.votes) == 1 and vote_state.cast == self.n:
            yield from note_stop(f"all {self.n} samples at thinking={self.first} agree")
            return vote_state.leader
        tally = Tally(question.space)
        for index, completion in enumerate(cheap):
            tally.add(question.read(completion), index=index, weight=1 / (self.n + 1))
        plan = (self.then or Single(self.params)).plan(question)
        gathering = Gathering(
            iter([(self.n, plan)]), question, 1, LaunchOrder(tally, self.n)
        )
        yield from gathering.run()
        return gathering.votes.vote_state.leader
