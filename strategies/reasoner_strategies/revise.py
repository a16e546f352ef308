"""Revise: chains of attempts; each attempt sees those before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Annotated, ClassVar

from reasoner import Answer, Completion, Prompt, Question, SamplingParams, VoteState
from reasoner.specs import CheckedOptions, Range, Samples
from reasoner.strategy import (
    MAX_CHAINS,
    BudgetExhausted,
    Handle,
    Plan,
    Sample,
    Tally,
    next_finished,
    start,
)
from reasoner_strategies._prompts import with_request, without_reply
from reasoner_strategies._voting.pool import (
    LaunchOrder,
    Selector,
    rated_choice,
    selects_by_rating,
)


@dataclass(frozen=True, slots=True)
class Revise(CheckedOptions):
    """`chains` chains: an attempt and `revisions` more each (sequential revision: Snell 2024, 2408.03314).

    A revision sees the last 4 attempts of its chain as earlier turns, of each the last 4,000 characters. The answer is
    selected from all chains * (revisions + 1) attempts: `selector` "weighted" takes the class of answers with the
    highest total rating, "argmax" the best rated attempt; "majority" takes the most frequent class and "last" the last
    attempt of the last chain that has one, without a verifier. What could not be rated has no vote; without any rating
    the majority decides. The paper trains a model to revise and selects within chains first; here the model is not
    trained, and there is one selection over all attempts.

    A chain continues as soon as its last attempt is there. The order of completion changes neither answer nor cost.
    """

    listed_under: ClassVar[str] = "Revision"

    chains: Annotated[Samples, Range(at_least=1, at_most=MAX_CHAINS)] = 4
    revisions: Annotated[Samples, Range(at_least=0)] = 3
    selector: Selector = "weighted"
    params: SamplingParams = SamplingParams()

    @property
    def uses_verifier(self) -> bool:
        """Only if it selects."""
        return selects_by_rating(self.selector)

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw all chains, propose the majority as it grows, rate the attempts with an answer, select."""
        attempts: list[list[Completion]] = [[] for _ in range(self.chains)]
        majority = yield from self._draw(question, attempts)
        pool = [
            attempt for turn in zip_longest(*attempts) for attempt in turn if attempt
        ]
        return (
            yield from rated_choice(question, pool, majority, selector=self.selector)
        )

    def _draw(
        self, question: Question, attempts: list[list[Completion]]
    ) -> Plan[VoteState]:
        """All attempts that the budget allows, the majority proposed after each, turn by turn."""
        running: dict[Handle, int] = {}
        votes = LaunchOrder(Tally(question.space))
        for chain in range(self.chains):
            first = Sample((question.prompt,), params=self.params, branch=chain)
            running[(yield from start(first, cancellable=False))] = chain
        while running:
            try:
                finished = yield from next_finished()
            except BudgetExhausted:
                break
            chain = running.pop(finished.handle)
            earlier = attempts[chain]
            earlier += finished.completions
            if len(earlier) <= self.revisions:
                again = Sample(
                    (revision(question, earlier),), params=self.params, branch=chain
                )
                running[
                    (yield from start(again, cancellable=False, at=finished.end))
                ] = chain
            yield from votes.add(
                question.read(earlier[-1]),
                index=(len(earlier) - 1) * self.chains + chain,
            )
        return (yield from votes.close())


def revision(question: Question, earlier: Sequence[Completion]) -> Prompt:
    """The question and the last attempts, each with a numbered request to revise, so that no two prompts are equal."""
    # The maximum of earlier attempts that a revision sees, as in the paper
    prompt, first = without_reply(question.prompt), max(0, len(earlier) - 4)
    for number, attempt in enumerate(earlier[first:], first + 1):
        request = (
            f"Attempt {number} may be wrong. Check it, and answer the question again in full, as attempt {number + 1}. "
            f"{question.space.instruction}"
        )
        prompt = with_request(prompt, attempt.chain, request)
    return prompt
