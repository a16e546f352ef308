"""Swiss: a tournament of pairs of answers with a budget, in which those that are about equally good meet."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Final, Literal, NamedTuple

from reasoner import Answer, Completion, Question, SamplingParams
from reasoner.specs import CheckedOptions, Count, Range, Samples
from reasoner.strategy import BudgetExhausted, Plan, note
from reasoner.system.printing import counted
from reasoner_strategies._prompts import shortened, verdict
from reasoner_strategies._voting.self_comparison import (
    Candidate,
    Pair,
    by_points,
    draw_candidates,
    pair_prompt,
    replies_to,
)

SCORES: Final = tuple(map(str, range(1, 11)))


class Comparison(NamedTuple):
    """How much better the first was found than the second, -1 to 1; None without a verdict. And the tokens it took."""

    margin: float | None
    tokens: int


class Game(NamedTuple):
    """A pair that was compared in both orders."""

    pair: Pair
    there: Comparison
    back: Comparison

    @property
    def margin(self) -> float | None:
        """How much better the first is: the mean of the orders with a verdict, 0 where they contradict each other."""
        margins = [
            self.there.margin,
            None if self.back.margin is None else -self.back.margin,
        ]
        known = [margin for margin in margins if margin is not None]
        if len(known) == 2 and known[0] * known[1] < 0:
            return 0.0
        return sum(known) / len(known) if known else None


@dataclass(frozen=True, slots=True)
class Swiss(CheckedOptions):
    """The best record in a limited number of comparisons (V1-Infer: 2603.04304).

    `n` replies are drawn; the first of each class of answers enters, with `candidates=all` every reply that has an
    answer. At most `budget` pairs for each candidate are compared, and no pair twice. First every candidate meets at
    least `min_degree` others on a ring, so that all are linked; then in each round the next one in the standings meets
    the nearest one that it has not met. The standings are by win rate, in which a comparison weighs its margin, at
    least 0.1. A tie goes to the candidate with more votes.

    The model rates both answers from 1 to 10 in words, and a ninth of the difference is the margin. The paper compares
    all replies, each pair in one order; here each pair is compared in both orders, and the mean counts, or a tie if
    they contradict each other. Notes tell ties, how much more the first answer of a pair is liked, and the cost.
    `params` draw replies and comparisons; of each text the last 4,000 characters are shown. In the vote state, the
    weight of a class is 1 for the winner plus, below 1, its share of the votes.
    """

    uses_verifier: ClassVar[bool] = False
    listed_under: ClassVar[str] = "Choice among samples"

    free_form: ClassVar[bool] = True

    n: Samples = 8
    budget: Annotated[float, Range(above=0, at_most=1000)] = 3.0
    min_degree: Count = 2
    candidates: Literal["classes", "all"] = "classes"
    params: SamplingParams = SamplingParams()

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, propose the majority, link all candidates, then round after round."""
        entered = yield from draw_candidates(question, self.n, self.params)
        answered = [
            index for index, reply in enumerate(entered.drawn) if question.read(reply)
        ]
        replies = [
            Candidate(index, index, shortened(entered.drawn[index].chain))
            for index in answered
        ]
        candidates: Sequence[Candidate] = (
            entered.ranked if self.candidates == "classes" else replies
        )
        if len(candidates) < 2:
            return entered.majority.leader
        left = max(1, int(self.budget * len(candidates)))
        standings, vote_state = Standings(candidates), entered.majority
        pairs = standings.links(self.min_degree, random.Random(question.id))[:left]
        while pairs:
            both = [
                order
                for first, second in pairs
                for order in ((first, second), (second, first))
            ]
            try:
                comparisons = yield from self._compared(question, both)
            except BudgetExhausted:
                break
            standings.games += map(Game, pairs, comparisons[::2], comparisons[1::2])
            vote_state = yield from by_points(
                question, entered.drawn, {standings.ranked()[0].index: 1.0}
            )
            left -= len(pairs)
            pairs = standings.round()[:left]
        yield from note(standings.summary)
        return vote_state.leader

    def _compared(
        self, question: Question, pairs: Sequence[Pair]
    ) -> Plan[list[Comparison]]:
        """All of these pairs, asked at once."""
        replies = yield from replies_to(
            [
                pair_prompt(
                    question,
                    pair,
                    "Compare them in a few sentences, and rate how likely each is correct, from 1 (surely wrong) to 10 "
                    '(surely right). End with two lines such as "Score A: 3" and "Score B: 8".',
                )
                for pair in pairs
            ],
            self.params,
        )
        return [
            Comparison(None, 0)
            if reply is None
            else Comparison(margin(reply), _spent(reply))
            for reply in replies
        ]


