"""The words and marks that describe a tree, the same on a terminal and in a page."""

from collections import Counter

from reasoner.budget import Cost
from reasoner.trace.tree.search_tree import Comparison, Node, SearchTree, State
from reasoner.types import NOT_RATED, Proposal

_STATES: dict[State, tuple[str, str]] = {
    "continued": ("•", "other sequences were sampled from it"),
    "answered": ("=", "a complete reply with an answer"),
    "no answer": ("∅", "a complete reply without an answer"),
    "repeat": ("≡", "the same text as the sequence that it names"),
    "pruned": ("✂", "incomplete, while others of its depth were continued"),
    "open": ("…", "incomplete when the search ended"),
    "cut": ("!", "ended by a token limit"),
    "cancelled": ("×", "cancelled by the strategy before it was complete"),
    "deadline": ("×", "incomplete at the end of the budget in seconds"),
    "lost": ("×", "lost by the engine before it was complete"),
}
"""Mark and meaning."""
FAINT: frozenset[State] = frozenset({"pruned", "repeat", "cut", "cancelled", "deadline", "lost"})
"""States that are shown faintly, as they led to nothing."""
LEGEND = {"→ path": "leads to the answer", **{f"{mark} {state}": meaning for state, (mark, meaning) in _STATES.items()}}
"""The legend of the states."""


def state_of(node: Node, tree: SearchTree) -> tuple[str, str]:
    """Its mark and its word."""
    if node.on_path:
        return "→", "answer" if node.id == tree.path[-1] else "path"
    return _STATES[node.state][0], node.state


def score_of(node: Node) -> str:
    """Its last rating with two decimals, `fail` where every rating failed, – where none was requested."""
    if node.rating is None:
        return "–"
    return "fail" if node.rating.value is None else f"{node.rating.value:.2f}"


def answer_of(node: Node, tree: SearchTree) -> str:
    """Its answer; "" for a step, even where an answer can be read out of it."""
    final = node.state == "answered" or node.id in tree.path[-1:]
    return node.answer.text if node.answer and final else ""


def facts_of(node: Node) -> str:
    """Its index and branch, how it finished, and its tokens by kind."""
    branch = f", branch {node.branch}" if node.branch else ""
    kinds = ("prompt", "cached", "generated", "verifier", "cancelled")
    amounts = [(getattr(node.cost, f"{kind}_tokens"), kind) for kind in kinds]
    tokens = ", ".join(f"{amount:,} {kind}" for amount, kind in amounts if amount)
    return f"sequence {node.index}{branch}; finish: {node.finish or node.state}; tokens: {tokens or 'none'}"


def counts(tree: SearchTree) -> str:
    """The number of sequences, the depth of the tree, and the number of sequences in each state."""
    number = f"{len(tree.nodes):,} sequence{'s' if len(tree.nodes) != 1 else ''}, depth {tree.depth}"
    by_state = Counter(node.state for node in tree.nodes)
    states = ", ".join(f"{by_state[state]:,} {state}" for state in _STATES if by_state[state])
    return f"{number}: {states}" if states else number


def ending(ended_by: str, reason: str) -> str:
    """What ended a question and why; the reason may say both."""
    return reason if reason.startswith(f"{ended_by} ") else f"{ended_by}: {reason}"


def end_of(tree: SearchTree) -> str:
    """What ended it and why, or that it did not end."""
    return f"ended by {ending(tree.ended_by, tree.reason)}" if tree.ended_by else f"did not end: {tree.reason}"


def unrated(error: str) -> str:
    """Why there is no rating; the error of one that was refused says that it is none."""
    return error if error.startswith(NOT_RATED) else f"{NOT_RATED}: {error}"


def why_no_path(tree: SearchTree) -> str:
    """Why no sequence is known to be the source of the answer."""
    return "no sequence states the final answer" if tree.answer else "there is no answer"


