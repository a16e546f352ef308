"""The drawing: tidy, bounded, with every sequence drawn or counted."""

from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoner.trace.tree.drawing import MAX_DRAWN, MAX_GROUPS, Forest, Groups, depth_costs, drawing_of
from reasoner.trace.tree.layout import tidy
from tests.trace.tree.growing import Trace, beam, deep, huge


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(st.integers(-5, 1), max_size=60), reach=st.integers(0, 2))
def test_no_two_items_of_a_level_are_closer_than_one_row_and_parents_are_in_the_middle(
    steps: list[int], reach: int
) -> None:
    levels = [0]
    for step in steps:
        levels.append(max(0, min(levels[-1] + 1, levels[-1] + step)))
    rows = tidy(levels, [reach] * len(levels))
    assert min(rows) == pytest.approx(0)
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
        assert all(b - a >= 1 - 1e-9 for a, b in pairwise(level_rows))
    for parent, below in children.items():
        assert rows[parent] == pytest.approx((below[0] + below[-1]) / 2)


def test_a_tree_is_drawn_from_its_prompt_with_the_path_and_the_scores() -> None:
    drawing = drawing_of(beam().tree)
    assert isinstance(drawing, Forest)
    looks = {mark.node.id: mark.look for mark in drawing.marks if mark.node}
    assert looks == {0: "s3", 1: "s2 on-path", 2: "s1 faint", 3: "s2", 4: "s4", 5: "s4 on-path final"}
    assert [mark.label for mark in drawing.marks if mark.node and mark.node.id == 5] == ["→ 7 · 0.90"]
    assert [mark.x for mark in drawing.marks if mark.look == "prompt"] == [0]
    assert (drawing.left_out, drawing.levels) == (0, 2)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["deep", "both"])
def test_a_drawing_of_ten_thousand_nodes_is_bounded_and_counts_the_others(shape: str) -> None:
    tree = huge(shape).tree
    drawing = drawing_of(tree)
    assert isinstance(drawing, Forest)
    drawn = [mark.node.id for mark in drawing.marks if mark.node]
    assert len(drawn) <= MAX_DRAWN
    assert drawing.left_out == len(tree.nodes) - len(drawn)
    assert drawing.height < 2000
    assert sum(row.sequences for row in depth_costs(tree)) == len(tree.nodes)
    assert sum(row.share for row in depth_costs(tree)) == pytest.approx(1)


@given(answers=st.lists(st.integers(0, 40), min_size=2, max_size=300), final=st.integers(0, 40))
@settings(max_examples=50, deadline=None)
def test_samples_without_steps_are_grouped_by_answer_and_each_is_counted_once(answers: list[int], final: int) -> None:
    trace = Trace().begin()
    for answer in answers:
        trace.draw("head", stop=None, answer=str(answer) if answer else None)
    drawing = drawing_of(trace.end(str(final) if final else None).tree)
    assert isinstance(drawing, Groups)
    assert sum(group.samples for group in drawing.groups) == len(answers)
    assert sum(len(group.marks) for group in drawing.groups) == min(len(answers), MAX_DRAWN)
    assert len(drawing.groups) <= MAX_GROUPS + 3
    chosen = [group.samples for group in drawing.groups if group.chosen]
    assert chosen == ([answers.count(final)] if final and final in answers else [])
    counts = [group.samples for group in drawing.groups if group.name and not group.chosen]
    assert counts == sorted(counts, reverse=True)


def test_one_sequence_has_no_drawing() -> None:
    assert drawing_of(deep(1).tree) is None
