"""AB-MCTS: an adaptive tree of complete answers that grows wider or deeper by their ratings."""

import bisect
import math
import random
from dataclasses import dataclass, field
from typing import ClassVar

from reasoner import Answer, Completion, Prompt, Question, SamplingParams
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
from reasoner_strategies._prompts import with_request, without_reply
from reasoner_strategies._voting.pool import RunningVote, Selector

IMPROVE = (
    "Your answer was rated {rating} on a scale from 0 to 1. Find out what is wrong or missing in it, then answer the "
    "question again in full. {form}"
)
UNIT = 1 << 40
"""Ratings are summed as multiples of 1 / UNIT, so that no order of arrival changes a sum."""


@dataclass(frozen=True, slots=True)
class AbMcts(CheckedOptions):
    """`n` answers, each a fresh one or a refinement (Inoue 2025, 2503.04412).

    From the root down, every node draws a score for generating a new child (GEN) and one for continuing with an
    existing child (CONT), each from its posterior, and follows the higher one (Thompson sampling); to continue, it
    follows the child that draws the highest score. GEN at the root samples the question again, elsewhere it asks to
    improve the node's answer and shows its rating. A rating updates GEN of the parent and the node, and CONT and the
    node at every ancestor. The belief before the first rating is normal with unknown mean and variance
    (normal-inverse-chi-squared, m 0, kappa 1, nu 1, tau^2 0.1).

    That is AB-MCTS-A. Draws depend on the question, the number of the generation and the ratings reported before it,
    not on their order. `concurrency` generations run at a time; above 1, the virtual clock decides which ratings are
    known by then.

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

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Ask the tree what to generate and report the ratings to it, as replies arrive."""
        tree = AnswerTree(question.id)
        votes = RunningVote(question.space, self.selector)
        # The number of a generation and, while it is rated, its completion and answer
        running: dict[Handle, tuple[int, Completion | None, Answer | None]] = {}
        launched = 0
        while launched < self.n or running:
            while launched < self.n and len(running) < self.concurrency:
                prompt = refinement(question, tree.ask(launched))
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
            else:
                [drawn] = finished.completions
                answer = question.read(drawn)
                votes.count(answer, order=number)
                if answer is not None:
                    rating = yield from start(Score(question, (drawn,)))
                    running[rating] = number, drawn, answer
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

    def posterior(self) -> tuple[float, float, float, float]:
        """The posterior (m, kappa, nu, tau^2) of a normal-inverse-chi-squared prior (0, 1, 1, 0.1)."""
        n, total = self.count, self.total / UNIT
        # The sum of squared deviations, in whole numbers: the difference of floats would cancel.
        spread = (n * self.squares - self.total**2) / (UNIT * UNIT * max(n, 1))
        shift = total * total / (n * (n + 1)) if n else 0.0
        return total / (1 + n), 1.0 + n, 1.0 + n, (0.1 + spread + shift) / (1 + n)

    def draw(self, source: random.Random) -> float:
        """A mean score drawn from the posterior."""
        m, kappa, nu, tau2 = self.posterior()
        variance = nu * tau2 / source.gammavariate(nu / 2, 2.0)
        return source.gauss(m, math.sqrt(variance / kappa))


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


@dataclass(slots=True, eq=False)
class AnswerTree:
    """Decides what to generate next (`ask`) and learns from the ratings (`report`), in any order."""

    question_id: str
    root: AnswerNode = field(default_factory=AnswerNode)
    _refined: dict[int, AnswerNode] = field(default_factory=dict)

    def ask(self, number: int) -> AnswerNode:
        """The node that this generation refines; the root for a new sample of the question."""
        source = random.Random(f"{self.question_id}\0{number}")
        node = self.root
        while child := self._child(node, source):
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

    def report(self, number: int, rating: float, completion: Completion) -> None:
        """The rating of the generation of this number, 0 to 1."""
        parent = self._refined[number]
        child = AnswerNode(number, parent, rating, completion)
        bisect.insort(parent.children, child, key=lambda node: node.number)
        child.value.add(rating)
        parent.generate.add(rating)
        node = parent
        while node.parent is not None:
            node.value.add(rating)
            node.parent.continue_.add(rating)
            node = node.parent


def refinement(question: Question, node: AnswerNode) -> Prompt:
    """The question for the root; elsewhere also the node's answer and a request to improve it."""
    if node.completion is None:
        return question.prompt
    request = IMPROVE.format(
        rating=f"{node.rating:.2f}", form=question.space.instruction
    )
    return with_request(without_reply(question.prompt), node.completion.chain, request)
