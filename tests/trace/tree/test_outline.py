"""What of a large tree is drawn, and that nothing vanishes without being counted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoner.trace.tree.outline import MAX_HEADS, Outline, Row
from tests.trace.tree.growing import Trace, beam, deep, huge


def all_rows(outline: Outline) -> list[Row]:
    return [row for head in range(len(outline.tree.heads)) for row in outline.rows(head)]


def test_a_small_tree_is_drawn_whole_parents_before_children() -> None:
    outline = Outline.of(beam().tree, maximum=10)
    assert outline.left_out == 0
    assert [(row.node.id if row.node else None, row.level) for row in outline.rows(0)] == [
        (0, 0),
        (3, 1),
        (4, 1),
        (1, 0),
        (5, 1),
        (2, 0),
    ]


def test_what_is_nearest_to_the_prompt_is_kept_and_the_path_first() -> None:
    outline = Outline.of(beam().tree, maximum=4)
    assert outline.shown == {0, 1, 2, 5}
    assert [(row.node.id if row.node else None, row.left_out) for row in outline.rows(0)] == [
        (0, 0), (None, 2), (1, 0), (5, 0), (2, 0),
    ]  # fmt: skip


def test_nothing_is_nested_deeper_than_asked() -> None:
    outline = Outline.of(deep(50).tree, maximum=1000, deepest=20)
    assert [row.level for row in outline.rows(0)] == list(range(21))
    assert outline.left_out == [*outline.rows(0)][-1].left_out == 30


@settings(max_examples=100, deadline=None)
@given(parents=st.lists(st.integers(-2, 30), max_size=40), maximum=st.integers(1, 45), deepest=st.integers(1, 10))
def test_each_node_is_drawn_or_counted_once(parents: list[int], maximum: int, deepest: int) -> None:
    trace = Trace().begin()
    trace.head("other", "Which one?")
    names: list[str] = []
    for place, parent in enumerate(parents):
        on = names[parent % len(names)] if parent >= 0 and names else ("head", "other")[parent % 2]
        names.append(trace.draw(on, child=f"drawn {place}"))
    outline = Outline.of(trace.end().tree, maximum=maximum, deepest=deepest)
    rows = all_rows(outline)
    drawn = [row.node.id for row in rows if row.node]
    assert sorted(drawn) == sorted(outline.shown)
    assert len(drawn) <= maximum
    assert sum(row.left_out for row in rows) == outline.left_out == len(parents) - len(drawn)
    assert all(row.node.depth == row.level + 1 <= deepest for row in rows if row.node)


@pytest.mark.parametrize("shape", ["wide", "deep", "both"])
def test_ten_thousand_nodes_are_looked_at_once_each(shape: str) -> None:
    tree = huge(shape).tree
    assert len(tree.nodes) >= 10_000
    outline = Outline.of(tree, maximum=200)
    rows = all_rows(outline)
    assert len(rows) <= 2 * 200
    assert sum(row.left_out for row in rows) + 200 == len(tree.nodes)


def test_of_many_prompts_the_first_are_drawn_and_that_of_the_path() -> None:
    trace = Trace().begin()
    for place in range(MAX_HEADS + 50):
        trace.head(f"prompt {place}", f"Which one? {place}")
        trace.draw(f"prompt {place}", stop=None, answer="7" if place == MAX_HEADS + 20 else "8")
    tree = trace.end().tree
    outline = Outline.of(tree, maximum=1000)
    assert outline.heads == (*range(MAX_HEADS), MAX_HEADS + 21)
    assert outline.left_out == 50
    assert tree.path[0] in outline.shown
