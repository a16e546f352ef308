"""Which nodes of a tree are shown, in which order, and how many are left out where."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from reasoner.trace.tree.search_tree import Node, SearchTree

MAX_HEADS = 100
"""Prompts that are shown with what was sampled from them."""


class Row(NamedTuple):
    """One line of a tree: a node, or where `node` is None, the number of siblings and descendants left out here."""

    level: int
    """0 for what was sampled from the head itself."""
    node: Node | None
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Outline:
    """The nodes of a tree that are shown: the path, then those nearest to their head, at most `maximum`."""

    tree: SearchTree
    heads: tuple[int, ...]
    """Indices of the heads that are shown: the first `MAX_HEADS`, and that of the path."""
    shown: frozenset[int]
    hidden: tuple[int, ...]
    """For each node, how many of itself and its descendants are left out."""

    @classmethod
    def of(cls, tree: SearchTree, *, maximum: int, deepest: int | None = None) -> "Outline":
        """The outline of at most `maximum` nodes, none below the depth `deepest`. Takes time linear in the nodes."""

        def allowed(node: int) -> bool:
            return deepest is None or tree.nodes[node].depth <= deepest

        heads = sorted({*range(len(tree.heads))[:MAX_HEADS], *(tree.nodes[node].head for node in tree.path[:1])})
        shown = set(filter(allowed, tree.path[:maximum]))
        waiting = deque(node for head in heads for node in tree.heads[head].children)
        while waiting and len(shown) < maximum:
            node_id = waiting.popleft()
            if allowed(node_id):
                shown.add(node_id)
                waiting.extend(tree.nodes[node_id].children)
        hidden = [int(node.id not in shown) for node in tree.nodes]
        for node in reversed(tree.nodes):
            if node.parent is not None:
                hidden[node.parent] += hidden[node.id]
        return cls(tree, tuple(heads), frozenset(shown), tuple(hidden))

    @property
    def left_out(self) -> int:
        """The number of nodes that are not shown."""
        return len(self.tree.nodes) - len(self.shown)

    def rows(self, head: int) -> Iterator[Row]:
        """The lines under one head, parents before children."""
        stack = self._under(0, self.tree.heads[head].children)
        while stack:
            row = stack.pop()
            yield row
            if row.node is not None:
                stack += self._under(row.level + 1, row.node.children)

    def _under(self, level: int, children: list[int]) -> list[Row]:
        """The lines of siblings, last one first, as a stack needs them."""
        left_out = sum(self.hidden[child] for child in children if child not in self.shown)
        rows = [Row(level, None, left_out)] if left_out else []
        return rows + [Row(level, self.tree.nodes[child]) for child in reversed(children) if child in self.shown]
