"""Monte-Carlo tree search with PUCT over reasoning steps."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from reasoner import Answer, Completion, Question, Rating
from reasoner.specs import Count, Range, Samples
from reasoner.strategy import (
    BudgetExhausted,
    Handle,
    Plan,
    Sample,
    Score,
    next_finished,
    start,
)
from reasoner_strategies._search.steps import Path, StepOptions
from reasoner_strategies._voting.pool import RunningVote, Selector, softmax

C_BASE = 19652.0
"""AlphaZero's constant, which makes exploration grow with the visits."""


@dataclass(frozen=True, slots=True)
class Mcts(StepOptions):
    """Steps as moves, in the form of AlphaZero (RAP: Hao 2023, 2305.14992; rStar: Qi 2024, 2408.06195).

    A simulation descends to a leaf by PUCT, draws `k` steps there, rates them all at once, visits the best of them and
    backs its rating up as a running mean. The prior of a step is the softmax of its tokens' mean log-probability, so
    that long steps are not at a disadvantage; uniform if the engine reports none. The weight of the prior below a
    node with N visits is ln((N + 19653) / 19652) + c_init. Before its first visit a step has the value of its rating.

    At most `simulations` leaves are expanded, `concurrency` of them at a time: the search continues while long steps
    run, and each counts as a visit of value 0 that keeps others off its path (virtual loss). Steps come back in the
    order of the virtual clock, so the tree depends on the replies only; with `concurrency` 1 it is the textbook's.
    Equal siblings are one step. A chain that ended is visited once, at no cost; the search ends when all have been.

    A step that could not be rated counts as much as its parent. Steps that lead nowhere (cut, or the end of a chain
    without an answer) are not rated and not visited. `selector` chooses among the chains that ended.
    """

    listed_under: ClassVar[str] = "Search over steps"
    uses_verifier: ClassVar[bool] = True

    simulations: Samples = 40
    k: Samples = 4
    c_init: Annotated[float, Range(at_least=0, below=math.inf)] = 1.25
    concurrency: Count = 4
    selector: Selector = "weighted"

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Search until the tree, the simulations or the budget are used up; then vote."""
        # The prior is made of log-probabilities.
        params = replace(self.params, logprobs=self.params.logprobs or 0)
        options, votes = (
            replace(self, params=params),
            RunningVote(question.space, self.selector),
        )
        search = _Search(options, question, votes, [Node(Path(question.prompt))])
        with suppress(BudgetExhausted):
            yield from search.run()
        leaves = [
            each for each in search.nodes if each.path.open and each.children is None
        ]
        if leaves and not votes.answered:
            best = min(leaves, key=lambda leaf: (-leaf.value, leaf.path.order))
            path = yield from options.closing(best.path)
            votes.count(path.answer(question), order=path.order)
        return (yield from votes.publish()).leader


@dataclass(slots=True, eq=False)
class Node:
    """One step of a chain. `value` is its own rating, or its parent's if it could not be rated.

    It is `ready` if it, or one below it, may be selected now: neither taken by a running simulation nor exhausted.
    `children` are None until its next steps have been drawn.
    """

    path: Path
    parent: "Node | None" = None
    value: float = 0.5
    prior: float = 1.0
    ready: bool = True
    visits: int = 0
    """Each simulation that runs below it counts as one of value 0."""
    total: float = 0.0
    children: "Sequence[Node] | None" = None

    def best(self, c_init: float) -> "Node":
        """The child to visit next, of those that are ready, by upper confidence bounds; ties go to the earliest."""
        growth = math.log((1 + self.visits + C_BASE) / C_BASE)
        scale = (growth + c_init) * math.sqrt(self.visits)

        def bound(child: Node) -> float:
            mean = child.total / child.visits if child.visits else child.value
            return mean + scale * child.prior / (1 + child.visits)

        return max((node for node in self.children or () if node.ready), key=bound)

    def leaf(self, c_init: float) -> "Node":
        """The leaf that the next simulation reaches from here."""
        node = self
        while node.children:
            node = node.best(c_init)
        return node

    def back_up(self, visits: int, value: float = 0.0) -> None:
        """Add visits and their value here and above, up to the root, and say again what is ready there."""
        node: Node | None = self
        while node:
            if node.children:
                node.ready = any(child.ready for child in node.children)
            node.visits += visits
            node.total += value
            node = node.parent


@dataclass(slots=True, eq=False)
class _Search:
    """The state of one plan; the first of its nodes is the root."""

    options: Mcts
    question: Question
    votes: RunningVote
    nodes: list[Node]
    running: dict[Handle, tuple[int, Node]] = field(default_factory=dict)
    """The number of each expansion that runs, and the leaf that it is at."""
    expansions: int = 0

    def run(self) -> Plan[None]:
        """Expand leaves until none is left."""
        while True:
            while (
                len(self.running) < self.options.concurrency
                and self.nodes[0].ready
                and self.expansions < self.options.simulations
            ):
                leaf = self.nodes[0].leaf(self.options.c_init)
                if leaf.path.open:
                    yield from self._expand(leaf)
                else:
                    self._visit(leaf)
            if not self.running:
                return
            finished = yield from next_finished()
            number, leaf = self.running.pop(finished.handle)
            if finished.completions:
                yield from self._grow(number, leaf, finished.completions)
            else:
                self._rate(leaf, finished.ratings)
            yield from self.votes.publish_sometimes()

    def _visit(self, node: Node) -> None:
        """Back up the value of a node. A chain that ended is not visited again."""
        node.ready = node.path.open
        node.back_up(1, node.value)

    def _expand(self, leaf: Node) -> Plan[None]:
        """Draw the next steps of a leaf, which is taken until they are rated."""
        leaf.ready = False
        leaf.back_up(1)
        op = Sample(
            (leaf.path.prompt,),
            self.options.k,
            self.options.draws(leaf.path),
            reserve=self.options.reserve,
        )
        self.running[(yield from start(op))] = self.expansions, leaf
        self.expansions += 1

    def _grow(
        self, number: int, leaf: Node, completions: Sequence[Completion]
    ) -> Plan[None]:
        """Have the steps rated that lead somewhere, equal ones once; until then each has its parent's value."""
        distinct: dict[object, Path] = {}
        for order, drawn in enumerate(completions, number * self.options.k):
            path = self.options.grown(leaf.path, drawn, order=order)
            distinct.setdefault((drawn.token_ids, drawn.text), path)
        for path in distinct.values():
            if not path.open:
                self.votes.count(path.answer(self.question), order=path.order)
        paths = [
            path
            for path in distinct.values()
            if path.open or path.answer(self.question)
        ]
        steps = [path.last for path in paths if path.last]
        leaf.children = [
            Node(path, leaf, leaf.value, weight)
            for path, weight in zip(paths, prior(steps), strict=True)
        ]
        self.nodes += leaf.children
        if steps:
            op = Score(self.question, tuple(steps), self.options.reserve)
            self.running[(yield from start(op))] = number, leaf
        else:
            self._rate(leaf, ())

    def _rate(self, leaf: Node, ratings: Sequence[Rating]) -> None:
        """End a simulation with the ratings of a leaf's children, and visit the best of them."""
        for step, rating in zip(leaf.children or (), ratings, strict=True):
            step.value = step.value if rating.value is None else rating.value
            if answer := step.path.answer(self.question):
                self.votes.rate(answer, rating.value, order=step.path.order)
        leaf.back_up(-1)
        if leaf.children:
            self._visit(leaf.best(self.options.c_init))


def prior(steps: Sequence[Completion]) -> list[float]:
    """The softmax of the steps' mean log-probability; uniform if one of them has none."""
    means = [
        math.fsum(step.logprobs.sampled) / len(step.logprobs.sampled)
        for step in steps
        if step.logprobs and step.logprobs.sampled
    ]
    if len(means) < len(steps) or not all(map(math.isfinite, means)):
        return [1 / len(steps)] * len(steps)
    return softmax(means)
