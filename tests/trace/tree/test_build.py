"""Search trees: every sequence is one node, every token is counted once, and each has the right state."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasoner import Cost, solve_sync
from reasoner.budget import Budget
from reasoner.errors import TraceError
from reasoner.registry import build
from reasoner.testing.support import number_question
from reasoner.trace.events import Dropped, Event, Sampled, Scored
from reasoner.trace.view import search_trees
from tests.stepping import StepJudge, StepWorld, noisy
from tests.trace.tree.growing import Trace, beam, deep


def states(trace: Trace) -> list[str]:
    return [node.state for node in trace.tree.nodes]


def test_a_beam_has_continued_pruned_and_answered_nodes_and_the_path_to_the_best_rated_answer() -> (
    None
):
    tree = beam().tree
    assert states(beam()) == [
        "continued",
        "continued",
        "pruned",
        "answered",
        "answered",
        "answered",
    ]
    assert [node.parent for node in tree.nodes] == [None, None, None, 0, 0, 1]
    assert [node.depth for node in tree.nodes] == [1, 1, 1, 2, 2, 2]
    assert tree.heads[0].children == [0, 1, 2]
    assert tree.path == (1, 5)
    assert [node.id for node in tree.nodes if node.on_path] == [1, 5]


def test_the_path_ends_at_the_first_complete_reply_with_the_answer() -> None:
    unrated = Trace().begin()
    for said in ("8", "7", "7"):
        unrated.draw("head", said, stop=None, answer=said)
    assert unrated.end().tree.path == (1,)
    stepped = Trace().begin()
    step = stepped.draw("head", "3 + 4 = 7", answer="7", value=1.0)
    stepped.draw(step, "The answer is 7", stop=None, answer="7", value=0.1)
    assert stepped.end().tree.path == (0, 1)
    stepped.events.pop()
    assert stepped.end("9").tree.path == ()


def test_steps_that_nothing_continued_are_open_and_in_a_killed_run_none_is_pruned() -> (
    None
):
    trace = Trace().begin()
    step = trace.draw("head")
    trace.draw(step, "4", answer="4")
    trace.draw(step, "longer", finish="length", stop=None)
    assert states(trace.end()) == ["continued", "open", "open"]
    killed = Trace().begin()
    killed.draw(killed.draw("head"))
    killed.draw("head")
    tree = killed.propose("7").tree
    assert [node.state for node in tree.nodes] == ["continued", "open", "open"]
    assert tree.ended_by is None
    assert tree.answer is not None
    assert (tree.cost.tokens, tree.cost.seconds) == (3 * (5 + 3), 1)


def test_the_first_of_equal_siblings_is_continued() -> None:
    trace = Trace().begin()
    trace.draw("head", "so", child="same")
    trace.draw("head", "so", child="same")
    trace.draw("same", "7", stop=None, answer="7")
    first, second, last = trace.end().tree.nodes
    assert (first.children, second.children, last.parent) == ([2], [], 0)
    assert second.state == "pruned"
    # An empty sequence leads to its own prompt.
    empty = Trace().begin()
    empty.draw("head", "", child="head")
    empty.draw("head", "7", stop=None, answer="7")
    assert [(node.parent, node.depth) for node in empty.end().tree.nodes] == [
        (None, 1)
    ] * 2


def test_each_prompt_has_a_tree_and_a_prefill_is_a_part_of_its_node() -> None:
    trace = Trace().begin()
    step = trace.draw("head", "so")
    trace.draw(trace.put(trace.put(step, "Wait,"), " no:"), "7", stop=None, answer="7")
    trace.head("judging", "Which one?")
    trace.draw("judging", "The first.", stop=None)
    tree = trace.end().tree
    assert (tree.nodes[1].parent, tree.nodes[1].prefill, tree.nodes[1].text) == (
        0,
        "Wait, no:",
        "7",
    )
    assert [(head.text, head.children) for head in tree.heads] == [
        ("How many?", [0]),
        ("Which one?", [2]),
    ]
    assert [(node.head, node.depth) for node in tree.nodes] == [(0, 1), (0, 2), (1, 1)]


def test_a_failed_rating_is_no_score_and_ratings_of_unknown_sequences_are_counted() -> (
    None
):
    trace = Trace().begin()
    trace.draw("head", "7", stop=None, answer="7")
    trace.rate("head", 0, None, error="RequestLost: gone")
    assert trace.tree.nodes[0].score is None
    trace.rate("head", 0, 0.5)
    trace.rate("head", 0, None, error="cancelled")
    trace.rate("head", 9, 0.5)
    tree = trace.tree
    assert (tree.nodes[0].score, len(tree.nodes[0].ratings)) == (0.5, 3)
    assert tree.cost.verifier_tokens == 4 * 7


@pytest.mark.parametrize("interrupted", [True, False])
def test_a_resumed_question_continues_its_tree_and_one_asked_again_has_another(
    interrupted: bool,
) -> None:
    trace = Trace().begin()
    step = trace.draw("head")
    if interrupted:
        trace.end(None, "error")
    trace.begin()
    trace.draw(step, "7", stop=None, answer="7")
    tree = trace.end().tree
    assert (len(tree.heads), len(tree.nodes), tree.path) == (1, 2, (0, 1))
    assert tree.ended_by == "strategy"
    assert [
        len(tree.nodes) for tree in search_trees([*trace.events, *deep(3).events])
    ] == [2, 3]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (beam().events[1:], "holds an event 'prompted' of q before its beginning"),
        (
            [beam().events[0], *beam().events[2:]],
            "continues a prompt of q that it does not hold: head",
        ),
    ],
)
def test_events_out_of_order_are_an_error(events: list[Event], said: str) -> None:
    with pytest.raises(TraceError, match=said):
        list(search_trees(events))


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        "beam_search:n=6,width=2",
        "mcts:simulations=8,k=3",
        "gen_select",
        "refine",
        "budget_forcing",
        "particle_filter:n=6",
    ],
)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 50), tokens=st.sampled_from([None, 100, 300]))
def test_every_sequence_is_one_node_and_every_token_is_counted_once(
    spec: str, seed: int, tokens: int | None
) -> None:
    events: list[Event] = []
    judge = StepJudge(verdict=noisy(0.1))
    solution = solve_sync(
        number_question(),
        build("strategy", spec),
        StepWorld(0.7).engine(),
        verifier=judge,
        budget=Budget(tokens=tokens),
        seed=seed,
        trace=events.append,
    )
    [tree] = search_trees(events)
    drawn = [event for event in events if isinstance(event, Sampled | Dropped)]
    assert len(tree.nodes) == len(drawn)
    assert [node.text for node in tree.nodes] == [
        getattr(event, "text", "") for event in drawn
    ]
    spent = sum((node.cost for node in tree.nodes), Cost())
    known = {(event.prompt, event.index) for event in drawn}
    for event in events:
        if isinstance(event, Scored) and (event.prompt, event.index) not in known:
            spent += event.cost
    assert spent.taking(0) == tree.cost.taking(0) == solution.cost.taking(0)
    families = [node.children for node in tree.nodes] + [
        head.children for head in tree.heads
    ]
    reached = Counter(child for children in families for child in children)
    assert reached == Counter(range(len(tree.nodes)))
    assert all(
        b.parent == a
        for a, b in zip(
            tree.path, map(tree.nodes.__getitem__, tree.path[1:]), strict=False
        )
    )
    if solution.answer:
        assert not tree.path or tree.nodes[tree.path[-1]].answer
