"""What a trace says about one question, as a tree: the sequences, their ratings, and the path to the answer."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from reasoner.budget import NO_COST, Cost
from reasoner.errors import TraceError
from reasoner.trace.events import (
    AnswerExtracted,
    Began,
    Dropped,
    Ended,
    Event,
    Executed,
    Noted,
    Prefilled,
    Prompted,
    Proposed,
    Refused,
    Sampled,
    Scored,
    Thought,
    Work,
)
from reasoner.types import Answer, EndedBy, FinishReason, Message, Proposal

State = Literal[
    "continued",
    "answered",
    "no answer",
    "pruned",
    "open",
    "cut",
    "cancelled",
    "deadline",
    "lost",
]
"""What became of a sequence.

"continued": others were sampled from it. "answered" or "no answer": a complete reply. "pruned": it was incomplete and
others of its depth were continued. "open": it was incomplete when the search ended. "cut": a token limit ended it.
"cancelled", "deadline" and "lost" (by the engine): it did not complete.
"""
MAX_KEY: Final = 60
"""Characters of an answer that a note shows."""


Aside = Noted | Refused | AnswerExtracted | Executed
"""What happened beside the sampling."""


@dataclass(slots=True, eq=False)
class TreePrompt:
    """A prompt that sequences were sampled from, before any of them was added to it."""

    messages: tuple[Message, ...]
    raw: str
    tokens: int
    children: list[int] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The last message, or the raw text."""
        return self.messages[-1].content if self.messages else self.raw


@dataclass(slots=True, eq=False)
class TreeNode:
    """One sequence, complete or not; `id` is its index in the view's `nodes`.

    `event` says how it ended. `parent` is the node that it continues, None where it was sampled from the prompt itself.
    `prefill` is text at the beginning of the reply. `answer` is what a rule read, else the answer of its probe.
    `drawn` is the cost of its requests and its probe.
    """

    id: int
    event: Sampled | Dropped
    head: int
    parent: int | None
    depth: int
    prefill: str
    text: str
    finish: FinishReason | None
    complete: bool
    """Whether the model itself ended the reply."""
    answer: Answer | None
    drawn: Cost
    state: State
    ratings: list[Scored] = field(default_factory=list)
    children: list[int] = field(default_factory=list)
    on_path: bool = False
    thinking: str = ""

    @property
    def cost(self) -> Cost:
        """The cost of the sequence and its ratings."""
        return sum((rated.cost for rated in self.ratings), self.drawn)

    @property
    def rating(self) -> Scored | None:
        """The last rating that has a value, else the last one."""
        return next(
            (rated for rated in reversed(self.ratings) if rated.value is not None),
            (None, *self.ratings)[-1],
        )

    @property
    def score(self) -> float | None:
        """The value of that rating; None without one."""
        return self.rating.value if self.rating else None


class _Position(NamedTuple):
    """Where in the tree a prompt is: its head, the node it ends with, and the text that was put after that node."""

    head: int
    node: int | None = None
    prefill: str = ""


@dataclass(slots=True, eq=False)
class QuestionView:
    """What happened to one question so far, built event by event.

    `heads` are its prompts, `nodes` its sequences in the order in which they ended, `by_name` the same by prompt and
    index. `asides` are what the plan wrote down, what the budget refused, and what was compared.
    `spent` is the cost of all work, and `probed` the part for probes. `missing` is a prompt that a sequence continues
    although the trace does not hold it.
    """

    began: Began
    attempts: int = 0
    heads: list[TreePrompt] = field(default_factory=list)
    nodes: list[TreeNode] = field(default_factory=list)
    by_name: dict[tuple[str, int], TreeNode] = field(default_factory=dict)
    path: tuple[int, ...] = ()
    """The chain that led to the answer, once it is arranged."""
    ratings: list[Scored] = field(default_factory=list)
    asides: list[Aside] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)
    ended: Ended | None = None
    spent: Cost = NO_COST
    probed: Cost = NO_COST
    missing: str = ""
    _seconds: float = 0.0
    _positions: dict[str, _Position] = field(default_factory=dict)
    _thoughts: dict[tuple[str, int], Cost] = field(default_factory=dict)
    """What the first requests of sequences cost that a second one has not continued yet."""

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
    def cost(self) -> Cost:
        """What the question cost; the sum over the recorded events where the run did not end."""
        return self.ended.cost if self.ended else self.spent.taking(self._seconds)

    @property
    def notes(self) -> list[str]:
        """The asides, in words."""
        return [_note(self, event) for event in self.asides]

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
        """What the engine could not do exactly, and what was done differently from what the plan asked for."""
        return (self.ended or self.began).notes

    def take_in(self, event: Event) -> None:
        """Add the next event."""
        self._seconds = event.t
        self.spent += event.cost if isinstance(event, Work) else NO_COST
        match event:
            case Began():
                self.attempts += 1
                self.ended = None
            case Prompted():
                self._position(
                    event.prompt, TreePrompt(event.messages, event.raw, event.tokens)
                )
            case Prefilled():
                at = self._position(event.prompt)
                self._positions.setdefault(
                    event.child, at._replace(prefill=at.prefill + event.text)
                )
            case Thought():
                self._thoughts[event.prompt, event.index] = event.cost
            case Sampled() | Dropped():
                self._add_node(event)
            case Scored() | AnswerExtracted():
                self._examine(event)
            case Noted() | Refused() | Executed():
                self.asides.append(event)
            case Proposed():
                self.proposals.append(
                    Proposal(event.answer, event.vote_state, event.cost)
                )
            case Ended():
                self.ended = event

    def _position(self, prompt: str, head: TreePrompt | None = None) -> _Position:
        """Where a prompt is; one that is not known yet is a `head`, or missing without one."""
        if prompt not in self._positions:
            self.missing = self.missing if head else prompt
            self._positions[prompt] = _Position(len(self.heads))
            self.heads.append(head or TreePrompt((), "", 0))
        return self._positions[prompt]

    def _add_node(self, event: Sampled | Dropped) -> None:
        name, at = (event.prompt, event.index), self._position(event.prompt)
        parent = None if at.node is None else self.nodes[at.node]
        sampled = event if isinstance(event, Sampled) else None
        node = TreeNode(
            id=len(self.nodes),
            event=event,
            head=at.head,
            parent=at.node,
            depth=parent.depth + 1 if parent else 1,
            prefill=at.prefill,
            text=sampled.text if sampled else "",
            finish=sampled.finish_reason if sampled else None,
            complete=sampled is not None
            and sampled.finish_reason == "stop"
            and sampled.stop is None,
            answer=sampled.answer if sampled else None,
            drawn=event.cost + self._thoughts.pop(name, NO_COST),
            state="open" if isinstance(event, Sampled) else event.why,
            thinking=sampled.thinking if sampled else "",
        )
        self.nodes.append(node)
        self.by_name[name] = node
        (parent or self.heads[at.head]).children.append(node.id)
        if sampled:
            # Equal siblings lead to the same prompt. A trace cannot tell which of them was continued: the first counts.
            self._positions.setdefault(sampled.child, _Position(at.head, node.id))

    def _examine(self, event: Scored | AnswerExtracted) -> None:
        node = self.by_name.get((event.prompt, event.index))
        if isinstance(event, Scored):
            self.ratings.append(event)
            if node:
                node.ratings.append(event)
            return
        self.probed += event.cost
        if node:
            node.drawn += event.cost
            node.answer = node.answer or event.answer
            self.asides.append(event)

    def arranged(self) -> "QuestionView":
        """The view, with what only the whole of it decides: the path, and what became of each sequence.

        Raises:
            TraceError: a sequence came before its prompt.
        """
        if self.missing:
            raise TraceError(
                f"the trace continues a prompt of {self.id} that it does not hold: {self.missing}"
            )
        self.path = _path(self)
        on_path = frozenset(self.path)
        continued = {(node.head, node.depth) for node in self.nodes if node.children}
        stepwise = {head for head, _ in continued}
        for node in self.nodes:
            # In a run that was killed, nobody knows which sequences would have been continued.
            pruned = self.ended is not None and (node.head, node.depth) in continued
            if node.finish is not None:
                node.state = _state(node, pruned=pruned, stepwise=node.head in stepwise)
            node.on_path = node.id in on_path
        return self


