"""GenSelect: the model reads several answers at once and names the best."""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from reasoner import Answer, Completion, Prompt, Question, SamplingParams
from reasoner.specs import CheckedOptions, Range, Samples
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


@dataclass(frozen=True, slots=True)
class GenSelect(CheckedOptions):
    """The answer that the model chooses out of a list (OpenMathReasoning: Moshkov 2025, 2504.16891).

    `n` candidates are drawn; the first of each class of answers enters. Up to `group` of them, 2 to 16, are shown at
    once, numbered from 1, `repeats` times, each time in an order that depends on the question's id; choices are counted
    by candidate, not by position. A reply that names none of them abstains, and ties go to the answer with more votes.
    More than one group makes a tournament: the winners of the groups meet in the next round. `params` draw candidates
    and choices; of each text the last 4,000 characters are shown.

    In the vote state, the weight of a class is the rounds it won plus, below 1, its share of the votes.
    """

    listed_under: ClassVar[str] = "Choice among samples"
    uses_verifier: ClassVar[bool] = False
    free_form: ClassVar[bool] = True

    n: Samples = 8
    group: Annotated[int, Range(at_least=2, at_most=16)] = 8
    repeats: Samples = 3
    params: SamplingParams = SamplingParams()

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Draw, propose the majority, let the model choose until one is left."""
        entered = yield from draw_candidates(question, self.n, self.params)

        left, won, vote_state = list(entered.ranked), Counter[int](), entered.majority
        while len(left) > 1:
            count = math.ceil(len(left) / self.group)
            groups = [left[first::count] for first in range(count)]
            orders = [
                order
                for group in groups
                if len(group) > 1
                for order in self._orders(question, group)
            ]
            chosen = yield from polled(
                [(choice_prompt(question, shown), shown) for shown in orders],
                number,
                self.params,
            )
            counts = Counter(chosen)
            left = sorted(
                (best(group, counts) for group in groups), key=lambda each: each.rank
            )
            won.update(candidate.index for candidate in left)
            vote_state = yield from by_points(question, entered.drawn, won)
        return vote_state.leader

    def _orders(
        self, question: Question, group: Sequence[Candidate]
    ) -> list[list[Candidate]]:
        """The orders in which a group is shown."""
        indices = [candidate.index for candidate in group]
        sources = (
            random.Random(f"{question.id}/{indices}/{repeat}")
            for repeat in range(self.repeats)
        )
        return [source.sample(group, len(group)) for source in sources]


def choice_prompt(question: Question, shown: Sequence[Candidate]) -> Prompt:
    """The question, several answers, and what to say about them."""
    return with_text(
        without_reply(question.prompt),
        f"Here are {len(shown)} proposed answers to the question above.\n\n"
        f"{listed('Answer', range(1, len(shown) + 1), shown)}\n\nCompare them in a few sentences: which is most "
        'likely correct? End with a line that says "Best:" and the number of that answer.',
    )


def number(reply: Completion, size: int) -> int | None:
    """Which of `size` answers a reply chooses, from 0; None if it names none."""
    named = verdict(reply, "best", [str(index) for index in range(1, size + 1)])
    return None if named is None else int(named) - 1
