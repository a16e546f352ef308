"""AB-MCTS: an adaptive tree of complete answers that grows wider or deeper by their ratings."""

import bisect
import math
import random
from collections import Counter
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import ClassVar, Final, Literal

from reasoner import Answer, Completion, Prompt, Question, SamplingParams
from reasoner.errors import UsageError, require
from reasoner.specs import CheckedOptions, Count, Samples
from reasoner.strategy import (
    BudgetExhausted,
    Handle,
    Plan,
    Sample,
    Score,
    next_finished,
    start,
)
from reasoner.types import ThinkingLevel, thinking_level
from reasoner_strategies._prompts import with_request, without_reply
from reasoner_strategies._search.mixed_model import Ratings, draw_ratings
from reasoner_strategies._voting.pool import RunningVote, Selector

IMPROVE = (
    "Your answer was rated {rating} on a scale from 0 to 1. Find out what is wrong or missing in it, then answer the "
    "question again in full. {form}"
)
UNIT = 1 << 40
"""Ratings are summed as multiples of 1 / UNIT, so that no order of arrival changes a sum."""
STANDARD: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class AbMcts(CheckedOptions):
    """`n` answers, each a fresh one or a refinement (Inoue 2025, 2503.04412).

    From the root down, every node draws a score for generating a new child (GEN) and one for continuing with an
    existing child (CONT), each from its posterior, and follows the higher one (Thompson sampling); to continue, it
    follows the child that draws the highest score. GEN at the root samples the question again, elsewhere it asks to
    improve the node's answer and shows its rating. A rating updates GEN of the parent and the node, and CONT and the
    node at every ancestor. The belief before the first rating is normal with unknown mean and variance
    (normal-inverse-chi-squared, m 0, kappa 1, nu 1, tau^2 0.1).

    That is AB-MCTS-A. `posterior` "mixed" is AB-MCTS-M: the ratings below each child are a group of a mixed model, by
    which GEN and each child draw their next rating. A child below which at least 4 ratings are known and 3 of 4 are the
    same, in whole per cents, is left alone. (treequest samples the posterior with NUTS; here it is integrated.)

    Draws depend on the question, the number of the generation and the ratings reported before it, not on their order.
    `concurrency` generations run at a time; above 1, the virtual clock decides which ratings are known by then.

    With `levels`, each generation also chooses its thinking level, among these and the default, which is how much the
    model thinks. A level draws a score from the ratings of all that was
    generated at it, and the highest one generates (treequest's bandit over models); no answer counts as 0. `prices` are
    what a generated token costs at each level, the default last. With them, a level draws a law of its ratings, and the
    expected gain over the best rating so far decides, divided by the price and the mean tokens of a generation
    (expected improvement per cost, Snoek 2012, 1206.2944).

    `selector` chooses among the rated answers. A generation without an answer or a rating is not a node. Unrated
    answers vote only if nothing could be rated.
    """

    listed_under: ClassVar[str] = "Search over steps"
    uses_verifier: ClassVar[bool] = True
    sampling: ClassVar[SamplingParams] = SamplingParams(temperature=0.8)

    n: Samples = 16
    concurrency: Count = 4
    selector: Selector = "argmax"
    params: SamplingParams = SamplingParams()
    levels: tuple[str, ...] = ()
    prices: tuple[float, ...] = ()
    posterior: Literal["node", "mixed"] = "node"

    def complete(self) -> None:
        for level in self.levels:
            thinking_level(level, "levels")
        for price in self.prices:
            require(price, "prices", above=0, below=math.inf)
        if self.prices and not self.levels:
            raise UsageError(
                "prices have no effect without levels: set levels, or leave prices out"
            )
        if self.prices and len(self.prices) != len(self.levels) + 1:
            raise UsageError(
                f"prices must be one for each level and one for the default (got {len(self.prices)} for "
                f"{len(self.levels)} levels): give {len(self.levels) + 1}, or none"
            )

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Ask the tree what to generate and report the ratings to it, as replies arrive."""
        tree, votes = (
            AnswerTree(question.id, mixed=self.posterior == "mixed"),
            RunningVote(question.space, self.selector),
        )
        members = MemberChoice(
            question.id, tuple(map(thinking_level, self.levels)), self.prices
        )
        # The number of a generation and, while it is rated, its completion and answer
        running: dict[Handle, tuple[int, Completion | None, Answer | None]] = {}
        launched = 0
        while launched < self.n or running:
            while launched < self.n and len(running) < self.concurrency:
                prompt = refinement(question, tree.ask(launched)).at_level(
                    members.choose(launched)
                )
                handle = yield from start(Sample((prompt,), params=self.params))
                running[handle] = launched, None, None
                launched += 1
            try:
                finished = yield from next_finished()
            except BudgetExhausted:
                break
            number, drawn, answer = running.pop(finished.handle)
            if drawn and answer:
                value = finished.ratings[0].value
                votes.rate(answer, value, order=number)
                if value is not None:
                    tree.report(number, value, drawn)
                    members.report(number, value, drawn)
            else:
                [drawn] = finished.completions
                answer = question.read(drawn)
                votes.count(answer, order=number)
                if answer is None:
                    members.report(number, 0.0, drawn)
                else:
                    running[(yield from start(Score(question, (drawn,))))] = (
                        number,
                        drawn,
                        answer,
                    )
            yield from votes.publish_sometimes()
        return (yield from votes.publish()).leader


@dataclass(slots=True)
class TreeArm:
    """The ratings of one choice: their number, their sum and the sum of their squares, in units of 1 / UNIT."""

    count: int = 0
    total: int = 0
    squares: int = 0

    def add(self, rating: float) -> None:
        """Add a rating."""
        self.count += 1
        parts = round(rating * UNIT)
        self.total += parts
        self.squares += parts * parts

    @property
    def spread(self) -> float:
        """The sum of squared deviations from the mean."""
        # In whole numbers: the difference of floats would cancel.
        return (self.count * self.squares - self.total * self.total) / (
            UNIT * UNIT * max(self.count, 1)
        )

    def posterior(self) -> tuple[float, float, float, float]:
        """The posterior (m, kappa, nu, tau^2) of a normal-inverse-chi-squared prior (0, 1, 1, 0.1)."""
        n, total, spread = self.count, self.total / UNIT, self.spread
        shift = total * total / (n * (n + 1)) if n else 0.0
        return total / (1 + n), 1.0 + n, 1.0 + n, (0.1 + spread + shift) / (1 + n)

    def draw(self, source: random.Random) -> float:
        """A mean score drawn from the posterior."""
        return self.draw_law(source).mean

    def draw_law(self, source: random.Random) -> NormalDist:
        """A law of scores drawn from the posterior."""
        m, kappa, nu, tau2 = self.posterior()
        variance = nu * tau2 / source.gammavariate(nu / 2, 2.0)
        return NormalDist(
            source.gauss(m, math.sqrt(variance / kappa)), math.sqrt(variance)
        )


@dataclass(slots=True, eq=False)
class MemberChoice:
    """Decides at which level to generate next (`choose`) and learns from the ratings (`report`), in any order."""

    question_id: str
    levels: tuple[ThinkingLevel, ...]
    prices: tuple[float, ...] = ()
    _earned: list[TreeArm] = field(init=False)
    _tokens: list[int] = field(init=False)
    """Generated in all that `_earned` counts."""
    _best: float = 0.0
    _chosen: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._earned = [TreeArm() for _ in (*self.levels, None)]
        self._tokens = [0 for _ in self._earned]

    def choose(self, number: int) -> ThinkingLevel | None:
        """The thinking level of the generation of this number; None for the default."""
        if not self.levels:
            return None
        source = random.Random(f"{self.question_id}\0member\0{number}")
        laws = [earned.draw_law(source) for earned in self._earned]
        if self.prices:
            costs = list(map(self._cost, range(len(laws))))
            gains = [
                gain(law, self._best) / cost
                for law, cost in zip(laws, costs, strict=True)
            ]
            member = max(range(len(laws)), key=lambda each: (gains[each], -costs[each]))
        else:
            member = max(range(len(laws)), key=lambda each: laws[each].mean)
        self._chosen[number] = member
        return (*self.levels, None)[member]

    def report(self, number: int, rating: float, completion: Completion) -> None:
        """The rating of the generation of this number, 0 to 1; 0 without an answer."""
        if self.levels:
            member = self._chosen[number]
            self._earned[member].add(rating)
            self._best = max(self._best, rating)
            self._tokens[member] += completion.usage.generated_tokens

    def _cost(self, member: int) -> float:
        """The mean price of a generation; at a level without one, as long as the others."""
        count, tokens = self._earned[member].count, self._tokens[member]
        if not count:
            count, tokens = sum(arm.count for arm in self._earned), sum(self._tokens)
        return self.prices[member] * (max(tokens, 1) / max(count, 1))


@dataclass(slots=True, eq=False)
class AnswerNode:
    """A rated answer; the root holds none. `value` is its parent's belief about it."""

    number: int = -1
    parent: "AnswerNode | None" = None
    rating: float = 0.0
    completion: Completion | None = None
    value: TreeArm = field(default_factory=TreeArm)
    generate: TreeArm = field(default_factory=TreeArm)
    continue_: TreeArm = field(default_factory=TreeArm)
    children: list["AnswerNode"] = field(default_factory=list)
    """In the order of their numbers."""
    grades: Counter[int] = field(default_factory=Counter)
    """Its rating and those below it, in whole per cents."""

    def add(self, rating: float) -> None:
        """A rating of its own, or below it."""
        self.value.add(rating)
        self.grades[round(100 * rating)] += 1

    @property
    def settled(self) -> bool:
        """Whether its subtree mostly has one rating."""
        return (
            self.value.count >= 4
            and max(self.grades.values()) >= 0.75 * self.value.count
        )


