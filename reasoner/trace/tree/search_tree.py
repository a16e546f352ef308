"""What a trace says about one question: the tree of sampled sequences, their ratings, and the path to the answer."""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

from reasoner.budget import Cost
from reasoner.trace.events import Began, Ended, Scored
from reasoner.types import Answer, EndedBy, FinishReason, Message, Proposal, Usage

State = Literal[
    "continued", "answered", "no answer", "repeat", "pruned", "open", "cut", "cancelled", "deadline", "lost"
]
"""What became of a sequence.

"continued": others were sampled from it. "answered" or "no answer": a complete reply. "repeat": the same text as an
earlier sequence. "pruned": it was incomplete and others of its depth were continued. "open": it was incomplete when the
search ended. "cut": a token limit ended it. "cancelled", "deadline" and "lost" (by the engine): it did not complete.
"""


@dataclass(slots=True, eq=False)
class Head:
    """A prompt that sequences were sampled from, before any of them was added to it."""

    messages: tuple[Message, ...]
    raw: str
    tokens: int
    after: int
    """The number of sequences that existed when it was first used."""
    children: list[int] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The last message, or the raw text."""
        return self.messages[-1].content if self.messages else self.raw


@dataclass(slots=True, eq=False)
class Node:
    """One sequence, complete or not; `id` is its index in the tree's `nodes`.

    `parent` is the node that it continues, None where it was sampled from the head itself. `index` counts the sequences
    of one prompt in launch order, within their `branch` of the search. `prefill` is text that was put at the beginning
    of the reply. `cost` includes its ratings; `tokens_below` are the tokens computed for all of its descendants.
    """

    id: int
    head: int
    parent: int | None
    depth: int
    index: int
    branch: int
    prefill: str
    text: str
    finish: FinishReason | None
    complete: bool
    """Whether the model itself ended the reply."""
    answer: Answer | None
    usage: Usage
    cost: Cost
    state: State
    tokens_below: int = 0
    ratings: list[Scored] = field(default_factory=list)
    children: list[int] = field(default_factory=list)
    repeats: int | None = None
    on_path: bool = False
    agrees: bool = False
    """Whether it answered, and with the final answer's key."""

    @property
    def rating(self) -> Scored | None:
        """The last rating that has a value, else the last one."""
        return next((rated for rated in reversed(self.ratings) if rated.value is not None), (None, *self.ratings)[-1])


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sequences compared: the probability that the first is better. None where the trace holds no such node."""

    first: int | None
    second: int | None
    rated: Scored


@dataclass(slots=True, eq=False)
class SearchTree:
    """Everything that happened to one question.

    `attempts` is more than 1 where a run was resumed. `unmatched` are ratings of sequences that the trace does not
    hold. `notes` are what the plan wrote down and what the budget refused, in order. Of a run that was killed `ended`
    is None, `answer` is the last proposal, and `cost` is the sum over the recorded events.
    """

    began: Began
    attempts: int = 0
    heads: list[Head] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    path: tuple[int, ...] = ()
    comparisons: list[Comparison] = field(default_factory=list)
    unmatched: list[Scored] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)
    ended: Ended | None = None
    cost: Cost = field(default_factory=Cost)

    @property
    def id(self) -> str:
        """The question's id."""
        return self.began.question_id

    @property
    def depth(self) -> int:
        """The number of sequences in the longest chain."""
        return max((node.depth for node in self.nodes), default=0)

    @property
    def answer(self) -> Answer | None:
        """The final answer; the last proposal where the run did not end."""
        if self.ended:
            return self.ended.answer
        return self.proposals[-1].answer if self.proposals else None

    @property
    def ended_by(self) -> EndedBy | None:
        """What ended the run; None where the trace ends first."""
        return self.ended.ended_by if self.ended else None

    @property
    def reason(self) -> str:
        """Why it ended, in words."""
        return self.ended.reason if self.ended else "the trace ends before the run does"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the engine could not do exactly, and where the run was narrowed."""
        return (self.ended or self.began).notes


def row(tree: SearchTree) -> dict[str, Any]:
    """The tree without its tree, for JSON: the question, how it ended and what it cost."""
    began = tree.began
    return {
        "question_id": tree.id,
        "question": began.text,
        **{name: getattr(began, name) for name in ("strategy", "verifier", "engine", "budget", "seed")},
        "model": began.model.name,
        "attempts": tree.attempts,
        "answer": _plain(tree.answer),
        "ended_by": tree.ended_by,
        "reason": tree.reason,
        "cost": _plain(tree.cost),
        "sequences": len(tree.nodes),
        "depth": tree.depth,
    }


def document(tree: SearchTree) -> dict[str, Any]:
    """The whole tree, for JSON."""
    return {
        **row(tree),
        "heads": _plain(tree.heads),
        "nodes": _plain(tree.nodes),
        "path": list(tree.path),
        "comparisons": [{"first": c.first, "second": c.second, **_plain(c.rated)} for c in tree.comparisons],
        "unmatched_ratings": _plain(tree.unmatched),
        "proposals": [
            {
                "answer": proposal.answer.text if proposal.answer else None,
                "share": proposal.vote_state.share,
                "samples": proposal.vote_state.samples,
                "tokens": proposal.cost.tokens,
            }
            for proposal in tree.proposals
        ],
        "notes": tree.notes,
        "remarks": list(tree.remarks),
    }


def _plain(value: Any) -> Any:
    """Dataclasses as dictionaries: a rating without its place in the trace, a cost with the sum of its tokens."""
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Scored):
        return {name: _plain(getattr(value, name)) for name in ("value", "steps", "parts", "error", "cost")}
    if not is_dataclass(value):
        return value
    plain = {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return {**plain, "tokens": value.tokens} if isinstance(value, Cost) else plain
