"""AB-MCTS-A: an adaptive tree of whole answers, wider or deeper as the ratings suggest."""

import bisect
import math
import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

from reasoner.errors import BudgetExhausted, require, require_choice
from reasoner.plan import Finished, Handle, Plan, Sample, Score, check_n, next_finished, start
from reasoner.types import Answer, Completion, Prompt, Question, SamplingParams
from reasoner_strategies._prompts import answered, bare
from reasoner_strategies._voting.running_vote import RunningVote

Prior = Literal["normal", "beta"]
Selector = Literal["argmax", "weighted"]
IMPROVE = (
    "Your answer was rated {rating} on a scale from 0 to 1. Find out what is wrong or missing in it, then answer the "
    "question again in full. {form}"
)
UNIT = 1 << 40
"""Ratings are added up in whole parts of this size, so that no order of arrival changes a sum."""


@dataclass(frozen=True, slots=True)
class AbMcts:
    """Each of `n` generations is a fresh answer or a refinement of an earlier one (Inoue 2025, 2503.04412).

    From the root down, every node draws a score for what it would get by generating a new child (GEN) and by going on
    with one of those it has (CONT), from what is believed of either, and does what drew higher (Thompson sampling);
    where it goes on, the child that draws highest is next. GEN at the root samples the question anew, elsewhere it asks
    to improve the node's answer, told its rating. A rating counts for GEN of the parent and for the node, and for CONT
    and the node at every ancestor. `prior` is what is believed before the first: "normal" with unknown mean and
    variance (normal-inverse-chi-squared, m 0, kappa 1, nu 1, tau^2 0.1) or "beta" (1/2, 1/2).

    Draws depend on the question, the number of the generation and the ratings told until then, not on their order.
    `concurrency` generations are under way at a time; above 1, the order in which replies come decides which ratings
    are there by then.

    `selector` "argmax" answers with the best rated, "weighted" with the class of answers of the highest total rating.
    A generation without an answer is no node. One that could not be rated is none either; it votes where nothing could.
    """

    uses_verifier: ClassVar[bool] = True

    n: int = 16
    prior: Prior = "normal"
    concurrency: int = 4
    selector: Selector = "argmax"
    params: SamplingParams = SamplingParams(temperature=0.8)

    def __post_init__(self) -> None:
        check_n(self.n)
        require_choice(self.prior, "prior", get_args(Prior))
        require(self.concurrency, "concurrency", at_least=1)
        require_choice(self.selector, "selector", get_args(Selector))

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Ask the tree what to generate, tell it how that was rated, as replies arrive."""
        search = _Search(self, question)
        with suppress(BudgetExhausted):
            yield from search.run()
        return (yield from search.votes.close())


@dataclass(slots=True, eq=False)
class _Search:
    """The state of one plan."""

    options: AbMcts
    question: Question
    tree: "AnswerTree" = field(init=False)
    votes: RunningVote = field(init=False)
    running: dict[Handle, tuple[int, Completion | None, Answer | None]] = field(default_factory=dict)
    """The number of each generation under way and, while it is rated, what was drawn."""
    asked: int = 0

    def __post_init__(self) -> None:
        self.tree = AnswerTree(self.question.id, self.options.prior)
        self.votes = RunningVote(self.question.space, by="max" if self.options.selector == "argmax" else "sum")

    def run(self) -> Plan[None]:
        while True:
            while self.asked < self.options.n and len(self.running) < self.options.concurrency:
                prompt = refinement(self.question, self.tree.ask(self.asked))
                handle = yield from start(Sample((prompt,), params=self.options.params))
                self.running[handle] = (self.asked, None, None)
                self.asked += 1
            if not self.running:
                return
            finished = yield from next_finished()
            yield from self._arrived(finished)
            yield from self.votes.tell()

    def _arrived(self, finished: Finished) -> Plan[None]:
        number, drawn, answer = self.running.pop(finished.handle)
        if drawn is not None and answer is not None:
            value = finished.ratings[0].value
            self.votes.rate(answer, value, order=number)
            if value is not None:
                self.tree.tell(number, value, drawn)
            return
        [drawn] = finished.completions
        answer = self.question.read(drawn)
        self.votes.look(answer, order=number)
        if answer is not None:
            handle = yield from start(Score(self.question, (drawn,)))
            self.running[handle] = (number, drawn, answer)


@dataclass(slots=True)
class Arm:
    """What was told of one choice: how many ratings, their sum and the sum of their squares, in whole parts."""

    count: int = 0
    total: int = 0
    squares: int = 0

    def add(self, rating: float) -> None:
        """One more rating."""
        self.count += 1
        parts = round(rating * UNIT)
        self.total += parts
        self.squares += parts * parts

    def normal(self) -> tuple[float, float, float, float]:
        """The posterior (m, kappa, nu, tau^2) of a normal-inverse-chi-squared prior (0, 1, 1, 0.1)."""
        n, total = self.count, self.total / UNIT
        # n times the sum of squared deviations, in whole numbers: the difference of floats would cancel.
        spread = (n * self.squares - self.total * self.total) / (UNIT * UNIT * n) if n else 0.0
        shift = total * total / (n * (n + 1)) if n else 0.0
        return total / (1 + n), 1.0 + n, 1.0 + n, (0.1 + spread + shift) / (1 + n)

    def beta(self) -> tuple[float, float]:
        """The posterior (a, b) of a beta prior (1/2, 1/2)."""
        total = self.total / UNIT
        return 0.5 + total, 0.5 + self.count - total

    def draw(self, prior: Prior, source: random.Random) -> float:
        """A mean score drawn from the posterior."""
        if prior == "beta":
            return source.betavariate(*self.beta())
        m, kappa, nu, tau2 = self.normal()
        variance = nu * tau2 / source.gammavariate(nu / 2, 2.0)
        return source.gauss(m, math.sqrt(variance / kappa))


@dataclass(slots=True, eq=False)
class AnswerNode:
    """A rated answer; the root holds none. `worth` is what its parent believes of it."""

    number: int = -1
    parent: "AnswerNode | None" = None
    rating: float = 0.0
    completion: Completion | None = None
    worth: Arm = field(default_factory=Arm)
    generate: Arm = field(default_factory=Arm)
    go_on: Arm = field(default_factory=Arm)
    children: list["AnswerNode"] = field(default_factory=list)
    """In the order of their numbers."""


@dataclass(slots=True, eq=False)
class AnswerTree:
    """Says what to generate next (`ask`), learns how it was rated (`tell`), in any order and as often as it is told."""

    question_id: str
    prior: Prior
    root: AnswerNode = field(default_factory=AnswerNode)
    _asked: dict[int, AnswerNode] = field(default_factory=dict)
    _told: set[int] = field(default_factory=set)

    def ask(self, number: int) -> AnswerNode:
        """The node whose answer the generation of this number refines; the root for a fresh one."""
        source = random.Random(f"{self.question_id}\0{number}")
        node = self.root
        while node.children:
            generated = node.generate.draw(self.prior, source)
            if node.go_on.draw(self.prior, source) <= generated:
                break
            node = max(node.children, key=lambda child: child.worth.draw(self.prior, source))
        self._asked[number] = node
        return node

    def tell(self, number: int, rating: float, completion: Completion) -> None:
        """How the generation of this number was rated, 0 to 1; told again it changes nothing."""
        if number in self._told:
            return
        self._told.add(number)
        parent = self._asked[number]
        child = AnswerNode(number, parent, rating, completion)
        bisect.insort(parent.children, child, key=lambda one: one.number)
        child.worth.add(rating)
        parent.generate.add(rating)
        node = parent
        while node.parent is not None:
            node.worth.add(rating)
            node.parent.go_on.add(rating)
            node = node.parent


def refinement(question: Question, node: AnswerNode) -> Prompt:
    """The question for the root; elsewhere it goes on with the node's answer and the wish for a better one."""
    if node.completion is None:
        return question.prompt
    wish = IMPROVE.format(rating=f"{node.rating:.2f}", form=question.space.instruction)
    return answered(bare(question.prompt), node.completion.chain, wish)