def costs(cost: Cost) -> list[tuple[str, str]]:
    """The cost by kind; the first is the sum of the next four."""
    return [
        ("tokens computed", f"{cost.tokens:,}"),
        ("prompt", f"{cost.prompt_tokens:,}"),
        ("generated", f"{cost.generated_tokens:,}"),
        ("verifier", f"{cost.verifier_tokens:,}"),
        ("cancelled", f"{cost.cancelled_tokens:,}"),
        *([("of them thinking", f"{cost.thinking_tokens:,}")] if cost.thinking_tokens else []),
        ("prompt from cache", f"{cost.cached_tokens:,}"),
        ("requests", f"{cost.requests:,}"),
        ("TFLOP", "unknown" if cost.flops is None else f"{cost.flops / 1e12:.3g}"),
        ("seconds", f"{cost.seconds:,.1f}"),
    ]


def events_of(tree: SearchTree) -> list[tuple[str, list[str]]]:
    """What happened beside the sampling, under a title each."""
    failures = [f"#{node.id} {unrated(rated.error)}" for node in tree.nodes for rated in node.ratings if rated.error]
    return [
        ("proposals", [_proposal(proposal) for proposal in tree.proposals]),
        ("comparisons", [_comparison(comparison) for comparison in tree.comparisons]),
        ("failures", failures),
        (
            "unmatched",
            [
                f"a sequence that the trace does not hold was rated: {rated.error or rated.value}"
                for rated in tree.unmatched
            ],
        ),
        ("notes", tree.notes),
        ("remarks", list(tree.remarks)),
    ]


def _proposal(proposal: Proposal) -> str:
    answer, samples = proposal.answer.text if proposal.answer else "no answer", proposal.vote_state.samples
    so_far = f"{samples:,} sample{'s' if samples != 1 else ''} and {proposal.cost.tokens:,} tokens"
    return f"{answer} with {proposal.vote_state.share:.0%} of the vote after {so_far}"


def _comparison(comparison: Comparison) -> str:
    first, second = ("?" if node is None else f"#{node}" for node in (comparison.first, comparison.second))
    rated = comparison.rated
    return f"{first} better than {second}: {rated.error if rated.value is None else f'{rated.value:.2f}'}"


def provenance(tree: SearchTree) -> list[tuple[str, str]]:
    """The settings that decided the tree."""
    began = tree.began
    facts = [
        ("question", began.question_id),
        ("answer space", f"{began.answer_space}, rules {began.answer_rules}"),
        ("strategy", began.strategy),
        ("verifier", began.verifier or "none"),
        ("model", f"{began.model.name} {began.model.revision}".strip()),
        ("engine", began.engine),
        ("budget", began.budget.strip() if began.budget.strip() != "each" else "none"),
        ("seed", str(began.seed)),
    ]
    return facts + ([("attempts", str(tree.attempts))] if tree.attempts > 1 else [])


def apart(first: SearchTree, second: SearchTree) -> tuple[str, str]:
    """What the two are called side by side: their strategies, and what else tells them apart."""
    left, right = first.began, second.began
    both = [(left.strategy, right.strategy)]
    others = [
        (left.verifier or "no verifier", right.verifier or "no verifier"),
        (left.model.name, right.model.name),
        (f"seed {left.seed}", f"seed {right.seed}"),
    ]
    both += [names for names in others if names[0] != names[1]]
    return " · ".join(name for name, _ in both), " · ".join(name for _, name in both)


def compared(first: SearchTree, second: SearchTree) -> list[tuple[str, str, str]]:
    """The two searches line by line: what each answered, how it ended and what it cost."""

    def lines(tree: SearchTree) -> list[tuple[str, str]]:
        return [
            ("answer", tree.answer.text if tree.answer else "no answer"),
            ("tokens", f"{tree.cost.tokens:,}"),
            ("sequences", f"{len(tree.nodes):,}"),
            ("steps deep", f"{tree.depth:,}"),
            ("seconds", f"{tree.cost.seconds:,.1f}"),
            ("ended by", tree.ended_by or "killed"),
        ]

    return [(name, left, right) for (name, left), (_, right) in zip(lines(first), lines(second), strict=True)]
