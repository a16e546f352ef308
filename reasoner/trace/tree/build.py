"""Builds trees from a trace's events. Holds only the questions that are not finished or have failed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from reasoner.budget import Cost
from reasoner.errors import TraceError
from reasoner.strategy import BRANCH
from reasoner.trace.events import (
    AnswerExtracted,
    AnswersCompared,
    Began,
    Dropped,
    Ended,
    Event,
    LikelihoodsMeasured,
    Noted,
    Prefilled,
    Prompted,
    Proposed,
    Refused,
    Sampled,
    Scored,
    Thought,
)
from reasoner.trace.tree.search_tree import Comparison, Head, Node, SearchTree
from reasoner.types import Proposal, Usage

MAX_TEXTS: Final = 8
"""Texts of one log-likelihood request that a note lists."""
MAX_KEY: Final = 60
"""Characters of an answer that a note shows."""


def search_trees(events: Iterable[Event]) -> Iterator[SearchTree]:
    """The tree of each question, in the order in which they ended; those that did not end come last.

    A question that is resumed before it ended, or after an error or an interrupt, continues its tree. A question that
    is asked again after an answer begins a new tree.

    Raises:
        TraceError: an event comes before its question, or a sequence before its prompt.
    """
    builders: dict[str, _Builder] = {}
    for event in events:
        name = event.question_id
        if isinstance(event, Began) and name not in builders:
            builders[name] = _Builder(SearchTree(event))
        if name not in builders:
            raise TraceError(f"the trace holds an event {event.event!r} of {name} before its beginning")
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
class _Builder:
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
                tree.attempts += 1
                tree.ended = None
            case Prompted() | Prefilled():
                self._add_position(event)
            case Thought():
                self.thoughts[event.prompt, event.index] = event.cost
            case Sampled() | Dropped():
                self._add_node(event)
            case Scored():
                self._rate(event)
            case AnswerExtracted():
                self._extract(event)
            case Noted() | Refused() | LikelihoodsMeasured() | AnswersCompared():
                self._note(event)
            case Proposed():
                tree.proposals.append(Proposal(event.answer, event.vote_state, event.cost))
            case Ended():
                tree.ended = event
            case _:
                pass

    def _add_position(self, event: Prompted | Prefilled) -> None:
        if isinstance(event, Prefilled):
            at = self._position(event.prompt)
            self.positions.setdefault(event.child, at._replace(prefill=at.prefill + event.text))
        elif event.prompt not in self.positions:
            self.positions[event.prompt] = _Position(len(self.tree.heads))
            self.tree.heads.append(Head(event.messages, event.raw, event.tokens, len(self.tree.nodes)))

    def _note(self, event: Noted | Refused | LikelihoodsMeasured | AnswersCompared) -> None:
        match event:
            case Noted():
                note = event.text
            case Refused():
                limits = f"budget {event.unit}={event.limit:g}, needed {event.needed:g}, left {event.free:g}"
                note = f"refused: {limits}"
            case LikelihoodsMeasured():
                self.other_cost += event.cost
                note = _likelihoods(event)
            case AnswersCompared():
                self.other_cost += event.cost
                note = _compared(event)
        self.tree.notes.append(note)

    def _position(self, prompt: str) -> _Position:
        if prompt not in self.positions:
            raise TraceError(f"the trace continues a prompt of {self.tree.id} that it does not hold: {prompt}")
        return self.positions[prompt]

    def _add_node(self, event: Sampled | Dropped) -> None:
        nodes, at = self.tree.nodes, self._position(event.prompt)
        parent = None if at.node is None else nodes[at.node]
        branch, index = divmod(event.index, BRANCH)
        sampled = event if isinstance(event, Sampled) else None
        node = Node(
            id=len(nodes),
            head=at.head,
            parent=at.node,
            depth=parent.depth + 1 if parent else 1,
            index=index,
            branch=branch,
            prefill=at.prefill,
            text=sampled.text if sampled else "",
            finish=sampled.finish_reason if sampled else None,
            complete=sampled is not None and sampled.finish_reason == "stop" and sampled.stop is None,
            answer=sampled.answer if sampled else None,
            usage=event.usage or Usage(),
            cost=event.cost + self.thoughts.pop((event.prompt, event.index), Cost()),
            state="open" if isinstance(event, Sampled) else event.why,
        )
        nodes.append(node)
        self.node_ids[event.prompt, event.index] = node.id
        (parent or self.tree.heads[at.head]).children.append(node.id)
        if sampled:
            # Equal siblings lead to the same prompt. A trace cannot tell which of them was continued: the first counts.
            child = self.positions.setdefault(sampled.child, _Position(at.head, node.id))
            if child.node not in {node.id, at.node}:
                node.repeats = child.node

    def _extract(self, event: AnswerExtracted) -> None:
        node_id = self.node_ids.get((event.prompt, event.index))
        if node_id is None:
            self.other_cost += event.cost
            return
        node = self.tree.nodes[node_id]
        node.cost += event.cost
        node.answer = node.answer or event.answer
        self.tree.notes.append(f"#{node_id} answer asked of the model: {_extracted(event)}")

    def _rate(self, event: Scored) -> None:
        node_id = self.node_ids.get((event.prompt, event.index))
        if event.against is not None:
            self.tree.comparisons.append(Comparison(node_id, self.node_ids.get(event.against), event))
        elif node_id is None:
            self.tree.unmatched.append(event)
        else:
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
        for node in reversed(tree.nodes):
            # In a run that was killed, nobody knows which sequences would have been continued.
            pruned = tree.ended is not None and (node.head, node.depth) in continued
            _set_state(node, pruned=pruned, stepwise=node.head in stepwise)
            node.on_path = node.id in on_path
            node.agrees = node.state == "answered" and _gives_answer(node, tree)
            if node.parent is not None:
                tree.nodes[node.parent].tokens_below += node.tokens_below + node.cost.tokens
        if tree.ended:
            tree.cost = tree.ended.cost
        else:
            costs = [node.cost for node in tree.nodes]
            costs += [rated.cost for rated in (*tree.unmatched, *(each.rated for each in tree.comparisons))]
            spent = sum([*costs, *self.thoughts.values()], self.other_cost)
            tree.cost = spent.taking(self.seconds)
        return tree


def _gives_answer(node: Node, tree: SearchTree) -> bool:
    return node.answer is not None and tree.answer is not None and node.answer.key == tree.answer.key


def _path(tree: SearchTree) -> tuple[int, ...]:
    """The chain to the likeliest source of the answer: the end of a chain, complete, rated high, sampled early."""
    sources = [node for node in tree.nodes if _gives_answer(node, tree)]
    if not sources:
        return ()

    def likelihood(node: Node) -> tuple[bool, bool, float, int]:
        value = node.rating.value if node.rating else None
        return not node.children, node.complete, -1.0 if value is None else value, -node.id

    source: int | None = max(sources, key=likelihood).id
    path = []
    while source is not None:
        path.append(source)
        source = tree.nodes[source].parent
    return tuple(reversed(path))


def _set_state(node: Node, *, pruned: bool, stepwise: bool) -> None:
    """Set the state, where `pruned` if incomplete, and `stepwise` says that the replies of its head come in steps."""
    if node.finish is None:
        return
    if node.children:
        node.state = "continued"
    elif not node.complete and node.repeats is not None:
        node.state = "repeat"
    elif not node.complete and node.finish == "abort":
        node.state = "cut"
    elif not node.complete and pruned:
        node.state = "pruned"
    elif not node.complete and stepwise:
        node.state = "open"
    elif node.finish == "length":
        node.state = "cut"
    else:
        node.state = "no answer" if node.answer is None else "answered"


def _likelihoods(event: LikelihoodsMeasured) -> str:
    """The log-likelihoods of the first texts, and what computing them cost."""
    pairs = list(zip(event.texts, event.likelihoods, strict=False))[:MAX_TEXTS]
    likelihoods = ", ".join(
        f"{text[:40]!r} {weight.logprob:.2f}" if weight else f"{text[:40]!r} too long" for text, weight in pairs
    )
    more = f" and {len(event.texts) - MAX_TEXTS} more" if len(event.texts) > MAX_TEXTS else ""
    return f"log-likelihoods for {event.cost.tokens:,} tokens: {event.error or likelihoods}{more}"


def _compared(event: AnswersCompared) -> str:
    first, second = (key[:MAX_KEY] for key in event.pair)
    chances = ", ".join(f"{chance:.2f}" for chance in event.yes)
    verdict = event.error or f"{'the same' if event.same else 'different'}, yes {chances}"
    return f"{first!r} and {second!r} compared by the model for {event.cost.tokens:,} tokens: {verdict}"


def _extracted(event: AnswerExtracted) -> str:
    verdict = event.error or (repr(event.answer.text[:MAX_KEY]) if event.answer else "none")
    return f"{verdict}, for {event.cost.tokens:,} tokens"
