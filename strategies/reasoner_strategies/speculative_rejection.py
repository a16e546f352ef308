"""Speculative rejection: best-of-N that drops the least promising chains while they are drawn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from reasoner import Answer, Question, SamplingParams, VoteState
from reasoner.specs import CheckedOptions, Length, Range, Samples
from reasoner.strategy import MAX_CHAINS, BudgetExhausted, Plan, score
from reasoner_strategies._search.step_search import rank
from reasoner_strategies._search.steps import Path, StepOptions, advance
from reasoner_strategies._voting.pool import Selector, proposed, rated_vote


@dataclass(frozen=True, slots=True)
class SpeculativeRejection(CheckedOptions):
    """Best-of-N that drops the worst chains as they grow (Sun 2024, 2410.20290).

    `n` chains begin; at each checkpoint, every `every` tokens, the number to keep falls to the share 1 - `alpha` of it,
    rounded up, or, with `keep` "ranked", to that share of the chains that it ranks, rounded, as in the published code,
    but at least one. There the verifier rates the partial chains, all at the same number of tokens. Chains that
    finished with an answer keep their rating and take part in this ranking, and none of them is dropped, as it is paid.
    What could not be rated comes last, in launch order. `selector` chooses as in best-of-N, among the finished. `alpha`
    0 is best-of-N. A chain that is still in its thinking is neither rated nor dropped, and checkpoints begin when the
    first one has ended it.

    The verifier must be able to rate a partial chain, such as a process reward model. The paper begins with as many
    chains as fit in memory; here it is `n`.
    """

    listed_under: ClassVar[str] = "Choice among samples"
    uses_verifier: ClassVar[bool] = True
    sampling: ClassVar[SamplingParams] = SamplingParams(temperature=0.8)

    n: Annotated[Samples, Range(at_least=1, at_most=MAX_CHAINS)] = 16
    alpha: Annotated[float, Range(at_least=0, below=1)] = 0.5
    every: Annotated[Length, Range(at_least=1)] = 128
    selector: Selector = "argmax"
    params: SamplingParams = SamplingParams()
    keep: Literal["schedule", "ranked"] = "schedule"

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Advance, propose, reject; at the end choose among the finished."""
        limit = self.params.limit
        stepping = StepOptions(
            step="", step_tokens=self.every, max_steps=limit + 1, params=self.params
        )
        chains, keep, ended = (
            [Path(question.prompt, order=index) for index in range(self.n)],
            self.n,
            0,
        )
        vote_state, ranked = VoteState(), set(range(self.n))
        while any(chain.open for chain in chains):
            try:
                chains = yield from advance(stepping, chains)
            except BudgetExhausted:
                chains = [
                    replace(chain, cut=True) if chain.open else chain
                    for chain in chains
                ]
            if ended != (ended := len(_ended(chains))):
                vote_state = yield from proposed(self._vote_state(question, chains))
            if any(chain.open and not _thinks(chain) for chain in chains):
                left = [
                    chain.order
                    for chain in _contenders(question, chains)
                    if chain.order in ranked
                ]
                keep = (
                    # As in the published code, which may keep none
                    max(1, round((1.0 - self.alpha) * len(left)))
                    if self.keep == "ranked"
                    else scheduled(keep, self.alpha)
                )
                if len(left) > keep:
                    chains = yield from _rated(question, chains)
                    best = [
                        chain.order
                        for chain in sorted(chains, key=rank)
                        if chain.order in left
                    ][:keep]
                    chains = [
                        replace(chain, cut=True)
                        if chain.open and not _thinks(chain) and chain.order not in best
                        else chain
                        for chain in chains
                    ]
                    ranked = set(best) if self.keep == "ranked" else ranked
        if len(_contenders(question, chains)) < 2:
            return vote_state.leader
        chains = yield from _rated(question, chains)
        return (yield from proposed(self._vote_state(question, chains))).leader

    def _vote_state(
        self, question: Question, chains: Sequence[Path]
    ) -> Plan[VoteState]:
        """The vote of the finished chains; those that were cut or rejected abstain."""
        ended = _ended(chains)
        ratings = [chain.value if chain.finished else None for chain in ended]
        return (
            yield from rated_vote(
                question,
                [chain.last for chain in ended],
                ratings,
                selector=self.selector,
            )
        )


def scheduled(before: int, alpha: float) -> int:
    """How many to keep after a checkpoint, of those kept before it."""
    return max(1, math.ceil((1 - alpha) * before - 1e-9))


def _ended(chains: Sequence[Path]) -> list[Path]:
    """The drawn chains that have ended, in launch order."""
    return [chain for chain in chains if chain.last and not chain.open]


def _contenders(question: Question, chains: Sequence[Path]) -> list[Path]:
    """The chains that may still give the answer: open, or finished with one."""
    return [chain for chain in chains if chain.open or chain.answer(question)]


def _thinks(chain: Path) -> bool:
    """Whether a chain is still in its thinking, so that there is nothing to rate."""
    return chain.last is not None and chain.last.unclosed


def _rated(question: Question, chains: Sequence[Path]) -> Plan[list[Path]]:
    """All chains; of the contenders those without a rating are rated, if the verifier can."""
    unrated = [
        chain
        for chain in _contenders(question, chains)
        if chain.value is None and not _thinks(chain)
    ]
    candidates = {chain.order: chain.last for chain in unrated if chain.last}
    if not candidates:
        return list(chains)
    try:
        ratings = yield from score(question, tuple(candidates.values()))
    except BudgetExhausted:
        return list(chains)
    values = dict(zip(candidates, (rating.value for rating in ratings), strict=True))
    return [
        replace(chain, value=values[chain.order]) if chain.order in values else chain
        for chain in chains
    ]
