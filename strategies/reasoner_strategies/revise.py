"""Revise: chains of attempts, each of which sees those before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reasoner.errors import BudgetExhausted, require, require_choice
from reasoner.plan import MOST_CHAINS, Handle, Plan, Sample, count, next_finished, propose, start
from reasoner.types import Answer, Completion, Prompt, Question, SamplingParams, Standing
from reasoner.votes import Tally
from reasoner_strategies._prompts import answered, bare
from reasoner_strategies._voting.pool import rated_vote, ratings_of

SEEN = 4
"""How many earlier attempts a revision sees at most, as in the paper."""


@dataclass(frozen=True, slots=True)
class Revise:
    """`chains` chains side by side, each an attempt and `revisions` more (sequential revision: Snell 2024, 2408.03314).

    A revision sees the last 4 attempts of its chain as earlier turns, of each the last 4,000 characters. All
    chains * (revisions + 1) attempts stand for selection: `selector` "weighted" takes the class of answers with the
    highest total rating, "argmax" the best rated attempt, "majority" the most frequent class and asks no verifier. What
    could not be rated drops out; without any rating the majority decides. The paper trains a model to revise and
    selects within chains first; here the model is as it is, and one selection is over all.

    A chain goes on as soon as its last attempt is there. The order of completion changes neither answer nor cost.
    """

    chains: int = 4
    revisions: int = 3
    selector: Literal["majority", "weighted", "argmax"] = "weighted"
    params: SamplingParams = SamplingParams()

    def __post_init__(self) -> None:
        require(self.chains, "chains", at_least=1, at_most=MOST_CHAINS)
        require(self.revisions, "revisions", at_least=0)
        require_choice(self.selector, "selector", ("majority", "weighted", "argmax"))

    @property
    def uses_verifier(self) -> bool:
        """Only where it selects."""
        return self.selector != "majority"

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw all chains, propose the majority as it grows, rate what holds an answer, select."""
        attempts: list[list[Completion]] = [[] for _ in range(self.chains)]
        majority = yield from self._draw(question, attempts)
        if not self.uses_verifier:
            return majority.leader
        drawn = in_order(attempts)
        ratings = yield from ratings_of(question, drawn)
        if all(rating is None for rating in ratings):
            return majority.leader
        chosen = yield from rated_vote(question, drawn, ratings, by="max" if self.selector == "argmax" else "sum")
        yield from propose(chosen.leader, chosen)
        return chosen.leader

    def _draw(self, question: Question, attempts: list[list[Completion]]) -> Plan[Standing]:
        """All attempts that the budget allows, the majority proposed after each."""
        running: dict[Handle, int] = {}
        majority, tally = Standing(), Tally(question.space)
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
                prompt = revision(question, earlier)
                again = Sample((prompt,), params=self.params, branch=chain)
                running[(yield from start(again, cancellable=False))] = chain
            for turn, attempt in enumerate(finished.completions, len(earlier) - len(finished.completions)):
                tally.add(question.read(attempt), index=turn * self.chains + chain)
            majority = yield from count(tally)
            yield from propose(majority.leader, majority)
        return majority


def revision(question: Question, earlier: Sequence[Completion]) -> Prompt:
    """The question, the last attempts and what each was answered; it numbers them, so no two turns are one prompt."""
    prompt, first = bare(question.prompt), max(0, len(earlier) - SEEN)
    for number, attempt in enumerate(earlier[first:], first + 1):
        request = (
            f"Attempt {number} may be wrong. Check it, and answer the question again in full, as attempt {number + 1}. "
            f"{question.space.instruction}"
        )
        prompt = answered(prompt, attempt.chain, request)
    return prompt


def in_order(attempts: Sequence[Sequence[Completion]]) -> list[Completion]:
    """The attempts of all chains, first attempts first, whichever was there first."""
    turns = max(map(len, attempts), default=0)
    return [chain[turn] for turn in range(turns) for chain in attempts if len(chain) > turn]
