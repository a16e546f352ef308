"""Makes courses out of a trace's events, holding no more than the questions that are under way or have failed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from reasoner.budget import Cost
from reasoner.drive import BRANCH
from reasoner.errors import TraceError
from reasoner.solution import Proposal
from reasoner.trace import (
    Began,
    Dropped,
    Ended,
    Event,
    Extended,
    Noted,
    Prompted,
    Proposed,
    Refused,
    Sampled,
    Scored,
    Weighed,
)
from reasoner.tree.course import Course, Duel, Head, Node, Rated, State
from reasoner.types import Answer, Usage

SHOWN: Final = 8
"""Texts that were weighed of which a course tells how likely they are."""


def courses(events: Iterable[Event]) -> Iterator[Course]:
    """The course of each question, in the order in which they ended; of those that did not end, at the end.

    A question that is taken up again before it ended, or after an error or an interrupt, goes on with its course; one
    that is taken up again after an answer begins a course of its own.

    Raises:
        TraceError: an event comes before its question, or a sequence before its prompt.
    """
    growing: dict[str, _Growing] = {}
    for event in events:
        name = event.question_id
        if isinstance(event, Began) and name not in growing:
            growing[name] = _Growing(event)
        if name not in growing:
            raise TraceError(f"the trace holds an event {event.event!r} of {name} before its beginning")
        growing[name].take(event)
        if isinstance(event, Ended) and event.ended_by != "error":
            yield growing.pop(name).course()
    for left in growing.values():
        yield left.course()


@dataclass(slots=True, eq=False)
class _Shoot:
    """A node before it is known what became of it."""

    event: Sampled | Dropped
    head: int
    parent: int | None
    depth: int
    before: str
    repeats: int | None = None
    ratings: list[Rated] = field(default_factory=list)
    children: list[int] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether the model itself ended it."""
        return isinstance(self.event, Sampled) and self.event.finish_reason == "stop" and self.event.stop is None

    @property
    def standing(self) -> tuple[bool, bool, float]:
        """What makes it the likelier source of an answer: the end of a chain, ended by the model, rated high."""
        value = next((one.value for one in reversed(self.ratings) if one.value is not None), -1.0)
        return not self.children, self.whole, value


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a prompt stands: its head, the node it ends with, and what was put into the reply's mouth after that."""

    head: int
    node: int | None = None
    before: str = ""


