"""The outline of a search tree that every view shares: which nodes are shown, in which order, and in which words."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from reasoner.system.printing import counted
from reasoner.trace.view import QuestionView, State, TreeNode
from reasoner.types import NOT_RATED, Proposal

MAX_HEADS: Final = 100
"""Prompts that are shown with what was sampled from them."""
_STATES: Final[dict[State, tuple[str, str]]] = {
    "continued": ("•", "other sequences were sampled from it"),
    "answered": ("=", "a complete reply with an answer"),
    "no answer": ("∅", "a complete reply without an answer"),
    "pruned": ("✂", "incomplete, while others of its depth were continued"),
    "open": ("…", "incomplete when the search ended"),
    "cut": ("!", "ended by a token limit"),
    "cancelled": ("×", "cancelled by the strategy before it was complete"),
    "deadline": ("×", "incomplete at the end of the budget in seconds"),
    "lost": ("×", "lost by the engine before it was complete"),
}
"""Mark and meaning."""
FAINT: Final[frozenset[State]] = frozenset(
    {"pruned", "cut", "cancelled", "deadline", "lost"}
)
"""States that are shown faintly, as they led to nothing."""


class OutlineRow(NamedTuple):
    """One line of a tree: a node at a level, which is 0 for what was sampled from the prompt itself."""

    level: int
    node: TreeNode


@dataclass(frozen=True, slots=True)
class Outline:
    """The nodes of a tree that are shown: the path, then those nearest to their prompt, at most `maximum`."""

    tree: QuestionView
    heads: tuple[int, ...]
    """Indices of the prompts that are shown: the first `MAX_HEADS`, and the one of the path."""
    shown: frozenset[int]

    @classmethod
    def of(
        cls, tree: QuestionView, *, maximum: int, deepest: int | None = None
    ) -> "Outline":
        """The outline of at most `maximum` nodes, none below the depth `deepest`. Takes time linear in the nodes."""

        def allowed(node: int) -> bool:
            return deepest is None or tree.nodes[node].depth <= deepest

        heads = sorted(
            {
                *range(len(tree.heads))[:MAX_HEADS],
                *(tree.nodes[node].head for node in tree.path[:1]),
            }
        )
        shown = set(filter(allowed, tree.path[:maximum]))
        waiting = deque(node for head in heads for node in tree.heads[head].children)
        while waiting and len(shown) < maximum:
            node_id = waiting.popleft()
            if allowed(node_id):
                shown.add(node_id)
                waiting.extend(tree.nodes[node_id].children)
        return cls(tree, tuple(heads), frozenset(shown))

    @property
    def left_out(self) -> int:
        """The number of nodes that are not shown."""
        return len(self.tree.nodes) - len(self.shown)

    def rows(self, head: int) -> Iterator[OutlineRow]:
        """The lines under one prompt, parents before children."""

        def under(level: int, children: list[int]) -> list[OutlineRow]:
            """The last one first, as a stack needs them."""
            return [
                OutlineRow(level, self.tree.nodes[child])
                for child in reversed(children)
                if child in self.shown
            ]

        stack = under(0, self.tree.heads[head].children)
        while stack:
            row = stack.pop()
            yield row
            stack += under(row.level + 1, row.node.children)


def state_of(node: TreeNode, tree: QuestionView) -> str:
    """Its mark and its word, as in "✂ pruned"."""
    if node.on_path:
        return "→ answer" if node.id == tree.path[-1] else "→ path"
    return f"{_STATES[node.state][0]} {node.state}"


def legend_of(tree: QuestionView) -> dict[str, str]:
    """The marks and words of a tree's states, and what they mean."""
    states = {node.state for node in tree.nodes if not node.on_path}
    path = {"→ path": "leads to the answer"} if tree.path else {}
    return path | {
        f"{mark} {state}": meaning
        for state, (mark, meaning) in _STATES.items()
        if state in states
    }


def score_of(node: TreeNode) -> str:
    """Its last rating with two decimals, `fail` where every rating failed, – where none was requested."""
    if node.rating is None:
        return "–"
    return "fail" if node.score is None else f"{node.score:.2f}"


def answer_of(node: TreeNode, tree: QuestionView) -> str:
    """Its answer; "" for a step, even where an answer can be read out of it."""
    final = node.state == "answered" or node.id in tree.path[-1:]
    return node.answer.text if node.answer and final else ""


def counts_of(tree: QuestionView) -> str:
    """The number of sequences, the depth of the tree, and the number of sequences in each state."""
    number = f"{counted(len(tree.nodes), 'sequence')}, depth {tree.depth}"
    by_state = Counter(node.state for node in tree.nodes)
    states = ", ".join(
        f"{by_state[state]:,} {state}" for state in _STATES if by_state[state]
    )
    return f"{number}: {states}" if states else number


def ending(ended_by: str, reason: str) -> str:
    """What ended a question and why; the reason may say both."""
    return (
        reason
        if reason.startswith((f"{ended_by} ", f"the {ended_by} "))
        else f"{ended_by}: {reason}"
    )


def end_of(tree: QuestionView) -> str:
    """What ended it and why, or that it did not end."""
    if not tree.ended_by:
        return f"did not end: {tree.reason}"
    words = ending(tree.ended_by, tree.reason)
    return words if words.startswith("the ") else f"ended by {words}"


def unrated(error: str) -> str:
    """Why there is no rating; the error of one that was refused says that it is none."""
    return error if error.startswith(NOT_RATED) else f"{NOT_RATED}: {error}"


def events_of(tree: QuestionView) -> list[tuple[str, list[str]]]:
    """What happened beside the sampling, under a title each."""
    failures = [
        f"#{node.id} {unrated(rated.error)}"
        for node in tree.nodes
        for rated in node.ratings
        if rated.error
    ]
    return [
        ("proposals", [_proposal(proposal) for proposal in tree.proposals]),
        ("failures", failures),
        ("notes", tree.notes),
        ("remarks", list(tree.remarks)),
    ]


def _proposal(proposal: Proposal) -> str:
    answer, samples = (
        proposal.answer.text if proposal.answer else "no answer",
        proposal.vote_state.samples,
    )
    so_far = (
        f"{counted(samples, 'sample')} and {counted(proposal.cost.tokens, 'token')}"
    )
    return f"{answer} with {proposal.vote_state.share:.0%} of the vote after {so_far}"


def settings_of(tree: QuestionView) -> dict[str, str]:
    """The settings that decided the tree."""
    began, names = tree.began, ("strategy", "verifier", "engine", "budget", "seed")
    settings = {
        name: str(getattr(began, name)).removeprefix("each ").strip() or "none"
        for name in names
    }
    model = f"{began.model.name} {began.model.revision}".strip()
    return {"question": began.question_id, "model": model, **settings}
