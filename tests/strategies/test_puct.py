"""The tree of a Monte-Carlo search by itself."""

import random
from dataclasses import replace

import pytest

from reasoner_strategies._search.puct import FirstPlay, Node, Puct, Tree
from reasoner_strategies._search.steps import Path
from tests.helpers import PROMPT

RULES = Puct(c_init=1.25, fpu="verifier")


def parent(visits: int = 10, mean: float = 0.55) -> Node:
    return Node(None, 0.5, visits=visits, total=visits * mean)


def child(above: Node, visits: int, mean: float, prior: float, *, value: float = 0.55, pending: int = 0) -> Node:
    return Node(above, value, prior, visits=visits, total=visits * mean, pending=pending)


def published() -> tuple[Node, tuple[Node, ...]]:
    root = parent()
    root.children = (child(root, 5, 0.6, 0.5), child(root, 4, 0.5, 0.3), child(root, 0, 0.0, 0.2))
    return root, root.children


def score_of(root: Node, one: Node, rules: Puct = RULES) -> float:
    """What the rules give a child: at which mean a rival without a prior ties with it."""
    low, high = 0.0, 4.0
    for _ in range(40):
        middle = (low + high) / 2
        rival = Node(root, 0, 0.0, visits=1, total=middle)
        root.children = (rival, one)
        low, high = (middle, high) if rules.best(root) is one else (low, middle)
    return low


def test_the_published_scores_and_the_pick_that_flips() -> None:
    assert RULES.exploration(10) == pytest.approx(1.250560, abs=1e-6)
    root, (first, second, third) = published()
    assert score_of(root, first) == pytest.approx(0.92955, abs=1e-5)
    assert score_of(root, second) == pytest.approx(0.73728, abs=1e-5)
    assert score_of(root, third) == pytest.approx(1.34092, abs=1e-5)
    assert score_of(root, third, replace(RULES, fpu="zero")) == pytest.approx(0.79092, abs=1e-5)
    assert score_of(root, third, replace(RULES, fpu="parent")) == pytest.approx(1.34092, abs=1e-5)
    root.children = (first, second, third)
    assert RULES.best(root) is third
    assert replace(RULES, fpu="zero").best(root) is first


def test_a_pending_visit_counts_as_one_of_value_0() -> None:
    root, (first, _, _) = published()
    first.pending = root.pending = 1
    assert score_of(root, first) == pytest.approx(0.79626, abs=1e-5)


def test_equal_children_are_visited_in_launch_order() -> None:
    root = parent(visits=0)
    root.children = tuple(child(root, 0, 0.0, 0.25) for _ in range(4))
    assert RULES.best(root) is root.children[0]
    root.children[0].ready = 0
    assert RULES.best(root) is root.children[1]


def everyone(root: Node) -> list[Node]:
    found, left = [], [root]
    while left:
        node = left.pop()
        found.append(node)
        left += node.children
    return found


@pytest.mark.parametrize("fpu", ["verifier", "parent", "zero"])
def test_whatever_the_order_of_simulations_the_counts_are_those_of_the_whole_tree(fpu: FirstPlay) -> None:
    """Random simulations that overlap, checked against counting the tree again after each."""
    for seed in range(20):
        source = random.Random(seed)
        open_path = Path(PROMPT)
        tree = Tree(Puct(1.0, fpu), Node(None, 0.5, above=open_path))
        taken: list[Node] = []
        steps, size = 0, 1
        while tree.root.ready or taken:
            steps += 1
            if tree.root.ready and len(taken) < 5 and (not taken or source.random() < 0.6):
                leaf = tree.select()
                assert not leaf.children
                assert leaf not in taken
                if leaf.terminal:
                    tree.visit(leaf)
                else:
                    tree.take(leaf)
                    taken.append(leaf)
            else:
                leaf = taken.pop(source.randrange(len(taken)))
                width = source.randint(0, 3) if size < 60 else 0
                children = tuple(Node(leaf, source.random(), 1 / width, size + at) for at in range(width))
                size += width
                for one in children:
                    one.terminal = source.random() < 0.3
                    one.above = None if one.terminal else open_path
                tree.leave(leaf, children)
            nodes = everyone(tree.root)
            for node in nodes:
                if node.children:
                    assert node.ready == sum(one.ready > 0 for one in node.children)
                    assert node.visits >= sum(one.visits for one in node.children)
                elif not node.terminal:
                    assert node.ready == (node.above is not None and node not in taken)
                below = everyone(node)
                assert node.pending == sum(one in below for one in taken)
            openable = [node for node in nodes if node.above]
            best = min(openable, key=lambda node: (-node.value, node.order), default=None)
            assert tree.best_open() is best
        assert all(node.visits == 1 for node in everyone(tree.root) if node.terminal)
        assert steps > 1
