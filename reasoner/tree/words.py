"""The words and marks in which a course is told, the same on a terminal and in a page."""

from collections import Counter

from reasoner.budget import Cost
from reasoner.solution import Proposal
from reasoner.tree.course import Course, Duel, Node, Rated, State

_MARKS: dict[State, str] = {
    "went on": "•",
    "answered": "=",
    "no answer": "∅",
    "repeat": "≡",
    "pruned": "✂",
    "open": "…",
    "cut": "!",
    "cancelled": "×",
    "deadline": "×",
    "lost": "×",
}
FAINT: frozenset[State] = frozenset({"pruned", "repeat", "cut", "cancelled", "deadline", "lost"})
"""What led nowhere, and is shown faintly."""
MEANINGS = (
    ("→ path", "leads to the answer"),
    ("• went on", "others were drawn from it"),
    ("= answered", "a whole reply with an answer"),
    ("∅ no answer", "a whole reply without one"),
    ("✂ pruned", "could have gone on, as others of its depth did"),
    ("≡ repeat", "word for word the sequence that is named, which stands for it"),
    ("… open", "not at its end when the search was"),
    ("! cut", "by a limit of tokens"),
    ("× cancelled, deadline, lost", "did not complete"),
)
"""What the states mean."""


def state_of(node: Node, course: Course) -> tuple[str, str]:
    """Its mark and its word."""
    if node.on_path:
        return "→", "answer" if node.id == course.path[-1] else "path"
    return _MARKS[node.state], node.state


def score_of(node: Node) -> str:
    """Its last value with two places, `fail` where no rating succeeded, – where none was asked for."""
    if node.rating is None:
        return "–"
    return "fail" if node.rating.value is None else f"{node.rating.value:.2f}"


def answer_of(node: Node, course: Course) -> str:
    """What it answered; "" for a step, even one that an answer can be read out of."""
    gives = node.state == "answered" or node.id in course.path[-1:]
    return node.answer.text if node.answer and gives else ""


def facts_of(node: Node) -> str:
    """Which sequence of its prompt it is, how it finished, and what it cost, kind by kind."""
    branch = f", branch {node.branch}" if node.branch else ""
    spent = [
        (node.cost.prompt_tokens, "prompt"),
        (node.cost.cached_tokens, "from cache"),
        (node.cost.generated_tokens, "generated"),
        (node.cost.verifier_tokens, "verifier"),
        (node.cost.cancelled_tokens, "cancelled"),
    ]
    tokens = ", ".join(f"{amount:,} {kind}" for amount, kind in spent if amount)
    return f"sequence {node.index}{branch}; finish: {node.finish or node.state}; tokens: {tokens or 'none'}"


def counts(course: Course) -> str:
    """How many sequences there are, how deep the tree is, and what became of them."""
    several = len(course.nodes) != 1
    said = f"{len(course.nodes):,} sequence{'s' if several else ''}, depth {course.depth}"
    found = Counter(node.state for node in course.nodes)
    states = ", ".join(f"{found[state]:,} {state}" for state in _MARKS if found[state])
    return f"{said}: {states}" if states else said


def ending(course: Course) -> str:
    """Who ended it and why."""
    return f"ended by {course.ended_by}: {course.reason}" if course.ended_by else f"did not end: {course.reason}"


def costs(cost: Cost) -> list[tuple[str, str]]:
    """What was spent, kind by kind; the first is the sum of the next four."""
    return [
        ("tokens computed", f"{cost.tokens:,}"),
        ("prompt", f"{cost.prompt_tokens:,}"),
        ("generated", f"{cost.generated_tokens:,}"),
        ("verifier", f"{cost.verifier_tokens:,}"),
        ("cancelled", f"{cost.cancelled_tokens:,}"),
        ("prompt from cache", f"{cost.cached_tokens:,}"),
        ("requests", f"{cost.requests:,}"),
        ("TFLOP", "unknown" if cost.flops is None else f"{cost.flops / 1e12:.3g}"),
        ("seconds", f"{cost.seconds:,.1f}"),
    ]


def duel(one: Duel) -> str:
    """Which two were compared, and what came of it."""
    first, second = ("?" if place is None else f"#{place}" for place in (one.first, one.second))
    said = one.rated.error if one.rated.value is None else f"{one.rated.value:.2f}"
    return f"{first} better than {second}: {said}"


def proposal(one: Proposal) -> str:
    """The best answer of one moment, and what stood behind it."""
    answer, samples = one.answer.text if one.answer else "no answer", one.standing.samples
    seen = f"{samples:,} sample{'s' if samples != 1 else ''} and {one.cost.tokens:,} tokens seen"
    return f"{answer} with {one.standing.share:.0%} of the vote, {seen}"


def stray(one: Rated) -> str:
    """A rating of what the trace holds no sequence for."""
    return f"{one.error or one.value} for a sequence that the trace does not hold"


def provenance(course: Course) -> list[tuple[str, str]]:
    """What decided the course."""
    began = course.began
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
    return facts + ([("taken up", f"{course.takes} times")] if course.takes > 1 else [])
