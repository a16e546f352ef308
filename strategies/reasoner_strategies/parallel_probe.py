"""Parallel-Probe: chains side by side are asked for their answer as they grow, pruned and stopped by what they say."""

from collections import Counter
from dataclasses import dataclass
from itertools import count
from typing import Annotated, ClassVar

from reasoner import Answer, Cost, Question, SamplingParams
from reasoner.errors import UsageError
from reasoner.specs import CheckedOptions, Count, Length, Range, Samples
from reasoner.strategy import MAX_CHAINS, Plan, StopRule, note_stop
from reasoner_strategies._search.probed_chains import ProbedChains, same
from reasoner_strategies._search.steps import Path

WINDOW = 32
"""Chains in flight by default, with a stop rule."""


@dataclass(frozen=True, slots=True)
class ParallelProbe(CheckedOptions):
    """Probed chains that end once their majority is stable (Zheng 2026, 2602.03845).

    In each round the chains grow by `every` tokens. After it every running chain is asked for its answer; probes are
    paid. The latest answers of all chains, those that ended included, vote. From round `warmup` + 2 on, a running chain
    whose answer was not the one of the majority in `patience` rounds in a row is pruned: it ends and votes no more. The
    vote ends when the majority has not changed for `stable` rounds; the first round does not count. As in the published
    code, unreadable probes are one more answer here, but never the result. A probe that the budget refused leaves a
    chain the answer that it had.

    With `stop` nothing is pruned and probes are few: `window` chains are in flight, those that ended vote in order of
    length, and when the rule would stop them, running chains that are longer than their mean are probed. It stops if
    the rule stops the votes of both together too, with the same leader: what ends first may be wrong together.

    Where an engine or a kind of answer allows no probe, only chains that ended vote.
    """

    listed_under: ClassVar[str] = "Votes that stop early"
    uses_verifier: ClassVar[bool] = False

    n: Annotated[Samples, Range(at_least=1, at_most=MAX_CHAINS)] = 64
    every: Annotated[Length, Range(at_least=1)] = 500
    stable: Count = 40
    patience: Count = 7
    warmup: Annotated[int, Range(at_least=0)] = 15
    stop: StopRule | None = None
    window: Count = WINDOW
    params: SamplingParams = SamplingParams()

    def complete(self) -> None:
        if self.stop is None and self.window != WINDOW:
            raise UsageError(
                f"window={self.window} has no effect: without `stop` all chains run at once; leave it out"
            )

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Advance, probe and prune until the majority is stable; with a rule, advance until it stops."""
        chains = ProbedChains(
            question,
            self.params,
            self.every,
            [Path(question.prompt, order=at) for at in range(self.n)],
        )
        return (
            yield from self._probing(chains)
            if self.stop is None
            else _in_order(chains, self.stop, self.window)
        )

    def _probing(self, chains: ProbedChains) -> Plan[Answer | None]:
        majority, unchanged, apart = None, 0, Counter[int]()
        for number in count(1):
            yield from chains.probe((yield from chains.advance(self.n)))
            before, (tally, majority) = majority, (yield from chains.majority())
            if number >= self.warmup + 2 and len(chains.answers) > 1:
                running = [
                    path.order
                    for path in chains.paths
                    if path.open and path.order in chains.answers
                ]
                apart = Counter(
                    {
                        at: apart[at] + 1
                        for at in running
                        if not same(tally, chains.answers[at], majority)
                    }
                )
                if pruned := [at for at in running if apart[at] >= self.patience]:
                    chains.prune(pruned)
                    tally, majority = yield from chains.majority()
            unchanged = (
                unchanged + 1 if number > 2 and same(tally, before, majority) else 0
            )
            if majority and unchanged >= self.stable:
                yield from note_stop(
                    f"the majority has not changed for {self.stable} rounds"
                )
                break
            if not any(path.open for path in chains.paths):
                break
        return chains.vote_state.leader


def _in_order(chains: ProbedChains, rule: StopRule, window: int) -> Plan[Answer | None]:
    """The vote of the chains in the order in which they end, until the rule stops it and probes agree."""
    ended: list[Path] = []
    while any(path.open for path in chains.paths):
        grown = yield from chains.advance(window)
        latest = sorted(
            (path for path in grown if path.finished), key=lambda path: path.tokens
        )
        ended += latest
        orders, tokens = (
            [path.order for path in ended],
            sum(path.tokens for path in ended),
        )
        if not latest:
            continue
        alone = yield from chains.vote(orders)
        yield from chains.publish(alone, samples=len(ended))
        cost = Cost(generated_tokens=tokens, samples=len(ended), flops=None)
        if not rule.stop(alone.vote_state().listed(), cost):
            continue
        long = [
            path
            for path in chains.paths
            if path.open and path.tokens * len(ended) >= tokens
        ]
        yield from chains.probe(long)
        both = yield from chains.vote(
            [*orders, *(path.order for path in long if path.order in chains.answers)]
        )
        reason = rule.stop(both.vote_state().listed(), cost)
        if reason and same(both, alone.vote_state().leader, both.vote_state().leader):
            yield from note_stop(reason)
            break
    return chains.vote_state.leader