@dataclass(slots=True, eq=False)
class AnswerTree:
    """Decides what to generate next (`ask`) and learns from the ratings (`report`), in any order."""

    question_id: str
    mixed: bool = False
    root: AnswerNode = field(default_factory=AnswerNode)
    _refined: dict[int, AnswerNode] = field(default_factory=dict)

    def ask(self, number: int) -> AnswerNode:
        """The node that this generation refines; the root for a new sample of the question."""
        source = random.Random(f"{self.question_id}\0{number}")
        node = self.root
        while child := (self._mixed_child if self.mixed else self._child)(node, source):
            node = child
        self._refined[number] = node
        return node

    def _child(self, node: AnswerNode, source: random.Random) -> AnswerNode | None:
        """The child to continue with; None to generate one."""
        if not node.children:
            return None
        generated = node.generate.draw(source)
        if node.continue_.draw(source) <= generated:
            return None
        return max(node.children, key=lambda child: child.value.draw(source))

    def _mixed_child(
        self, node: AnswerNode, source: random.Random
    ) -> AnswerNode | None:
        """As `_child`, by the mixed model."""
        arms = [child.value for child in node.children]
        if not arms:
            return None
        groups = [
            Ratings(arm.count, arm.total / (UNIT * arm.count), arm.spread)
            for arm in arms
        ]
        *drawn, generated = draw_ratings(groups, source)
        left = [index for index, child in enumerate(node.children) if not child.settled]
        return (
            node.children[max(left, key=drawn.__getitem__)]
            if left and max(drawn) > generated
            else None
        )

    def report(self, number: int, rating: float, completion: Completion) -> None:
        """The rating of the generation of this number, 0 to 1."""
        parent = self._refined[number]
        child = AnswerNode(number, parent, rating, completion)
        bisect.insort(parent.children, child, key=lambda node: node.number)
        child.add(rating)
        parent.generate.add(rating)
        node = parent
        while node.parent is not None:
            node.add(rating)
            node.parent.continue_.add(rating)
            node = node.parent


def gain(law: NormalDist, best: float) -> float:
    """By how much a rating is expected to exceed the best one; at most what is left to 1."""
    ahead = law.mean - best
    z = ahead / law.stdev
    expected = law.stdev * STANDARD.pdf(z) + ahead * STANDARD.cdf(z)
    return min(max(expected, 0.0), 1.0 - best)


def refinement(question: Question, node: AnswerNode) -> Prompt:
    """The question for the root; elsewhere also the node's answer and a request to improve it."""
    if node.completion is None:
        return question.prompt
    request = IMPROVE.format(
        rating=f"{node.rating:.2f}", form=question.space.instruction
    )
    return with_request(without_reply(question.prompt), node.completion.chain, request)
