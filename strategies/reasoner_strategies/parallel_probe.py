"""Parallel-Probe: chains side by side are asked for their answer as they grow, pruned and stopped by what they say."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Annotated, ClassVar

from reasoner.answers.questions import Question
from reasoner.budget import Cost
from reasoner.errors import BudgetExhausted, UsageError
from reasoner.specs import Checked, Count, Length, Range, Samples
from reasoner.strategy import MAX_CHAINS, Plan, Probe, StopRule, count_votes, note, note_stop, propose
from reasoner.types import Answer, Extraction, SamplingParams, VoteState
from reasoner.voting import Tally
from reasoner_strategies._search.steps import Path, StepOptions, advance

WINDOW = 32
"""Chains in flight by default, with a stop rule."""


@dataclass(frozen=True, slots=True)
class ParallelProbe(Checked):
    """Chains grow by `every` tokens, are probed, and end once their majority is stable (Zheng 2026, 2602.03845).

    After each round every running chain is asked for its answer; probes are paid. The latest answers of all chains,
    those that ended included, vote. From round `warmup` + 2 on, a running chain whose answer was not that of the
    majority in `patience` rounds in a row is pruned: it ends and votes no more. The vote ends when the majority has not
    changed for `stable` rounds; the first round does not count. As in the published code, unreadable probes are one
    more answer here, but never the result. A probe that the budget refused leaves a chain the answer that it had.

    With `stop` nothing is pruned and probes are few: `window` chains are in flight, those that ended vote in order of
    length, and when the rule would stop them, running chains that are longer than their mean are probed. It stops if
    the rule stops the votes of both together too, with the same leader: what ends first may be wrong together.

    Where an engine or a kind of answer allows no probe, only chains that ended vote.
    """

    uses_verifier: ClassVar[bool] = False

    n: Annotated[Samples, Range(at_least=1, at_most=MAX_CHAINS)] = 64
    every: Annotated[Length, Range(at_least=1)] = 500
    stable: Count = 40
    patience: Count = 7
    warmup: Annotated[int, Range(at_least=0)] = 15
    stop: StopRule | None = None
    window: Count = WINDOW
    params: SamplingParams = SamplingParams()

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.stop is None and self.window != WINDOW:
            raise UsageError(f"window={self.window} has no effect: without `stop` all chains run at once; leave it out")

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Advance, probe and prune until the majority is stable; with a rule, advance until it stops."""
        chains = _Chains(question, self.params, self.every, [Path(question.prompt, order=at) for at in range(self.n)])
        return (yield from self._probing(chains) if self.stop is None else _in_order(chains, self.stop, self.window))

    def _probing(self, chains: "_Chains") -> Plan[Answer | None]:
        majority, unchanged, apart = None, 0, Counter[int]()
        for number in count(1):
            yield from chains.probe((yield from chains.advance(self.n)))
            before, (tally, majority) = majority, (yield from chains.majority())
            if number >= self.warmup + 2 and len(chains.answers) > 1:
                running = [path.order for path in chains.paths if path.open and path.order in chains.answers]
                apart = Counter({at: apart[at] + 1 for at in running if not _same(tally, chains.answers[at], majority)})
                if pruned := [at for at in running if apart[at] >= self.patience]:
                    chains.prune(pruned)
                    tally, majority = yield from chains.majority()
            unchanged = unchanged + 1 if number > 2 and _same(tally, before, majority) else 0
            if majority and unchanged >= self.stable:
                yield from note_stop(f"the majority has not changed for {self.stable} rounds")
                break
            if not any(path.open for path in chains.paths):
                break
        return chains.vote_state.leader


