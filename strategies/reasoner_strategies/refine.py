"""Refine: an answer is reviewed and revised in turn; the last version is the answer, or the versions vote."""

from dataclasses import dataclass
from typing import Annotated, Literal

from reasoner.answers.questions import Question
from reasoner.errors import UsageError
from reasoner.specs import Checked, Range, Share
from reasoner.strategy import Plan, sample, score
from reasoner.types import Answer, Completion, Prompt, SamplingParams, VoteState
from reasoner_strategies._prompts import verdict, with_request, without_reply
from reasoner_strategies._voting.pool import RunningVote, proposed

SATISFIED = 0.9
Selector = Literal["last", "majority", "weighted"]
REVIEW = (
    "Review the answer above step by step: say what is wrong with it, if anything, and how to mend it. End with a line "
    'that says "Verdict: correct" or "Verdict: wrong".'
)
MEND = "Answer the question again in full, mending what the review found."
RETHINK = "That answer may be wrong. Check it, and answer the question again in full."


@dataclass(frozen=True, slots=True)
class Refine(Checked):
    """A sample that is revised up to `rounds` times (Self-Refine: Madaan 2023, 2303.17651).

    `critic` "self" asks the model for a review that ends in a verdict, and shows it that review when it revises; a
    review without a verdict counts as "wrong". "verifier" has each version rated by the run's verifier, and revises
    without a review. It ends early at a version with an answer that the review finds correct, or that is rated
    `satisfied` (0 to 1) or above; a version that could not be rated is revised. `rounds=0` is one sample, neither
    reviewed nor rated.

    `selector` chooses among the versions. "last" takes the last one with an answer, as in the paper; "weighted" the
    class of answers with the highest total rating, or the majority if nothing was rated; "majority" the most frequent
    class, the earliest at a tie. The default is "last" after a self-review and "weighted" with a verifier: models often
    revise right answers to wrong ones, and ratings can tell. In the vote state of "last" a version weighs its number in
    the sequence, and a class as much as the latest of its versions.

    `params` draw versions and reviews; of each text the last 4,000 characters are shown again.
    """

    rounds: Annotated[int, Range(at_least=0)] = 3
    critic: Literal["self", "verifier"] = "verifier"
    satisfied: Share = SATISFIED
    params: SamplingParams = SamplingParams()
    selector: Selector | None = None

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.critic == "self" and self.satisfied != SATISFIED:
            raise UsageError(
                f"satisfied={self.satisfied} has no effect with critic=self, which gives no rating: choose verifier"
            )
        if self.selector == "weighted" and self.critic == "self":
            raise UsageError("selector=weighted has no ratings to go by with critic=self: choose last or majority")

    @property
    def uses_verifier(self) -> bool:
        """Only if it is the critic."""
        return self.critic == "verifier"

    @property
    def free_form(self) -> bool:
        """Unless the most frequent answer is chosen."""
        return self.selector != "majority"

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw; then review and revise until the critic is satisfied or no round is left."""
        selector = self.selector or ("weighted" if self.critic == "verifier" else "last")
        votes = RunningVote(question.space, by="max" if selector == "last" else "sum")
        prompt, vote_state = question.prompt, VoteState()
        for index in range(self.rounds + 1):
            [version] = yield from sample(prompt, params=self.params)
            answer, rating = question.read(version), None
            votes.count(answer, order=index)
            if answer and selector == "last":
                votes.rate(answer, index + 1, order=index)
            vote_state = yield from proposed(votes.vote_state())
            if answer and self.uses_verifier and self.rounds:
                [rated] = yield from score(question, (version,))
                rating = rated.value
                if selector == "weighted":
                    votes.rate(answer, rating, order=index)
                    vote_state = yield from proposed(votes.vote_state())
            following = (yield from self._revision(question, version, rating)) if index < self.rounds else None
            if following is None:
                break
            prompt = following
        return vote_state.leader

    def _revision(self, question: Question, version: Completion, rating: float | None) -> Plan[Prompt | None]:
        """The prompt for the next version; None if the critic is satisfied with this one."""
        form = question.space.instruction
        if self.critic == "verifier":
            satisfied = rating is not None and rating >= self.satisfied
            rethink = f"{RETHINK} {form}".rstrip()
            return None if satisfied else with_request(without_reply(question.prompt), version.chain, rethink)
        review_prompt = with_request(without_reply(question.prompt), version.chain, REVIEW)
        [review] = yield from sample(review_prompt, params=self.params, answers=False)
        if verdict(review, "verdict", ("correct", "wrong")) == "correct" and question.read(version):
            return None
        return with_request(review_prompt, review.text, f"{MEND} {form}".rstrip())
