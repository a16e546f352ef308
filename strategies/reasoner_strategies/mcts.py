"""Monte-Carlo tree search with PUCT over reasoning steps."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

from reasoner import Answer, Completion, Question
from reasoner.specs import Count, Range, Samples
from reasoner.strategy import (
    BudgetExhausted,
    Finished,
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
    `select` "uct" adds c_init sqrt(ln N / n) to the mean of a step with n visits instead, or 1, without a prior, as RAP
    does with c_init=1.

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
    select: Literal["puct", "uct"] = "puct"

    def plan(self, question: Question) -> Plan[Answer | None]:
        """Search until the tree, the simulations or the budget are used up; then vote."""
        # The prior is made of log-probabilities.
        options = replace(
            self, params=replace(self.params, logprobs=self.params.logprobs or 0)
        )
        tree = Tree(
            self.c_init,
            # The value of a step while nothing has been rated
            Node(None, 0.5, path=Path(question.prompt)),
            self.select,
        )
        search = _Search(
            options, question, tree, RunningVote(question.space, self.selector)
        )
        try:
            yield from search.run()
        except BudgetExhausted:
            search.abandon()
        votes = search.votes
        if not votes.answered and (node := tree.best_open()) and node.path:
            path = yield from options.closing(node.path)
            votes.count(path.answer(question), order=path.order)
        return (yield from votes.publish()).leader


@dataclass(slots=True, eq=False)
class Node:
    """One step of a chain. `value` is its own rating, or the expected one if it could not be rated."""

    parent: "Node | None"
    value: float
    prior: float = 1.0
    order: int = 0
    path: Path | None = None
    """The chain up to its step while it can be continued, else None."""
    terminal: bool = False
    ready: int = 1
    """How many of its children may be selected now; of a leaf, whether it may be itself."""
    visits: int = 0
    total: float = 0.0
    pending: int = 0
    """Running simulations below it; each counts as a visit of value 0."""
    children: tuple["Node", ...] = ()

    @property
    def mean(self) -> float:
        """The mean value of its visits; its own value before the first."""
        return self.total / self.visits if self.visits else self.value

    def path_up(self) -> "Iterator[Node]":
        """The node and those above it, up to the root."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent


@dataclass(slots=True)
class Tree:
    """A tree that grows at its leaves, several at a time, by upper confidence bounds; with a prior as in AlphaZero.

    A leaf is taken while a simulation runs at it. It cannot be selected then, nor can a node if all its leaves are
    taken or exhausted; with no simulation running, a root that cannot be selected is exhausted.
    """

    c_init: float
    root: Node
    select_by: Literal["puct", "uct"] = "puct"

    def exploration(self, visits: int) -> float:
        """The weight of the prior below a node with this number of visits."""
        return math.log((1 + visits + C_BASE) / C_BASE) + self.c_init

    def best(self, parent: Node) -> Node:
        """The child to visit next, of those that may be selected; ties go to the earliest."""
        visits, uct = parent.visits + parent.pending, self.select_by == "uct"
        scale = (
            self.c_init * math.sqrt(math.log(max(1, visits)))
            if uct
            else self.exploration(parent.visits) * math.sqrt(visits)
        )
        chosen, highest = parent, -math.inf
        for child in parent.children:
            if not child.ready:
                continue
            seen = child.visits + child.pending
            bonus = 1 / math.sqrt(max(1, seen)) if uct else child.prior / (1 + seen)
            score = (child.total / seen if seen else child.value) + scale * bonus
            if score > highest:
                chosen, highest = child, score
        return chosen

    def select(self) -> Node:
        """The leaf that the next simulation reaches; the root must be ready."""
        node = self.root
        while node.children:
            node = self.best(node)
        return node

    def take(self, leaf: Node) -> None:
        """Begin a simulation: close the leaf to others, and count a virtual loss on the path to it."""
        self._ready(leaf, 0)
        for node in leaf.path_up():
            node.pending += 1

    def leave(self, leaf: Node, children: tuple[Node, ...]) -> None:
        """End a simulation: the leaf has these children, or leads nowhere. The best of them is visited."""
        for node in leaf.path_up():
            node.pending -= 1
        leaf.children, leaf.path = children, None
        if children:
            self._ready(leaf, len(children))
            self.visit(self.best(leaf))

    def visit(self, node: Node) -> None:
        """Add the value of a node on the path to the root. A chain that ended is not visited again."""
        if node.terminal:
            self._ready(node, 0)
        for above in node.path_up():
            above.visits += 1
            above.total += node.value

    def best_open(self) -> Node | None:
        """The leaf of the highest value from which a chain may continue, or the earliest; visits all nodes."""
        best, left = None, [self.root]
        while left:
            node = left.pop()
            left += node.children
            if node.path and (
                best is None or (-node.value, node.order) < (-best.value, best.order)
            ):
                best = node
        return best

    def _ready(self, node: Node, ready: int) -> None:
        while True:
            was, node.ready = node.ready, ready
            parent = node.parent
            if parent is None or bool(was) == bool(ready):
                return
            node, ready = parent, parent.ready + (1 if ready else -1)


