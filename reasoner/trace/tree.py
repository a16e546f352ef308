"""What a trace says about one question, as a tree: the sequences, their ratings, and the path to the answer."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from reasoner.budget import Cost
from reasoner.errors import TraceError
from reasoner.trace.events import (
    AnswerExtracted,
    AnswersCompared,
    Began,
    Dropped,
    Ended,
    Event,
    Executed,
    LikelihoodsMeasured,
    Noted,
    PairCompared,
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
    """One sequence, complete or not; `id` is its index in the tree's `nodes`.

    `parent` is the node that it continues, None where it was sampled from the prompt itself. `prefill` is text that was
    put at the beginning of the reply. `cost` includes its ratings.
    """

    id: int
    head: int
    parent: int | None
    depth: int
    prefill: str
    text: str
    finish: FinishReason | None
    complete: bool
    """Whether the model itself ended the reply."""
    answer: Answer | None
    cost: Cost
    state: State
    ratings: list[Scored] = field(default_factory=list)
    children: list[int] = field(default_factory=list)
    on_path: bool = False
    thinking: str = ""

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


@dataclass(slots=True, eq=False)
class SearchTree:
    """Everything that happened to one question.

    `heads` are its prompts. `notes` are what the plan wrote down, what the budget refused, and what was compared, in
    order. Of a run that was killed `ended` is None, `answer` is the last proposal, and `cost` is the sum over the
    recorded events.
    """

    began: Began
    heads: list[TreePrompt] = field(default_factory=list)
    nodes: list[TreeNode] = field(default_factory=list)
    path: tuple[int, ...] = ()
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


def search_trees(events: Iterable[Event]) -> Iterator[SearchTree]:
    """The tree of each question, in the order in which they ended; those that did not end come last.

    A question that is resumed before it ended, or after an error or an interrupt, continues its tree. A question that
    is asked again after an answer begins a new tree. Only questions that are not finished or have failed are in memory.

    Raises:
        TraceError: an event comes before its question, or a sequence before its prompt.
    """
    builders: dict[str, _TreeBuilder] = {}
    for event in events:
        name = event.question_id
        if isinstance(event, Began) and name not in builders:
            builders[name] = _TreeBuilder(SearchTree(event))
        if name not in builders:
            raise TraceError(
                f"the trace holds an event {event.event!r} of {name} before its beginning"
            )
        builders[name].take(event)
        if isinstance(event, Ended) and event.ended_by != "error":
            yield builders.pop(name).finish()
    for builder in builders.values():
        yield builder.finish()


class _Position(NamedTuple):
    """Where in the tree a prompt is: its head, the node it ends with, and the text that was put after that node."""

    head: int
    node: int | None = None
    prefill: str = ""


@dataclass(slots=True, eq=False)
class _TreeBuilder:
    """A tree under construction, with what is needed to find the node that an event is about."""

    tree: SearchTree
    positions: dict[str, _Position] = field(default_factory=dict)
    node_ids: dict[tuple[str, int], int] = field(default_factory=dict)
    thoughts: dict[tuple[str, int], Cost] = field(default_factory=dict)
    """What the first requests of sequences cost that a second one has not continued yet."""
    seconds: float = 0.0
    other_cost: Cost = field(default_factory=Cost)
    """Of the work that belongs to no sequence."""

    def take(self, event: Event) -> None:
        """Add the next event."""
        self.seconds = event.t
        tree = self.tree
        match event:
            case Began():
                tree.ended = None
            case Prompted() | Prefilled():
                self._add_position(event)
            case Thought():
                self.thoughts[event.prompt, event.index] = event.cost
            case Sampled() | Dropped():
                self._add_node(event)
            case Scored() | PairCompared():
                self._rate(event)
            case AnswerExtracted():
                self._extract(event)
            case (
                Noted()
                | Refused()
                | LikelihoodsMeasured()
                | AnswersCompared()
                | Executed()
            ):
                tree.notes.append(_note(event))
                self.other_cost += event.cost if isinstance(event, Work) else Cost()
            case Proposed():
                tree.proposals.append(
                    Proposal(event.answer, event.vote_state, event.cost)
                )
            case Ended():
                tree.ended = event
            case _:
                pass

    def _add_position(self, event: Prompted | Prefilled) -> None:
        if isinstance(event, Prefilled):
            at = self._position(event.prompt)
            self.positions.setdefault(
                event.child, at._replace(prefill=at.prefill + event.text)
            )
        elif event.prompt not in self.positions:
            self.positions[event.prompt] = _Position(len(self.tree.heads))
            self.tree.heads.append(TreePrompt(event.messages, event.raw, event.tokens))

    def _position(self, prompt: str) -> _Position:
        if prompt not in self.positions:
            raise TraceError(
                f"the trace continues a prompt of {self.tree.id} that it does not hold: {prompt}"
            )
        return self.positions[prompt]

    def _add_node(self, event: Sampled | Dropped) -> None:
        nodes, at = self.tree.nodes, self._position(event.prompt)
        parent = None if at.node is None else nodes[at.node]
        sampled = event if isinstance(event, Sampled) else None
        node = TreeNode(
            id=len(nodes),
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
            cost=event.cost + self.thoughts.pop((event.prompt, event.index), Cost()),
            state="open" if isinstance(event, Sampled) else event.why,
            thinking=sampled.thinking if sampled else "",
        )
        nodes.append(node)
        self.node_ids[event.prompt, event.index] = node.id
        (parent or self.tree.heads[at.head]).children.append(node.id)
        if sampled:
            # Equal siblings lead to the same prompt. A trace cannot tell which of them was continued: the first counts.
            self.positions.setdefault(sampled.child, _Position(at.head, node.id))

    def _extract(self, event: AnswerExtracted) -> None:
        node_id = self.node_ids.get((event.prompt, event.index))
        if node_id is None:
            self.other_cost += event.cost
            return
        node = self.tree.nodes[node_id]
        node.cost += event.cost
        node.answer = node.answer or event.answer
        verdict = event.error or (
            repr(event.answer.text[:MAX_KEY]) if event.answer else "none"
        )
        self.tree.notes.append(
            f"#{node_id} probed for the answer: {verdict}, for {event.cost.tokens:,} tokens"
        )

    def _rate(self, event: Scored | PairCompared) -> None:
        node_id = self.node_ids.get((event.prompt, event.index))
        if isinstance(event, PairCompared):
            verdict = event.error if event.value is None else f"{event.value:.2f}"
            pair = f"#{'?' if node_id is None else node_id} better than #{self.node_ids.get(event.other, '?')}"
            self.tree.notes.append(
                f"{pair}: {verdict}, for {event.cost.tokens:,} tokens"
            )
        if node_id is None or isinstance(event, PairCompared):
            self.other_cost += event.cost
            return
        node = self.tree.nodes[node_id]
        node.ratings.append(event)
        node.cost += event.cost

    def finish(self) -> SearchTree:
        """The tree, with what only the whole of it decides."""
        tree = self.tree
        tree.path = _path(tree)
        on_path = frozenset(tree.path)
        continued = {(node.head, node.depth) for node in tree.nodes if node.children}
        stepwise = {head for head, _ in continued}
        for node in tree.nodes:
            # In a run that was killed, nobody knows which sequences would have been continued.
            pruned = tree.ended is not None and (node.head, node.depth) in continued
            if node.finish is not None:
                node.state = _state(node, pruned=pruned, stepwise=node.head in stepwise)
            node.on_path = node.id in on_path
        if tree.ended:
            tree.cost = tree.ended.cost
        else:
            costs = [*(node.cost for node in tree.nodes), *self.thoughts.values()]
            tree.cost = sum(costs, self.other_cost).taking(self.seconds)
        return tree


def _path(tree: SearchTree) -> tuple[int, ...]:
    """The chain to the likeliest source of the answer: the end of a chain, complete, rated high, sampled early."""
    key = tree.answer.key if tree.answer else None
    sources = [node for node in tree.nodes if node.answer and node.answer.key == key]
    if not sources:
        return ()

    def likelihood(node: TreeNode) -> tuple[bool, bool, float, int]:
        return (
            not node.children,
            node.complete,
            -1.0 if node.score is None else node.score,
            -node.id,
        )

    source: int | None = max(sources, key=likelihood).id
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


def _note(
    event: Noted | Refused | LikelihoodsMeasured | AnswersCompared | Executed,
) -> str:
    """What the event says in one line."""
    if isinstance(event, Noted):
        return event.text
    if isinstance(event, Refused):
        return f"refused: budget {event.unit}={event.limit:g}, needed {event.needed:g}, left {event.free:g}"
    if isinstance(event, Executed):
        printed = event.output.strip()[-MAX_KEY:]
        return f"a program ran for {event.cost.seconds:.1f} s: {event.error or event.failure or repr(printed)}"
    spent = f"{event.cost.tokens:,} tokens"
    if isinstance(event, AnswersCompared):
        first, second = (key[:MAX_KEY] for key in event.pair)
        verdict = event.error or ("the same" if event.same else "different")
        return f"{first!r} and {second!r} compared by the model for {spent}: {verdict}"
    return f"{len(event.texts)} log-likelihoods for {spent}" + (
        f": {event.error}" if event.error else ""
    )
