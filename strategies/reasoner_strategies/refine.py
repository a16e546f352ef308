"""Refine: an answer is reviewed and revised in turn; the last version is the answer, or the versions vote."""

from dataclasses import dataclass
from typing import Literal, get_args

from reasoner.errors import UsageError, require, require_choice
from reasoner.plan import Plan, propose, sample, score
from reasoner.types import Answer, Completion, Prompt, Question, SamplingParams, Standing
from reasoner_strategies._prompts import answered, bare, verdict
from reasoner_strategies._voting.running_vote import RunningVote

SATISFIED = 0.9
Selector = Literal["last", "majority", "weighted"]
REVIEW = (
    "Review the answer above step by step: say what is wrong with it, if anything, and how to mend it. End with a line "
    'that says "Verdict: correct" or "Verdict: wrong".'
)
MEND = "Answer the question again in full, mending what the review found."
RETHINK = "That answer may be wrong. Check it, and answer the question again in full."


@dataclass(frozen=True, slots=True)
class Refine:
    """A sample that is revised up to `rounds` times (Self-Refine: Madaan 2023, 2303.17651).

    `critic` "self" asks the model for a review that ends in a verdict, and shows it that review when it revises; a
    review without a verdict finds fault. "verifier" has each version rated by the run's verifier, and revises without
    a review. It ends early at a version that holds an answer and is found correct, or rated `satisfied` (0 to 1) or
    above; a version that could not be rated is revised. `rounds=0` is one sample, neither reviewed nor rated.

    `selector` decides among the versions. "last" takes the last one that holds an answer, as in the paper; "weighted"
    the class of answers with the highest total rating, and the majority where nothing was rated; "majority" the most
    frequent class, the earliest at a tie. Without it, "last" follows a self-review and "weighted" a verifier: models
    often revise right answers to wrong ones, and ratings can tell. In the standing of "last" a version weighs its place
    in the sequence, and a class as much as the latest of its versions.

    `params` draw versions and reviews; of each text the last 4,000 characters are shown again.
    """

    rounds: int = 3
    critic: Literal["self", "verifier"] = "verifier"
    satisfied: float = SATISFIED
    params: SamplingParams = SamplingParams()
    selector: Selector | None = None

    def __post_init__(self) -> None:
        require(self.rounds, "rounds", at_least=0)
        require_choice(self.critic, "critic", ("self", "verifier"))
        require(self.satisfied, "satisfied", at_least=0, at_most=1)
        if self.critic == "self" and self.satisfied != SATISFIED:
            raise UsageError(
                f"satisfied={self.satisfied} has no effect with critic=self, which gives no rating: choose verifier"
            )
        if self.selector is not None:
            require_choice(self.selector, "selector", get_args(Selector))
        if self.selector == "weighted" and self.critic == "self":
            raise UsageError("selector=weighted has no ratings to go by with critic=self: choose last or majority")

    @property
    def uses_verifier(self) -> bool:
        """Only where it is the critic."""
        return self.critic == "verifier"

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw; then review and revise until the critic is content or no round is left."""
        selector = self.selector or ("weighted" if self.critic == "verifier" else "last")
        votes = RunningVote(question.space, by="max" if selector == "last" else "sum")
        prompt, standing = question.prompt, Standing()
        for place in range(self.rounds + 1):
            [version] = yield from sample(prompt, params=self.params)
            answer, rating = question.read(version), None
            votes.look(answer, order=place)
            if answer and selector == "last":
                votes.rate(answer, place + 1, order=place)
            standing = yield from votes.standing()
            yield from propose(standing.leader, standing)
            if answer and self.uses_verifier and self.rounds:
                [rated] = yield from score(question, (version,))
                rating = rated.value
                if selector == "weighted":
                    votes.rate(answer, rating, order=place)
                    standing = yield from votes.standing()
                    yield from propose(standing.leader, standing)
            following = (yield from self._revision(question, version, rating)) if place < self.rounds else None
            if following is None:
                break
            prompt = following
        return standing.leader

    def _revision(self, question: Question, version: Completion, rating: float | None) -> Plan[Prompt | None]:
        """The prompt for the next version; None where the critic is content with this one."""
        form = question.space.instruction
        if self.critic == "verifier":
            content = rating is not None and rating >= self.satisfied
            return None if content else answered(bare(question.prompt), version.chain, f"{RETHINK} {form}")
        asked = answered(bare(question.prompt), version.chain, REVIEW)
        [review] = yield from sample(asked, params=self.params)
        if verdict(review, "verdict", ("correct", "wrong")) == "correct" and question.read(version):
            return None
        return answered(asked, review.text, f"{MEND} {form}")
