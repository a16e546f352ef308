"""Chains that grow side by side in rounds, and are asked for their answers between them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from reasoner import Answer, Question, SamplingParams, VoteState
from reasoner.strategy import (
    BudgetExhausted,
    Plan,
    Probe,
    Tally,
    count_votes,
    note,
    propose,
)
from reasoner.types import Extraction
from reasoner_strategies._search.steps import Path, StepOptions, advance


@dataclass(slots=True)
class ProbedChains:
    """The chains of a question, and the latest answer of each that votes: None if it has none that can be read."""

    question: Question
    params: SamplingParams
    every: int
    paths: list[Path]
    answers: dict[int, Answer | None] = field(default_factory=dict)
    vote_state: VoteState = field(default_factory=VoteState)
    """What was proposed last."""
    launched: int = 0
    asked: bool = False

    def advance(self, window: int) -> Plan[list[Path]]:
        """Those that grew in a round of at most `window` chains. Where the budget admits none, all end."""
        self.launched = min(
            len(self.paths),
            self.launched
            + window
            - sum(path.open for path in self.paths[: self.launched]),
        )
        before, limit = self.paths[: self.launched], self.params.limit
        stepping = StepOptions(
            step="", step_tokens=self.every, max_steps=limit + 1, params=self.params
        )
        try:
            after = yield from advance(stepping, before)
        except BudgetExhausted:
            self.paths = [
                replace(path, cut=True) if path.open else path for path in self.paths
            ]
            return []
        self.paths[: self.launched] = after
        grown = [
            new
            for old, new in zip(before, after, strict=True)
            if new.last is not old.last
        ]
        self.answers |= {
            path.order: path.answer(self.question) for path in grown if path.finished
        }
        return grown

    def probe(self, paths: Sequence[Path]) -> Plan[None]:
        """Ask those that have not finished for their answers."""
        chains = {
            path.order: path.last for path in paths if path.last and not path.finished
        }
        known = {
            at: chain.extraction for at, chain in chains.items() if chain.extraction
        }
        if unknown := {at: chain for at, chain in chains.items() if at not in known}:
            extractions: tuple[Extraction | None, ...] = yield Probe(
                tuple(unknown.values()), self.params
            )
            known |= {
                at: each for at, each in zip(unknown, extractions, strict=True) if each
            }
            if not (known or self.asked):
                yield from note("no chain could be probed: only chains that ended vote")
            self.asked = True
        self.answers |= {at: extraction.answer for at, extraction in known.items()}

    def majority(self) -> Plan[tuple[Tally, Answer | None]]:
        """The answer that most chains have, as it is proposed; None if more of them have none that can be read."""
        orders = sorted(self.answers)
        tally = yield from self.vote(orders)
        yield from self.publish(
            tally, samples=sum(path.last is not None for path in self.paths)
        )
        leader = self.vote_state.leader
        silent = [at for at in orders if self.answers[at] is None]
        led = [at for at in orders if leader and same(tally, self.answers[at], leader)]
        return tally, leader if led and (len(led), -led[0]) > (
            len(silent),
            -min(silent, default=0),
        ) else None

    def vote(self, orders: Sequence[int]) -> Plan[Tally]:
        """The votes of these chains; at a tie the earlier ones win."""
        tally = Tally(self.question.space, max_samples=len(self.paths))
        for index, order in enumerate(orders):
            tally.add(self.answers[order], index=index)
        yield from count_votes(tally)
        return tally

    def publish(self, tally: Tally, *, samples: int) -> Plan[None]:
        """Propose the leader of the votes of these chains, if they have changed."""
        vote_state = replace(tally.vote_state(), samples=samples)
        if vote_state != self.vote_state:
            self.vote_state = vote_state
            yield from propose(vote_state.leader, vote_state)

    def prune(self, orders: Sequence[int]) -> None:
        """End these chains: they vote no more."""
        for at in orders:
            self.paths[at] = replace(self.paths[at], cut=True)
            del self.answers[at]


def same(tally: Tally, a: Answer | None, b: Answer | None) -> bool:
    """Whether two answers are in one class of a tally, or both missing."""
    return tally.same(a, b) if a and b else a is b