@dataclass(slots=True, eq=False)
class _Growing:
    """The course of one question as far as its events go."""

    began: Began
    takes: int = 0
    places: dict[str, _Place] = field(default_factory=dict)
    heads: list[tuple[Prompted, int, list[int]]] = field(default_factory=list)
    shoots: list[_Shoot] = field(default_factory=list)
    named: dict[tuple[str, int], int] = field(default_factory=dict)
    duels: list[Duel] = field(default_factory=list)
    strays: list[Rated] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)
    ended: Ended | None = None
    seconds: float = 0.0
    weighed: Cost = field(default_factory=Cost)

    def take(self, event: Event) -> None:
        """Let the next event happen."""
        self.seconds = event.t
        match event:
            case Began():
                self.takes += 1
                self.ended = None
            case Prompted():
                self._head(event)
            case Extended():
                at = self._place(event.prompt)
                self.places.setdefault(event.child, _Place(at.head, at.node, at.before + event.text))
            case Sampled() | Dropped():
                self._grow(event)
            case Scored():
                self._rate(event)
            case Noted() | Refused() | Weighed():
                self._note(event)
            case Proposed():
                self.proposals.append(Proposal(event.answer, event.standing, event.cost))
            case Ended():
                self.ended = event
            case _:
                pass

    def _note(self, event: Noted | Refused | Weighed) -> None:
        match event:
            case Noted():
                self.notes.append(event.text)
            case Refused():
                limits = f"budget {event.unit}={event.limit:g}, needed {event.needed:g}, free {event.free:g}"
                self.notes.append(f"refused: {limits}")
            case Weighed():
                self.weighed += event.cost
                self.notes.append(_balance(event))

    def _place(self, prompt: str) -> _Place:
        place = self.places.get(prompt)
        if place is None:
            raise TraceError(
                f"the trace continues a prompt of {self.began.question_id} that it does not hold: {prompt}"
            )
        return place

    def _head(self, event: Prompted) -> None:
        if event.prompt not in self.places:
            self.places[event.prompt] = _Place(len(self.heads))
            self.heads.append((event, len(self.shoots), []))

    def _grow(self, event: Sampled | Dropped) -> None:
        at, new = self._place(event.prompt), len(self.shoots)
        parent = None if at.node is None else self.shoots[at.node]
        shoot = _Shoot(event, at.head, at.node, parent.depth + 1 if parent else 1, at.before)
        self.shoots.append(shoot)
        self.named[event.prompt, event.index] = new
        (parent.children if parent else self.heads[at.head][2]).append(new)
        if isinstance(event, Sampled):
            # Equal siblings lead to the same prompt, and a trace cannot tell whose child is drawn from it: the first's.
            stands = self.places.setdefault(event.child, _Place(at.head, new))
            if stands.node not in {new, at.node}:
                shoot.repeats = stands.node

    def _rate(self, event: Scored) -> None:
        rated = Rated(event.value, event.steps, event.parts, event.error, event.cost)
        node = self.named.get((event.prompt, event.index))
        if event.against is not None:
            self.duels.append(Duel(node, self.named.get(event.against), rated))
        elif node is None:
            self.strays.append(rated)
        else:
            self.shoots[node].ratings.append(rated)

    def course(self) -> Course:
        """The course, as it is by now."""
        went_on = {(one.head, one.depth) for one in self.shoots if one.children}
        path, below, stepwise = self._path(), self._below(), {head for head, _ in went_on}
        on_path = frozenset(path)
        # Of a run that was killed nobody knows what would have gone on.
        passed = went_on if self.ended else set()
        nodes = []
        for place, shoot in enumerate(self.shoots):
            state = _state(shoot, others=(shoot.head, shoot.depth) in passed, stepwise=shoot.head in stepwise)
            nodes.append(self._node(place, shoot, below[place], state, on_path=place in on_path))
        spent = sum((node.cost for node in nodes), self.weighed)
        spent = sum((rated.cost for rated in [*self.strays, *(duel.rated for duel in self.duels)]), spent)
        ended = self.ended
        return Course(
            self.began,
            self.takes,
            tuple(Head(e.messages, e.raw, e.tokens, after, tuple(grown)) for e, after, grown in self.heads),
            tuple(nodes),
            path,
            tuple(self.duels),
            tuple(self.strays),
            tuple(self.notes),
            ended.notes if ended else self.began.notes,
            tuple(self.proposals),
            self._answer,
            ended.ended_by if ended else None,
            ended.reason if ended else "the trace ends before the run does",
            ended.cost if ended else spent.taking(self.seconds),
        )

    @property
    def _answer(self) -> Answer | None:
        if self.ended:
            return self.ended.answer
        return self.proposals[-1].answer if self.proposals else None

    def _gives(self, shoot: _Shoot) -> bool:
        """Whether the final answer can be read out of it."""
        mine = shoot.event.answer if isinstance(shoot.event, Sampled) else None
        return mine is not None and self._answer is not None and mine.key == self._answer.key

    def _path(self) -> tuple[int, ...]:
        giving = [place for place, one in enumerate(self.shoots) if self._gives(one)]
        if not giving:
            return ()
        at: int | None = max(giving, key=lambda place: (*self.shoots[place].standing, -place))
        path = []
        while at is not None:
            path.append(at)
            at = self.shoots[at].parent
        return tuple(reversed(path))

    def _below(self) -> list[int]:
        """The tokens computed under each node; a parent stands before its children."""
        below = [0] * len(self.shoots)
        for place in range(len(self.shoots) - 1, -1, -1):
            parent = self.shoots[place].parent
            if parent is not None:
                below[parent] += below[place] + _spent(self.shoots[place]).tokens
        return below

    def _node(self, place: int, shoot: _Shoot, below: int, state: State, *, on_path: bool) -> Node:
        event, drawn = shoot.event, shoot.event if isinstance(shoot.event, Sampled) else None
        branch, index = divmod(event.index, BRANCH)
        return Node(
            place,
            shoot.head,
            shoot.parent,
            shoot.depth,
            index,
            branch,
            shoot.before,
            drawn.text if drawn else "",
            drawn.finish_reason if drawn else None,
            drawn.answer if drawn else None,
            event.usage or Usage(),
            _spent(shoot),
            below,
            tuple(shoot.ratings),
            tuple(shoot.children),
            shoot.repeats,
            state,
            on_path,
            state == "answered" and self._gives(shoot),
        )


def _balance(event: Weighed) -> str:
    """How likely the first of the texts were, and what telling so cost."""
    pairs = list(zip(event.texts, event.weights, strict=False))[:SHOWN]
    told = ", ".join(f"{text[:40]!r} {one.logprob:.2f}" if one else f"{text[:40]!r} too long" for text, one in pairs)
    more = f" and {len(event.texts) - SHOWN} more" if len(event.texts) > SHOWN else ""
    return f"weighed for {event.cost.tokens:,} tokens: {event.error or told}{more}"


def _spent(shoot: _Shoot) -> Cost:
    return sum((rated.cost for rated in shoot.ratings), shoot.event.cost)


def _state(shoot: _Shoot, *, others: bool, stepwise: bool) -> State:
    """What became of it, where `others` of its depth went on, or its head's replies come in steps."""
    event = shoot.event
    if isinstance(event, Dropped):
        return event.why
    if shoot.children:
        return "went on"
    if shoot.whole:
        return "no answer" if event.answer is None else "answered"
    if shoot.repeats is not None:
        return "repeat"
    if event.finish_reason == "abort":
        return "cut"
    if others:
        return "pruned"
    if stepwise:
        return "open"
    if event.finish_reason == "length":
        return "cut"
    return "no answer" if event.answer is None else "answered"