@dataclass(slots=True, eq=False)
class _Expansion:
    """A leaf that is being expanded, the chain up to it, and the chains up to the steps that were drawn there."""

    leaf: Node
    path: Path
    number: int
    steps: list[Path] = field(default_factory=list)

    @property
    def drawn(self) -> tuple[Completion, ...]:
        return tuple(step.last for step in self.steps if step.last)


@dataclass(slots=True, eq=False)
class _Search:
    """The state of one plan."""

    options: Mcts
    question: Question
    tree: Tree
    votes: RunningVote
    expansions: int = 0
    running: dict[Handle, _Expansion] = field(default_factory=dict)

    def run(self) -> Plan[None]:
        options, tree = self.options, self.tree
        while True:
            while (
                len(self.running) < options.concurrency
                and tree.root.ready
                and self.expansions < options.simulations
            ):
                leaf = tree.select()
                if leaf.terminal:
                    tree.visit(leaf)
                else:
                    yield from self._expand(leaf)
            if not self.running:
                return
            finished = yield from next_finished()
            yield from self._arrived(self.running.pop(finished.handle), finished)
            yield from self.votes.publish_sometimes()

    def _expand(self, leaf: Node) -> Plan[None]:
        assert leaf.path is not None
        expansion = _Expansion(leaf, leaf.path, self.expansions)
        self.tree.take(leaf)
        params = self.options.draws(expansion.path)
        op = Sample(
            (expansion.path.prompt,),
            self.options.k,
            params,
            reserve=self.options.reserve,
        )
        self.running[(yield from start(op))] = expansion
        self.expansions += 1

    def _arrived(self, expansion: _Expansion, finished: Finished) -> Plan[None]:
        if finished.ratings:
            self._grow(expansion, [rating.value for rating in finished.ratings])
            return
        self._keep(expansion, finished.completions)
        if expansion.steps:
            handle = yield from start(
                Score(self.question, expansion.drawn, self.options.reserve)
            )
            self.running[handle] = expansion
        else:
            self._grow(expansion, [])

    def _keep(self, expansion: _Expansion, completions: Sequence[Completion]) -> None:
        """Keep the steps that lead somewhere, equal ones once."""
        known = set()
        for index, completion in enumerate(completions):
            content = (completion.token_ids, completion.text)
            if content in known:
                continue
            known.add(content)
            path = self.options.grown(
                expansion.path,
                completion,
                order=expansion.number * self.options.k + index,
            )
            answer = path.answer(self.question)
            if not path.open:
                self.votes.count(answer, order=path.order)
            if path.open or answer is not None:
                expansion.steps.append(path)

    def _grow(self, expansion: _Expansion, values: Sequence[float | None]) -> None:
        leaf, children = expansion.leaf, list[Node]()
        for step, weight, value in zip(
            expansion.steps, prior(expansion.drawn), values, strict=True
        ):
            answer = step.answer(self.question)
            if answer is not None:
                self.votes.rate(answer, value, order=step.order)
            known = leaf.mean if value is None else value
            path = replace(step, last=None) if step.open else None
            children.append(
                Node(leaf, known, weight, step.order, path, terminal=not step.open)
            )
        self.tree.leave(leaf, tuple(children))

    def abandon(self) -> None:
        """End all expansions: steps that were drawn and will not be rated stay in the tree."""
        for expansion in self.running.values():
            if expansion.steps:
                self._grow(expansion, [None] * len(expansion.steps))


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
