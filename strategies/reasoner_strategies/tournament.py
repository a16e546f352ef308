"""Tournament: answers are compared in pairs by the model itself, in words."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, count, islice
from typing import ClassVar, Final, Literal

from reasoner import Answer, Completion, Prompt, Question, SamplingParams
from reasoner.specs import CheckedOptions, Samples
from reasoner.strategy import Plan
from reasoner_strategies._prompts import verdict, with_text, without_reply
from reasoner_strategies._voting.self_comparison import (
    Candidate,
    best,
    by_points,
    draw_candidates,
    listed,
    polled,
)

TOGETHER: Final = 1024
"""Pairs that are compared at once: the texts of all pairs of a thousand candidates do not fit into memory."""

Pair = tuple[Candidate, Candidate]


@dataclass(frozen=True, slots=True)
class Tournament(CheckedOptions):
    """The answer that wins most pairs, as the model compares.

    `n` candidates are drawn; the first of each class of answers enters. `pairing` says who meets whom. In "knockout"
    the one with the most votes meets the one with the fewest, and so on inwards; of an odd number the first advances
    unopposed, and winners go to the next round (Chen 2024, 2411.19477). In "all" each meets every other (Zhang 2024,
    2408.15240). In "swiss" each meets the next in the standings that it has not met, for as many rounds as a knockout
    has (as V1-Infer pairs, 2603.04304, without its budget and its margins).

    A pair is compared `comparisons` times, every second time in the other order; a comparison without a verdict
    abstains, and a tie goes to the answer with more votes. `params` draw candidates and comparisons; of each text the
    last 4,000 characters are shown. In the vote state, the weight of a class is the pairs that it won plus, below 1,
    its share of the votes. With one class nothing is compared.
    """

    listed_under: ClassVar[str] = "Choice among samples"
    uses_verifier: ClassVar[bool] = False
    free_form: ClassVar[bool] = True

    n: Samples = 8
    pairing: Literal["knockout", "all", "swiss"] = "knockout"
    comparisons: Samples = 2
    params: SamplingParams = SamplingParams()

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, propose the majority, then round after round."""
        entered = yield from draw_candidates(question, self.n, self.params)
        vote_state, points = entered.majority, Counter[int]()
        rounds = {"knockout": _knockout, "all": _all, "swiss": _swiss}[self.pairing]
        for pairs in rounds(entered.ranked, points):
            winners = yield from self._winners(question, pairs)
            points.update(winner.index for winner in winners)
            vote_state = yield from by_points(question, entered.drawn, points)
        return vote_state.leader

    def _winners(
        self, question: Question, pairs: Sequence[Pair]
    ) -> Plan[list[Candidate]]:
        """The winner of each pair."""
        shown = [
            (b, a) if turn % 2 else (a, b)
            for a, b in pairs
            for turn in range(self.comparisons)
        ]
        ballots = [(comparison(question, pair), pair) for pair in shown]
        chosen = yield from polled(ballots, better, self.params)
        starts = range(0, len(shown), self.comparisons)
        return [
            best(pair, Counter(chosen[start : start + self.comparisons]))
            for pair, start in zip(pairs, starts, strict=True)
        ]


def _knockout(
    candidates: Sequence[Candidate], points: Counter[int]
) -> Iterator[list[Pair]]:
    """The winners of each round meet in the next; who is unopposed wins."""
    left = list(candidates)
    for number in count(1):
        if len(left) < 2:
            return
        paired = left[len(left) % 2 :]
        points.update(each.index for each in left[: len(left) % 2])
        yield [(paired[at], paired[-1 - at]) for at in range(len(paired) // 2)]
        left = [each for each in left if points[each.index] == number]


def _all(candidates: Sequence[Candidate], _: Counter[int]) -> Iterator[list[Pair]]:
    """Each meets every other, in parts."""
    pairs = combinations(candidates, 2)
    while part := list(islice(pairs, TOGETHER)):
        yield part


def _swiss(
    candidates: Sequence[Candidate], points: Counter[int]
) -> Iterator[list[Pair]]:
    """Down the standings, each with the next one that it has not met."""
    met = set[frozenset[int]]()
    for _ in range(math.ceil(math.log2(max(1, len(candidates))))):
        free = sorted(candidates, key=lambda each: (-points[each.index], each.rank))
        pairs = list[Pair]()
        while free:
            first = free.pop(0)
            unmet = (x for x in free if frozenset((first.index, x.index)) not in met)
            if second := next(unmet, None):
                free.remove(second)
                pairs.append((first, second))
                met.add(frozenset((first.index, second.index)))
        yield pairs


def comparison(question: Question, pair: Pair) -> Prompt:
    """The question, two answers, and what to say about them."""
    return with_text(
        without_reply(question.prompt),
        f"Here are two proposed answers to the question above.\n\n{listed('Answer', 'AB', pair)}\n\nCompare them in a "
        'few sentences: which is more likely correct? End with a line that says "Better: A" or "Better: B".',
    )


def better(reply: Completion, size: int) -> int | None:
    """Which of the two a comparison prefers."""
    letter = verdict(reply, "better", "AB"[:size])
    return None if letter is None else "AB".index(letter)
