"""The outline: bounded, and every sequence is shown or counted."""

from hypothesis import given, settings
from hypothesis import strategies as st

from reasoner.trace.outline import Outline
from tests.trace.tree.growing import Trace, beam, deep


def test_the_path_is_shown_first_then_what_is_nearest_to_the_prompt_and_the_rest_is_counted() -> (
    None
):
    outline = Outline.of(beam().tree, maximum=4)
    assert outline.shown == {0, 1, 2, 5}
    assert [(row.node.id, row.level) for row in outline.rows(0)] == [
        (0, 0),
        (1, 0),
        (5, 1),
        (2, 0),
    ]
    chain = Outline.of(deep(50).tree, maximum=1000, deepest=20)
    assert [row.level for row in chain.rows(0)] == list(range(20))
    assert chain.left_out == 30


@settings(max_examples=100, deadline=None)
@given(
    parents=st.lists(st.integers(-2, 30), max_size=40),
    maximum=st.integers(1, 45),
    deepest=st.integers(1, 10),
)
def test_each_node_is_drawn_or_counted_once(
    parents: list[int], maximum: int, deepest: int
) -> None:
    trace = Trace().begin()
    trace.head("other", "Which one?")
    names: list[str] = []
    for place, parent in enumerate(parents):
        on = (
            names[parent % len(names)]
            if parent >= 0 and names
            else ("head", "other")[parent % 2]
        )
        names.append(trace.draw(on, child=f"drawn {place}"))
    outline = Outline.of(trace.end().tree, maximum=maximum, deepest=deepest)
    rows = [
        row for head in range(len(outline.tree.heads)) for row in outline.rows(head)
    ]
    drawn = [row.node.id for row in rows]
    assert sorted(drawn) == sorted(outline.shown)
    assert len(drawn) <= maximum
    assert outline.left_out == len(parents) - len(drawn)
    assert all(row.node.depth == row.level + 1 <= deepest for row in rows)
