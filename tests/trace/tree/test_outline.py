"""The outline and the drawing: bounded, and every sequence is shown or counted."""

from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoner.trace.outline import MAX_HEADS, Outline
from reasoner.trace.page import MAX_DRAWN, MAX_GROUPS, layout, steps_of, votes_of
from tests.trace.tree.growing import Trace, beam, deep, huge


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(st.integers(-5, 1), max_size=60))
def test_items_of_a_level_are_a_row_apart_and_parents_are_in_the_middle(steps: list[int]) -> None:
    levels = [0]
    for step in steps:
        levels.append(max(0, min(levels[-1] + 1, levels[-1] + step)))
    rows = layout(levels)
    assert min(rows) == 0
    by_level: dict[int, list[float]] = defaultdict(list)
    children: dict[int, list[float]] = defaultdict(list)
    branch: list[int] = []
    for item, (level, row) in enumerate(zip(levels, rows, strict=True)):
        by_level[level].append(row)
        del branch[level:]
        if branch:
            children[branch[-1]].append(row)
        branch.append(item)
    for level_rows in by_level.values():
        assert all(b - a >= 1 for a, b in pairwise(level_rows))
    for parent, below in children.items():
        assert rows[parent] == (below[0] + below[-1]) / 2


def test_a_tree_is_drawn_from_its_prompt_with_the_path_and_the_scores() -> None:
    drawing = steps_of(beam().tree)
    assert drawing
    looks = {mark.node.id: mark.look for mark in drawing.marks if mark.node}
    assert looks == {0: "s3", 1: "s2 on-path", 2: "s1 faint", 3: "s2", 4: "s4", 5: "s4 on-path final"}
    assert [mark.label for mark in drawing.marks if mark.node and mark.node.id == 5] == ["→ 7 · 0.90"]
    assert [mark.x for mark in drawing.marks if mark.look == "prompt"] == [0]
    assert (drawing.left_out, drawing.levels) == (0, 2)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["deep", "both"])
def test_a_drawing_of_ten_thousand_nodes_is_bounded_and_counts_the_others(shape: str) -> None:
    tree = huge(shape).tree
    drawing = steps_of(tree)
    assert drawing
    drawn = [mark.node.id for mark in drawing.marks if mark.node]
    assert len(drawn) <= MAX_DRAWN
    assert drawing.left_out == len(tree.nodes) - len(drawn)
    assert drawing.height < 2000


@given(answers=st.lists(st.integers(0, 40), min_size=2, max_size=300), final=st.integers(0, 40))
@settings(max_examples=50, deadline=None)
def test_samples_without_steps_are_grouped_by_answer_and_each_is_counted_once(answers: list[int], final: int) -> None:
    trace = Trace().begin()
    for answer in answers:
        trace.draw("head", stop=None, answer=str(answer) if answer else None)
    groups = votes_of(trace.end(str(final) if final else None).tree)
    assert sum(group.samples for group in groups) == len(answers)
    assert len(groups) <= MAX_GROUPS + 3
    chosen = [group.samples for group in groups if group.chosen]
    assert chosen == ([answers.count(final)] if final and final in answers else [])
    counts = [group.samples for group in groups if group.name and not group.chosen]
    assert counts == sorted(counts, reverse=True)


def test_steps_and_votes_are_shown_where_there_are_any() -> None:
    assert (steps_of(deep(1).tree), votes_of(deep(1).tree)) == (None, [])
    assert votes_of(beam().tree) == []


def test_the_path_is_shown_first_then_what_is_nearest_to_the_prompt_and_the_rest_is_counted() -> None:
    outline = Outline.of(beam().tree, maximum=4)
    assert outline.shown == {0, 1, 2, 5}
    assert [(row.node.id if row.node else None, row.level, row.left_out) for row in outline.rows(0)] == [
        (0, 0, 0), (None, 1, 2), (1, 0, 0), (5, 1, 0), (2, 0, 0),
    ]  # fmt: skip
    chain = Outline.of(deep(50).tree, maximum=1000, deepest=20)
    assert [row.level for row in chain.rows(0)] == list(range(21))
    assert chain.left_out == [*chain.rows(0)][-1].left_out == 30


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
    rows = [row for head in range(len(outline.tree.heads)) for row in outline.rows(head)]
    drawn = [row.node.id for row in rows if row.node]
    assert sorted(drawn) == sorted(outline.shown)
    assert len(drawn) <= maximum
    assert sum(row.left_out for row in rows) == outline.left_out == len(parents) - len(drawn)
    assert all(row.node.depth == row.level + 1 <= deepest for row in rows if row.node)


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
