"""Refine: an answer is reviewed and revised in turn, and all versions stand for selection."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reasoner.errors import UsageError
from reasoner.plan import Plan, propose, sample, score
from reasoner.types import Answer, Completion, Prompt, Question, SamplingParams, Standing
from reasoner_strategies.pool import rated_vote
from reasoner_strategies.prompting import answered, bare, verdict

SATISFIED = 0.9
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

    Not the last version is the answer: models revise right answers to wrong ones. With ratings the class of answers
    with the highest total rating wins, else the majority of versions, the earliest at a tie, so a self-review changes
    an answer only where two versions agree. `params` draw versions and reviews; of each text the last 4,000 characters
    are shown again.
    """

    rounds: int = 3
    critic: Literal["self", "verifier"] = "verifier"
    satisfied: float = SATISFIED
    params: SamplingParams = SamplingParams()

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise UsageError(f"rounds={self.rounds} is out of range: rounds is 0 (no revision) or more")
        if self.critic not in ("self", "verifier"):
            raise UsageError(f"critic={self.critic!r} does not exist: choose self or verifier")
        if not 0 <= self.satisfied <= 1:
            raise UsageError(f"satisfied={self.satisfied} is out of range: a rating is 0 to 1")
        if self.critic == "self" and self.satisfied != SATISFIED:
            raise UsageError(
                f"satisfied={self.satisfied} has no effect with critic=self, which gives no rating: choose verifier"
            )

    @property
    def uses_verifier(self) -> bool:
        """Only where it is the critic."""
        return self.critic == "verifier"

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw; then review and revise until the critic is content or no round is left."""
        versions: list[Completion] = []
        ratings: list[float | None] = []
        prompt = question.prompt
        while True:
            versions += yield from sample(prompt, params=self.params)
            ratings.append(None)
            standing = yield from proposed(question, versions, ratings)
            if self.uses_verifier and self.rounds:
                ratings[-1] = yield from rating_of(question, versions[-1])
                standing = yield from proposed(question, versions, ratings)
            if len(versions) > self.rounds:
                break
            following = yield from self._revision(question, versions[-1], ratings[-1])
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


def rating_of(question: Question, version: Completion) -> Plan[float | None]:
    """What the verifier says of a version; None where it holds no answer, or could not be rated."""
    if question.read(version) is None:
        return None
    [rating] = yield from score(question, (version,))
    return rating.value


def proposed(question: Question, versions: Sequence[Completion], ratings: Sequence[float | None]) -> Plan[Standing]:
    """The standing of all versions so far, which is published."""
    standing = yield from rated_vote(question, versions, ratings)
    yield from propose(standing.leader, standing)
    return standing
