"""The tree of a Monte-Carlo search: which leaf is expanded next, and how its value is backed up.

No call but `best_open` visits the whole tree: each costs the depth of one path times the children on it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from reasoner.types import Completion
from reasoner_strategies._search.steps import Path

FirstPlay = Literal["verifier", "parent", "zero"]
C_BASE = 19652.0
"""AlphaZero's constant, which makes exploration grow with the visits."""


@dataclass(slots=True, eq=False)
class Node:
    """One step of a chain. `value` is its own rating, or the expected one if it could not be rated."""

    parent: "Node | None"
    value: float
    prior: float = 1.0
    order: int = 0
    above: Path | None = None
    """The chain before its step, and `last` the step: what is needed to continue it; None if it cannot be."""
    last: Completion | None = None
    terminal: bool = False
    ready: int = 1
    """How many of its children may be selected now; of a leaf, whether it may be itself."""
    visits: int = 0
    total: float = 0.0
    pending: int = 0
    """Running simulations below it, each of which counts as a visit of value 0."""
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


@dataclass(frozen=True, slots=True)
class Puct:
    """Upper confidence bounds with a prior (PUCT), as in AlphaZero."""

    c_init: float
    fpu: FirstPlay

    def exploration(self, visits: int) -> float:
        """The weight of the prior below a node with so many visits."""
        return math.log((1 + visits + C_BASE) / C_BASE) + self.c_init

    def best(self, parent: Node) -> Node:
        """The child to visit next, of those that may be selected; ties go to the earliest."""
        first_play = {"parent": parent.mean, "zero": 0.0}.get(self.fpu)
        scale = self.exploration(parent.visits) * math.sqrt(parent.visits + parent.pending)
        chosen, highest = parent, -math.inf
        for child in parent.children:
            if not child.ready:
                continue
            seen = child.visits + child.pending
            unseen = child.value if first_play is None else first_play
            score = (child.total / seen if seen else unseen) + scale * child.prior / (1 + seen)
            if score > highest:
                chosen, highest = child, score
        return chosen


@dataclass(slots=True)
class Tree:
    """A tree that grows at its leaves, several at a time.

    A leaf is taken while a simulation runs at it. It cannot be selected then, nor can a node all of whose leaves are
    taken or exhausted; with no simulation running, a root that cannot be selected is exhausted.
    """

    rules: Puct
    root: Node

    def select(self) -> Node:
        """The leaf that the next simulation reaches; the root must be ready."""
        node = self.root
        while node.children:
            node = self.rules.best(node)
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
        leaf.children, leaf.above, leaf.last = children, None, None
        if children:
            self._ready(leaf, len(children))
            self.visit(self.rules.best(leaf))

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
            if node.above and (best is None or (-node.value, node.order) < (-best.value, best.order)):
                best = node
        return best

    def _ready(self, node: Node, ready: int) -> None:
        while True:
            was, node.ready = node.ready, ready
            parent = node.parent
            if parent is None or bool(was) == bool(ready):
                return
            node, ready = parent, parent.ready + (1 if ready else -1)
