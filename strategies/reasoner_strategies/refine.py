"""Refine: an answer is reviewed and revised in turn; the last version is the answer, or the best rated class."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from reasoner import Answer, Completion, Prompt, Question, SamplingParams, VoteState
from reasoner.specs import CheckedOptions, Range, Share
from reasoner.strategy import Plan, sample, score
from reasoner_strategies._prompts import verdict, with_request, without_reply
from reasoner_strategies._voting.pool import RunningVote, proposed

REVIEW = (
    "Review the answer above step by step: say what is wrong with it, if anything, and how to mend it. End with a line "
    'that says "Verdict: correct" or "Verdict: wrong".'
)
MEND = "Answer the question again in full, mending what the review found."
RETHINK = "That answer may be wrong. Check it, and answer the question again in full."


@dataclass(frozen=True, slots=True)
class Refine(CheckedOptions):
    """A sample that is revised up to `rounds` times (Self-Refine: Madaan 2023, 2303.17651).

    `critic` "self" asks the model for a review that ends in a verdict, and shows it that review when it revises; a
    review without a verdict counts as "wrong". "verifier" has each version rated by the run's verifier, and revises
    without a review. It ends early at a version with an answer that the review finds correct, or that is rated
    `satisfied` (0 to 1) or above; a version that could not be rated is revised. `rounds=0` is one sample, neither
    reviewed nor rated.

    With "self" the last version that has an answer decides, as in the paper; in the vote state a version weighs its
    number in the sequence, and a class as much as the latest of its versions. With "verifier" it is the class of
    answers with the highest total rating, or the majority if nothing was rated: models often revise right answers to
    wrong ones, and ratings can tell.

    `params` draw versions and reviews; of each text the last 4,000 characters are shown again.
    `self_consistency:of=refine` votes over chains of versions (sequential revision: Snell 2024, 2408.03314).
    """

    listed_under: ClassVar[str] = "Revision"

    free_form: ClassVar[bool] = True

    rounds: Annotated[int, Range(at_least=0)] = 3
    critic: Literal["self", "verifier"] = "verifier"
    satisfied: Share = 0.9
    params: SamplingParams = SamplingParams()

    @property
    def uses_verifier(self) -> bool:
        """Only if it is the critic."""
        return self.critic == "verifier"

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw; then review and revise until the critic is satisfied or no round is left."""
        votes = RunningVote(
            question.space, "weighted" if self.uses_verifier else "last"
        )
        prompt, vote_state = question.prompt, VoteState()
        for index in range(self.rounds + 1):
            [version] = yield from sample(prompt, params=self.params)
            answer, rating = question.read(version), None
            votes.count(answer, order=index)
            if answer and not self.uses_verifier:
                votes.rate(answer, 0.0, order=index)
            vote_state = yield from proposed(votes.vote_state())
            if answer and self.uses_verifier and self.rounds:
                [rated] = yield from score(question, (version,))
                rating = rated.value
                votes.rate(answer, rating, order=index)
                vote_state = yield from proposed(votes.vote_state())
            following = (
                (yield from self._revision(question, version, rating))
                if index < self.rounds
                else None
            )
            if following is None:
                break
            prompt = following
        return vote_state.leader

    def _revision(
        self, question: Question, version: Completion, rating: float | None
    ) -> Plan[Prompt | None]:
        """The prompt for the next version; None if the critic is satisfied with this one."""
        form = question.space.instruction
        if self.critic == "verifier":
            satisfied = rating is not None and rating >= self.satisfied
            rethink = f"{RETHINK} {form}".rstrip()
            return (
                None
                if satisfied
                else with_request(
                    without_reply(question.prompt), version.chain, rethink
                )
            )
        review_prompt = with_request(
            without_reply(question.prompt), version.chain, REVIEW
        )
        [review] = yield from sample(review_prompt, params=self.params, answers=False)
        if verdict(
            review, "verdict", ("correct", "wrong")
        ) == "correct" and question.read(version):
            return None
        return with_request(review_prompt, review.text, f"{MEND} {form}".rstrip())