@dataclass(slots=True)
class Standings:
    """The candidates and the pairs so far."""

    candidates: Sequence[Candidate]
    games: list[Game] = field(default_factory=list)

    def links(self, degree: int, source: random.Random) -> list[Pair]:
        """Pairs by which each candidate meets `degree` others: neighbours on a ring, then two apart, and so on."""
        ring = source.sample(self.candidates, len(self.candidates))
        degrees, pairs = (
            dict.fromkeys(range(len(ring)), 0),
            dict[frozenset[int], Pair](),
        )
        for apart in range(1, len(ring) // 2 + 1):
            for at in range(len(ring)):
                other = (at + apart) % len(ring)
                if (
                    min(degrees[at], degrees[other]) < degree
                    and frozenset((at, other)) not in pairs
                ):
                    pairs[frozenset((at, other))] = ring[at], ring[other]
                    degrees[at] += 1
                    degrees[other] += 1
        return list(pairs.values())

    def round(self) -> list[Pair]:
        """Down the standings, each free candidate with the next free one that it has not met."""
        free, pairs = self.ranked(), list[Pair]()
        met = {
            frozenset((first.index, second.index)) for (first, second), *_ in self.games
        }
        while free:
            first = free.pop(0)
            opponents = (
                each
                # How far down the standings an opponent is looked for
                for each in free[:8]
                if frozenset((first.index, each.index)) not in met
            )
            if (second := next(opponents, None)) is not None:
                free.remove(second)
                pairs.append((first, second))
        return pairs

    def rates(self) -> dict[int, float]:
        """The share of its weight that each candidate won, by its index; a half if nothing is known of it."""
        won, weights = defaultdict[int, float](float), defaultdict[int, float](float)
        for game in self.games:
            if (margin := game.margin) is not None:
                share = (1 + (margin > 0) - (margin < 0)) / 2
                for candidate, part in zip(game.pair, (share, 1 - share), strict=True):
                    # The weight of a tie, and the least of any comparison
                    weight = max(abs(margin), 0.1)
                    weights[candidate.index] += weight
                    won[candidate.index] += weight * part
        indices = (candidate.index for candidate in self.candidates)
        return {
            index: won[index] / weights[index] if weights[index] else 0.5
            for index in indices
        }

    def ranked(self) -> list[Candidate]:
        """The candidates, best first."""
        rates = self.rates()
        return sorted(
            self.candidates,
            key=lambda candidate: (-rates[candidate.index], candidate.rank),
        )

    @property
    def summary(self) -> str:
        """What the comparisons said and cost, in one line."""
        games, rates = self.games, self.rates()
        margins = [game.margin for game in games]
        orders = [order for game in games for order in (game.there, game.back)]
        firsts = [order.margin for order in orders if order.margin is not None]
        shown = ", ".join(
            f"sample {each.index} {rates[each.index]:.2f}"
            # Win rates that the note shows
            for each in self.ranked()[:6]
        )
        return (
            f"{counted(len(games), 'pair')} in both orders: {counted(margins.count(0), 'tie')}, "
            f"{margins.count(None)} without a verdict, the first answer liked by "
            f"{sum(firsts) / max(len(firsts), 1):+.2f}, "
            f"{sum(order.tokens for order in orders) / max(len(games), 1):,.0f} tokens a pair; win rates: {shown}"
        )


def margin(reply: Completion) -> float | None:
    """How much better the first answer was rated, as a share of the scale; None without both ratings."""
    first, second = verdict(reply, "score a", SCORES), verdict(reply, "score b", SCORES)
    return (
        None
        if first is None or second is None
        else (int(first) - int(second)) / (len(SCORES) - 1)
    )


def _spent(reply: Completion) -> int:
    usage = reply.usage
    return usage.prompt_tokens - usage.cached_tokens + usage.generated_tokens