@dataclass(slots=True)
class _Chains:
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
        self.launched = min(len(self.paths), self.launched + window - sum(path.open for path in self._launched_paths))
        before, limit = self._launched_paths, self.params.limit
        stepping = StepOptions(step="", step_tokens=self.every, max_steps=limit + 1, params=self.params)
        try:
            after = yield from advance(stepping, before)
        except BudgetExhausted:
            self.paths = [replace(path, cut=True) if path.open else path for path in self.paths]
            return []
        self.paths[: self.launched] = after
        grown = [new for old, new in zip(before, after, strict=True) if new.last is not old.last]
        self.answers |= {path.order: path.answer(self.question) for path in grown if path.finished}
        return grown

    @property
    def _launched_paths(self) -> list[Path]:
        return self.paths[: self.launched]

    def probe(self, paths: Sequence[Path]) -> Plan[None]:
        """Ask those that have not finished for their answers."""
        chains = {path.order: path.last for path in paths if path.last and not path.finished}
        known = {at: chain.extraction for at, chain in chains.items() if chain.extraction}
        if unknown := {at: chain for at, chain in chains.items() if at not in known}:
            extractions: tuple[Extraction | None, ...] = yield Probe(tuple(unknown.values()), self.params)
            known |= {at: each for at, each in zip(unknown, extractions, strict=True) if each}
            if not (known or self.asked):
                yield from note("no chain could be probed: only chains that ended vote")
            self.asked = True
        self.answers |= {at: extraction.answer for at, extraction in known.items()}

    def majority(self) -> Plan[tuple[Tally, Answer | None]]:
        """The answer that most chains have, as it is proposed; None if more of them have none that can be read."""
        orders = sorted(self.answers)
        tally = yield from self.vote(orders)
        yield from self.publish(tally, samples=sum(path.last is not None for path in self.paths))
        leader = self.vote_state.leader
        silent = [at for at in orders if self.answers[at] is None]
        led = [at for at in orders if leader and _same(tally, self.answers[at], leader)]
        return tally, leader if led and (len(led), -led[0]) > (len(silent), -min(silent, default=0)) else None

    def vote(self, orders: Sequence[int]) -> Plan[Tally]:
        """The votes of these chains; at a tie the earlier ones win."""
        tally = Tally(self.question.space, max_samples=len(self.paths))
        for index, order in enumerate(orders):
            tally.add(self.answers[order], index=index)
        yield from count_votes(tally)
        return tally

    def publish(self, tally: Tally, *, samples: int) -> Plan[None]:
        """Propose the leader of votes of so many chains, if they have changed."""
        vote_state = replace(tally.vote_state(), samples=samples)
        if vote_state != self.vote_state:
            self.vote_state = vote_state
            yield from propose(vote_state.leader, vote_state)

    def prune(self, orders: Sequence[int]) -> None:
        """End these chains: they vote no more."""
        for at in orders:
            self.paths[at] = replace(self.paths[at], cut=True)
            del self.answers[at]


def _in_order(chains: _Chains, rule: StopRule, window: int) -> Plan[Answer | None]:
    """The vote of the chains in the order in which they end, until the rule stops it and probes agree."""
    ended: list[Path] = []
    while any(path.open for path in chains.paths):
        grown = yield from chains.advance(window)
        latest = sorted((path for path in grown if path.finished), key=lambda path: path.tokens)
        ended += latest
        orders, tokens = [path.order for path in ended], sum(path.tokens for path in ended)
        if not latest:
            continue
        alone = yield from chains.vote(orders)
        yield from chains.publish(alone, samples=len(ended))
        cost = Cost(generated_tokens=tokens, samples=len(ended), flops=None)
        if not rule.stop(alone.vote_state().listed(), cost):
            continue
        long = [path for path in chains.paths if path.open and path.tokens * len(ended) >= tokens]
        yield from chains.probe(long)
        both = yield from chains.vote([*orders, *(path.order for path in long if path.order in chains.answers)])
        reason = rule.stop(both.vote_state().listed(), cost)
        if reason and _same(both, alone.vote_state().leader, both.vote_state().leader):
            yield from note_stop(reason)
            break
    return chains.vote_state.leader


def _same(tally: Tally, a: Answer | None, b: Answer | None) -> bool:
    """Whether two answers are in one class of a tally, or both missing."""
    return tally.same(a, b) if a and b else a is b
