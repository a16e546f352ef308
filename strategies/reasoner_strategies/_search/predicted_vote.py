"""A vote of chains that think, which stops by what its running chains say: they grow in rounds, and some are asked."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from reasoner import Answer, Completion, Cost, Question, SamplingParams, VoteState
from reasoner.stopping.rules import STRAGGLER_LENGTH
from reasoner.strategy import Plan, StopRule, Tally, count_votes, note_stop, propose
from reasoner_strategies._search.probed_chains import ProbedChains
from reasoner_strategies._search.steps import Path

WINDOW: Final = 16
"""Chains in flight by default, until `SEVERAL` have ended; then twice as many."""
SEVERAL: Final = 8


def predicted_vote(
    question: Question,
    params: SamplingParams,
    *,
    n: int,
    rule: StopRule,
    every: int,
    window: int,
    drawn: Sequence[Completion] = (),
) -> Plan[Answer | None]:
    """The majority of up to `n` samples, proposed after each one that ends, until the rule stops it.

    `drawn` are samples that exist already and were drawn in the same way. The chains grow by `every` tokens at a time.
    After a round, stragglers are asked for their answers, where these could end the vote.
    """
    tally, votes, drawn = Tally(question.space, max_samples=n), VoteState(), drawn[:n]
    ended = [
        Path(question.prompt, each, 1, each.usage.generated_tokens, order=at)
        for at, each in enumerate(drawn)
    ]
    chains = ProbedChains(
        question,
        params,
        every,
        [Path(question.prompt, order=at) for at in range(len(drawn), n)],
    )
    latest, tokens = ended, 0
    while True:
        for path in latest:
            tokens += path.tokens
            answer = question.read(path.last) if path.last else None
            tally.add(answer, index=path.order, tokens=path.tokens)
            votes = yield from count_votes(tally)
            yield from propose(votes.leader, votes.listed())
        running = [path for path in chains.paths if path.open]
        if not running:
            return votes.leader
        old = [
            path
            for path in running
            if ended and path.tokens * len(ended) > STRAGGLER_LENGTH * tokens
        ]
        cost = Cost(generated_tokens=tokens, samples=len(ended), flops=None)
        asked = replace(votes.listed(), stragglers=len(old), trials=(len(old),))
        if ended and rule.stop(asked, cost):
            trials = yield from _trials(chains, old, asked)
            if reason := rule.stop(replace(asked, trials=trials), cost):
                yield from note_stop(reason)
                return votes.leader
        grown = yield from chains.advance(
            window if len(ended) < SEVERAL else 2 * window
        )
        latest = sorted(
            (path for path in grown if not path.open), key=lambda path: path.tokens
        )
        ended = [*ended, *latest]


def _trials(
    chains: ProbedChains, asked: Sequence[Path], votes: VoteState
) -> Plan[tuple[int, ...]]:
    """How many of the chains have each of the answers of a vote as their trial answer, then each other answer."""
    yield from chains.probe(asked)
    answers = [answer for path in asked if (answer := chains.answers.get(path.order))]
    both = Tally(chains.question.space)
    for index, answer in enumerate([*(vote.answer for vote in votes.votes), *answers]):
        both.add(answer, index=index)
    yield from count_votes(both)
    classes, counts = [vote.answer for vote in votes.votes], [0] * len(votes.votes)
    for answer in answers:
        at = next(
            (at for at, each in enumerate(classes) if both.same(each, answer)),
            len(classes),
        )
        if at == len(classes):
            classes.append(answer)
            counts.append(0)
        counts[at] += 1
    return tuple(counts)
