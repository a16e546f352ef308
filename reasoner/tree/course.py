"""What a trace says about one question: the tree that was drawn, its ratings, and the path to the answer."""

from dataclasses import dataclass
from typing import Literal

from reasoner.budget import Cost
from reasoner.solution import EndedBy, Proposal
from reasoner.trace import Began
from reasoner.types import Answer, FinishReason, Message, Usage

State = Literal["went on", "answered", "no answer", "repeat", "pruned", "open", "cut", "cancelled", "deadline", "lost"]
"""What became of a sequence.

It went on (others were drawn from it); it was a whole reply and answered, or held no answer; it repeated another word
for word, which stands for it; it was pruned (it could have gone on, and others of its depth did); it was open when the
search ended; it was cut by a limit; or it did not complete: cancelled, out of time, or lost by the engine.
"""


@dataclass(frozen=True, slots=True)
class Rated:
    """One rating as the trace holds it: a value in [0, 1], or None and the error that prevented it."""

    value: float | None
    steps: tuple[float, ...]
    parts: tuple[float, ...]
    error: str
    cost: Cost


@dataclass(frozen=True, slots=True)
class Head:
    """A prompt that sequences were drawn from, as it was before anything was drawn."""

    messages: tuple[Message, ...]
    raw: str
    tokens: int
    after: int
    """How many sequences there were when it was first used."""
    children: tuple[int, ...]

    @property
    def text(self) -> str:
        """What it asks: the last turn, or the raw text."""
        return self.messages[-1].content if self.messages else self.raw


@dataclass(frozen=True, slots=True)
class Node:
    """One sequence that was drawn, or that did not complete; `id` is its place in the course's `nodes`.

    `parent` is the node that it continues, None for one drawn from the head itself. `index` counts the sequences of one
    prompt in launch order, within their `branch` of the search. `before` is what was put into the reply's mouth first.
    `cost` is that of the sequence and its ratings, `below` the tokens computed for all that grew from it.
    """

    id: int
    head: int
    parent: int | None
    depth: int
    index: int
    branch: int
    before: str
    text: str
    finish: FinishReason | None
    answer: Answer | None
    usage: Usage
    cost: Cost
    below: int
    ratings: tuple[Rated, ...]
    children: tuple[int, ...]
    repeats: int | None
    state: State
    on_path: bool
    agrees: bool
    """Whether it answered, and with the final answer's key."""

    @property
    def rating(self) -> Rated | None:
        """The last rating that has a value, else the last one."""
        return next((one for one in reversed(self.ratings) if one.value is not None), (None, *self.ratings)[-1])


@dataclass(frozen=True, slots=True)
class Duel:
    """Two sequences compared: the chance that the first is the better one. None where the trace holds no such node."""

    first: int | None
    second: int | None
    rated: Rated


@dataclass(frozen=True, slots=True)
class Course:
    """All that happened to one question.

    `takes` counts how often it was taken up: more than once where a run was resumed. `strays` are ratings of what the
    trace holds no sequence for. `path` leads from the head to the reply that gave the answer: of the replies with the
    final answer's key the best rated, and of equals the first; it is empty where there is none. `ended_by` is None for
    a run that was killed; `answer` is then the last that was proposed, and `cost` the sum of what is there.
    """

    began: Began
    takes: int
    heads: tuple[Head, ...]
    nodes: tuple[Node, ...]
    path: tuple[int, ...]
    duels: tuple[Duel, ...]
    strays: tuple[Rated, ...]
    notes: tuple[str, ...]
    """What the plan wrote down, and what was refused, in order."""
    remarks: tuple[str, ...]
    """What the engine could not do exactly, and where the run was narrowed."""
    proposals: tuple[Proposal, ...]
    answer: Answer | None
    ended_by: EndedBy | None
    reason: str
    cost: Cost

    @property
    def id(self) -> str:
        """The question's."""
        return self.began.question_id

    @property
    def depth(self) -> int:
        """Sequences in the longest chain."""
        return max((node.depth for node in self.nodes), default=0)
