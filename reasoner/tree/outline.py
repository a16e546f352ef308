"""The order in which a tree is drawn, line by line, and what of a large one is left out."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from reasoner.tree.course import Course, Node

MOST_HEADS = 100
"""Prompts that are drawn with what grew from them."""


class Row(NamedTuple):
    """A line of a drawn tree: a node, or where `node` is None, how many nodes are left out at this place."""

    level: int
    """0 for what was drawn from the head itself."""
    last: bool
    """Whether no sibling follows."""
    node: Node | None
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Outline:
    """Which nodes of a course are drawn: the path, then whatever is nearest to its head, `most` at most."""

    course: Course
    heads: tuple[int, ...]
    """The places of the heads that are drawn: the first `MOST_HEADS`, and that of the path."""
    shown: frozenset[int]
    hidden: tuple[int, ...]
    """How many nodes of each one's subtree are not drawn, itself among them."""

    @classmethod
    def of(cls, course: Course, *, most: int, deepest: int | None = None) -> "Outline":
        """The outline with `most` nodes, none of them below the depth `deepest`. Takes time linear in the nodes."""
        heads = {*range(len(course.heads))[:MOST_HEADS], *(course.nodes[place].head for place in course.path[:1])}
        shown = {place for place in course.path[:most] if deepest is None or course.nodes[place].depth <= deepest}
        waiting = deque(place for head in sorted(heads) for place in course.heads[head].children)
        while waiting and len(shown) < most:
            place = waiting.popleft()
            if deepest is None or course.nodes[place].depth <= deepest:
                shown.add(place)
                waiting.extend(course.nodes[place].children)
        hidden = [int(node.id not in shown) for node in course.nodes]
        for node in reversed(course.nodes):
            if node.parent is not None:
                hidden[node.parent] += hidden[node.id]
        return cls(course, tuple(sorted(heads)), frozenset(shown), tuple(hidden))

    @property
    def left_out(self) -> int:
        """How many nodes are not drawn."""
        return len(self.course.nodes) - len(self.shown)

    def rows(self, head: int) -> Iterator[Row]:
        """The lines under one head, parents before children."""
        stack = self._under(0, self.course.heads[head].children)
        while stack:
            row = stack.pop()
            yield row
            if row.node is not None:
                stack += self._under(row.level + 1, row.node.children)

    def _under(self, level: int, children: tuple[int, ...]) -> list[Row]:
        """The lines of siblings, the first one last, as a stack wants it."""
        rows = [Row(level, last=False, node=self.course.nodes[place]) for place in children if place in self.shown]
        left_out = sum(self.hidden[place] for place in children if place not in self.shown)
        rows += [Row(level, last=False, node=None, left_out=left_out)] if left_out else []
        if rows:
            rows[-1] = rows[-1]._replace(last=True)
        return rows[::-1]
