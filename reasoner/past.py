"""What a trace knows of one question: what was drawn, rated and weighed, handed over, refused and cancelled."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, runtime_checkable

from reasoner.budget import Cost
from reasoner.counts import MOST_IN_A_QUESTION, MOST_IN_A_REQUEST
from reasoner.errors import BudgetExhausted
from reasoner.plan import NOT_WEIGHED, Weight
from reasoner.trace import (
    Began,
    Blocked,
    Cancelled,
    Compared,
    Delivered,
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
    completed,
)
from reasoner.types import CANCELLED, NOT_RATED, Blocks, Completion, Prompt, Rating

Rated = tuple[str, int, tuple[str, int] | None]
"""A candidate by prompt and index, and the other one where two were compared."""
Asked = tuple[str, tuple[str, ...]]
"""What was weighed: a prompt and the texts."""
Repeated = Prompted | Extended | Delivered | Cancelled | Blocked | Compared | Noted | Refused | Proposed
"""Events that a plan brings about again when it is sent the same replies again."""


class Named(Protocol):
    """A sequence, named by its prompt's digest and its place among the prompt's draws."""

    @property
    def digest(self) -> str: ...

    @property
    def index(self) -> int: ...


class Weighing(NamedTuple):
    """How likely each text is, None where it did not fit, and what it cost to find out."""

    weights: tuple[Weight | None, ...]
    cost: Cost


@runtime_checkable
class Remembering(Protocol):
    """An engine that plays a run back and knows what was weighed in it."""

    async def weighed(self, question_id: str, prompt: str, texts: tuple[str, ...]) -> Weighed:
        """The record of it, where it came to an end. Raises `TraceError` where it did not, or was never asked."""
        ...


@dataclass(slots=True, eq=False)
class Past:
    """The record of one question, kept up with its events.

    A run that was interrupted goes on from it: the plan is run again, is sent what it was sent before, and asks the
    engine only for what is not here. All that was spent counts, also on what the interruption cut off.
    """

    spent: Cost = field(default_factory=Cost)
    """What all attempts cost so far."""
    attempts: int = 0
    ended: Ended | None = None
    """How the last attempt ended; None where it was cut off."""
    draws: dict[tuple[str, int], deque[Sampled | Dropped]] = field(default_factory=dict)
    ratings: dict[Rated, deque[Scored]] = field(default_factory=dict)
    weighed: dict[Asked, deque[Weighed]] = field(default_factory=dict)
    blocks: dict[str, Blocks | None] = field(default_factory=dict)
    same: dict[frozenset[str], bool | None] = field(default_factory=dict)
    delivered: list[int] = field(default_factory=list)
    refused: dict[int, Refused] = field(default_factory=dict)
    cancelled: set[int] = field(default_factory=set)
    _written: Counter[str] = field(default_factory=Counter)
    _before: float = 0.0
    _began: float = 0.0
    _last: float = 0.0

    @property
    def seconds(self) -> float:
        """How long the attempts took, each up to its last event."""
        return self._before + self._last - self._began

    def take_in(self, event: Event) -> None:
        """One more event of this question, in the order of the trace."""
        if isinstance(event, Began):
            self._before, self._began = self.seconds, event.t
            self.attempts += 1
            self.ended = None
        self._last = event.t
        if isinstance(event, Repeated):
            self._written[_content(event)] += 1
        if isinstance(event, Sampled | Dropped | Scored | Weighed):
            self.spent += event.cost
        self._file(event)

    def _file(self, event: Event) -> None:
        match event:
            case Sampled() | Dropped():
                self.draws.setdefault((event.prompt, event.index), deque()).append(event)
            case Scored():
                self.ratings.setdefault((event.prompt, event.index, event.against), deque()).append(event)
            case Weighed():
                self.weighed.setdefault((event.prompt, event.texts), deque()).append(event)
            case Blocked():
                self.blocks |= blocks_of(event)
            case Compared():
                self.same |= dict(zip(map(frozenset, event.pairs), event.same, strict=True))
            case Delivered():
                self.delivered.append(event.op)
            case Refused():
                self.refused.setdefault(event.op, event)
            case Cancelled():
                self.cancelled.add(event.op)
            case Ended():
                self.ended = event
            case _:
                pass

    @property
    def finished(self) -> bool:
        """Whether the question was closed for good: not by a failure, after which it may be tried again."""
        return self.ended is not None and self.ended.ended_by != "error"

    def repeats(self, event: Event) -> bool:
        """Whether a plan that runs again brought about what is in the trace already; true once for each time it is."""
        if not self._written or not isinstance(event, Repeated):
            return False
        content = _content(event)
        known = self._written[content] > 0
        if known:
            self._written[content] -= 1
        return known

    def settles(self, op: int, draws: Iterable["Named"]) -> bool:
        """Whether all that became of an operation is here, so that nothing of it is drawn anew."""
        if op in self.refused or op in self.cancelled:
            return True
        return bool(self.draws) and all((one.digest, one.index) in self.draws for one in draws)

    def extent(self, digest: str) -> int:
        """One more than the highest index of the sequences drawn from a prompt, by its digest; 0 for none."""
        return max((index + 1 for prompt, index in self.draws if prompt == digest), default=0)

    def reply(self, op: int, prompt: Prompt, digest: str, index: int) -> Completion | None:
        """The sequence that was drawn; None where none was and one is to be drawn.

        Raises:
            BudgetExhausted: it was refused, or cut at the deadline.
        """
        for event in self.draws.get((digest, index), ()):
            if isinstance(event, Sampled):
                return completed(prompt, event)
            if event.why == "deadline":
                raise self._refusal(op, "seconds")
        if op in self.refused:
            raise self._refusal(op, "tokens")
        return None

    def rating(self, op: int, rated: Rated) -> Rating | None:
        """The rating that was given; None where none was. Raises as `reply`."""
        for event in self.ratings.get(rated, ()):
            if event.error.startswith(NOT_RATED):
                raise self._refusal(op, "tokens")
            if event.error != CANCELLED:
                return as_rating(event)
        return None

    def weighing(self, op: int, asked: Asked) -> Weighing | None:
        """What texts were weighed as; None where they were not. Raises as `reply`."""
        for event in self.weighed.get(asked, ()):
            if event.error.startswith(NOT_WEIGHED):
                raise self._refusal(op, "tokens")
            if not event.error:
                return Weighing(event.weights, event.cost.taking(0))
        return None

    def _refusal(self, op: int, unit: str) -> BudgetExhausted:
        told = self.refused.get(op)
        if told is None:
            return BudgetExhausted(unit, needed=0, free=0, limit=0)
        return BudgetExhausted(told.unit, needed=told.needed, free=told.free, limit=told.limit)


NOTHING: Final = Past()
"""The past of a question that is asked for the first time; never written to."""


def pasts(events: Iterable[Event]) -> dict[str, Past]:
    """The record of each question of a trace. Of one that was closed for good nothing but that is kept."""
    found: dict[str, Past] = {}
    for event in events:
        past = found.setdefault(event.question_id, Past())
        past.take_in(event)
        if past.finished:
            found[event.question_id] = Past(past.spent, past.attempts, past.ended)
    return found


def blocks_of(event: Blocked) -> dict[str, Blocks | None]:
    """The recorded blocks, by the key of the answer."""
    return dict(zip(event.answers, event.blocks, strict=True))


def sound(events: Iterable[Event]) -> Iterator[Event]:
    """The events without those that hold an impossible count.

    Such counts are refused now; an older trace may hold one. The runner asks for its sequence again.
    """
    for event in events:
        cost = getattr(event, "cost", None)
        most = MOST_IN_A_QUESTION if isinstance(event, Ended | Proposed) else MOST_IN_A_REQUEST
        if not (cost and cost.fault(most=most)):
            yield event


def as_rating(event: Scored) -> Rating:
    """A recorded rating as the rating that it was."""
    return Rating(event.value, event.cost.taking(0), event.steps, event.error, event.parts)


def _content(event: Repeated) -> str:
    """What the event says, but for when."""
    plain = event.model_copy(
        update={"t": 0.0, **({"cost": event.cost.taking(0)} if isinstance(event, Proposed) else {})}
    )
    return plain.model_dump_json()