def question_views(events: Iterable[Event]) -> Iterator[QuestionView]:
    """The view of each question, in the order in which they ended; those that did not end come last.

    A question that is resumed before it ended, or after an error or an interrupt, continues its view. A question that
    is asked again after an answer begins a new one. Only questions that are not finished or have failed are in memory.

    Raises:
        TraceError: an event comes before its question.
    """
    views: dict[str, QuestionView] = {}
    for event in events:
        name = event.question_id
        if isinstance(event, Began) and name not in views:
            views[name] = QuestionView(event)
        if name not in views:
            raise TraceError(
                f"the trace holds an event {event.event!r} of {name} before its beginning"
            )
        views[name].take_in(event)
        if isinstance(event, Ended) and event.ended_by != "error":
            yield views.pop(name)
    yield from views.values()


def search_trees(events: Iterable[Event]) -> Iterator[QuestionView]:
    """The views of `question_views`, arranged. Raises as that, and as `arranged`."""
    for view in question_views(events):
        yield view.arranged()


def _path(tree: QuestionView) -> tuple[int, ...]:
    """The chain to the likeliest source of the answer: the end of a chain, complete, rated high, sampled early."""
    key = tree.answer.key if tree.answer else None
    sources = [node for node in tree.nodes if node.answer and node.answer.key == key]
    if not sources:
        return ()

    def chance(node: TreeNode) -> tuple[bool, bool, float, int]:
        return (
            not node.children,
            node.complete,
            -1.0 if node.score is None else node.score,
            -node.id,
        )

    source: int | None = max(sources, key=chance).id
    path: list[int] = []
    while source is not None:
        path.append(source)
        source = tree.nodes[source].parent
    return tuple(reversed(path))


def _state(node: TreeNode, *, pruned: bool, stepwise: bool) -> State:
    """What became of a sequence that the engine returned.

    An incomplete one is pruned if `pruned` is set; `stepwise` says that the replies of its head come in steps.
    """
    if node.children:
        return "continued"
    if not node.complete:
        if node.finish == "abort":
            return "cut"
        if pruned:
            return "pruned"
        if stepwise:
            return "open"
    if node.finish == "length":
        return "cut"
    return "no answer" if node.answer is None else "answered"


def _note(view: QuestionView, event: Aside) -> str:
    """What the event says in one line."""

    def number(prompt: str, index: int) -> object:
        node = view.by_name.get((prompt, index))
        return node.id if node else "?"

    if isinstance(event, Noted):
        return event.text
    if isinstance(event, Refused):
        return f"refused: budget {event.unit}={event.limit:g}, needed {event.needed:g}, left {event.free:g}"
    if isinstance(event, Executed):
        printed = event.output.strip()[-MAX_KEY:]
        return f"a program ran for {event.cost.seconds:.1f} s: {event.error or event.failure or repr(printed)}"
    read = repr(event.answer.text[:MAX_KEY]) if event.answer else "none"
    return (
        f"#{number(event.prompt, event.index)} probed for the answer: {event.error or read}, for "
        f"{event.cost.tokens:,} tokens"
    )
