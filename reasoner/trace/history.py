"""The history of a question: what its trace says was done, so that its plan can be run again and get the same replies.

A resumed run and a replay are one mechanism. Both run the plan again, look up each result in the history and deliver
results in the recorded order. They differ in what the history does not have: a resumed run asks the engine for it, the
engine of a replay refuses it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar, cast, runtime_checkable

from reasoner.budget import Cost
from reasoner.errors import BudgetExhausted, NotRecorded, RequestLost, TraceError
from reasoner.system.foreign import MAX_PER_QUESTION, MAX_PER_REQUEST
from reasoner.trace.events import (
    ATTEMPTS,
    AnswerExtracted,
    Began,
    BlocksFound,
    Cancelled,
    Delivered,
    Dropped,
    Ended,
    EquivalenceChecked,
    Event,
    Proposed,
    RefusableWork,
    Refused,
    Sampled,
    TraceRecord,
    Work,
)
from reasoner.types import Blocks
from reasoner.verifier import Verifier

R = TypeVar("R", bound=TraceRecord)
Name = tuple[object, ...]


@dataclass(slots=True, eq=False)
class QuestionHistory:
    """The recorded events of one question.

    `source` is the trace that is replayed: what is used of it is booked and written again. It is empty in a resumed
    run, where all recorded costs count from the start and nothing recorded is written again.
    """

    source: str = ""
    spent: Cost = field(default_factory=Cost)
    """What all attempts cost so far; nothing in a replay."""
    attempts: int = 0
    ended: Ended | None = None
    """How the last attempt ended; None if it was cut off."""
    _events: dict[Name, list[Event]] = field(default_factory=dict)
    refused: bool = False
    """Whether the ledger refused any work."""
    _written: Counter[str] = field(default_factory=Counter)
    _before: float = 0.0
    _began: float = 0.0
    _last: float = 0.0

    @property
    def seconds(self) -> float:
        """How long all attempts took, each up to its last event; 0 in a replay."""
        return 0.0 if self.source else self._before + self._last - self._began

    @property
    def finished(self) -> bool:
        """Whether the question is finished. After an error it may be tried again."""
        return self.ended is not None and self.ended.ended_by != "error"

    def take_in(self, event: Event) -> None:
        """Add the next event of this question, in the order of the trace."""
        if isinstance(event, Began):
            self._before, self._began = self.seconds, event.t
            self.attempts += 1
            self.ended = None
        elif isinstance(event, Ended):
            self.ended = event
        self._last = event.t
        self._events.setdefault(event.key, []).append(event)
        self.refused |= isinstance(event, Refused) or (
            isinstance(event, RefusableWork) and event.refusal is not None
        )
        if self.source:
            return
        if event.repeated:
            self._written[_content(event)] += 1
        if isinstance(event, Work):
            self.spent += event.cost

    def repeats(self, event: Event) -> bool:
        """Whether the trace of a resumed run has this event already; each recorded event counts once."""
        if not self._written or not event.repeated:
            return False
        content = _content(event)
        known = self._written[content] > 0
        if known:
            self._written[content] -= 1
        return known

    def without_events(self) -> "QuestionHistory":
        """What the question cost and how it ended, for a plan that starts again."""
        return QuestionHistory(
            spent=self.spent, attempts=self.attempts, ended=self.ended
        )

    def of(self, kind: type[R], *name: object) -> list[R]:
        """The events of one kind in the order of the trace; where events of that kind have names, those of this one."""
        return [
            event
            for event in self._events.get((kind, *name), [])
            if isinstance(event, kind)
        ]

    def any_of(self, kind: type[Event]) -> bool:
        """Whether there is any event of a kind."""
        return any(name[0] is kind for name in self._events)

    def holds(self, *name: object) -> bool:
        """Whether there is any event of this name."""
        return name in self._events

    @property
    def delivered(self) -> list[int]:
        """The started operations in the order in which the plan received their results."""
        return [event.op for event in self.of(Delivered)]

    @property
    def blocks(self) -> dict[str, Blocks | None]:
        """The blocks of answers, by the answer's key."""
        events = self.of(BlocksFound)
        return {
            key: blocks
            for event in events
            for key, blocks in zip(event.answers, event.blocks, strict=True)
        }

    @property
    def same(self) -> dict[frozenset[str], bool | None]:
        """The results of comparisons, by the keys of the two answers."""
        events = self.of(EquivalenceChecked)
        return {
            frozenset(pair): same
            for event in events
            for pair, same in zip(event.pairs, event.same, strict=True)
        }

    def extent(self, digest: str) -> int:
        """One more than the highest recorded index of a prompt's sequences, by the prompt's digest; 0 without any."""
        names = cast(
            "Iterable[tuple[object, str, int]]",
            (name for name in self._events if name[0] is Sampled),
        )
        return max(
            (index + 1 for _, prompt, index in names if prompt == digest), default=0
        )

    def settles(self, op: int, sequences: Iterable[tuple[str, int]]) -> bool:
        """Whether the history decides about all sequences of an operation, so that none is generated now."""
        if not self._events:
            return False
        if self.of(Cancelled, op) or self.refusal(op):
            return True
        return all((Sampled, *sequence) in self._events for sequence in sequences)

    def take(self, op: int, *name: object) -> list[Work]:
        """The events of one piece of work, each taken once: those that were cut off, then the outcome if there is one.

        Where several operations did the same work, the events of operation `op` come first.
        """
        events = cast("list[Work]", self._events.get(name, []))
        taken: list[Work] = []
        for event in [event for event in events if event.op == op] or [*events]:
            events.remove(event)
            taken.append(event)
            if event.completed:
                break
        return taken

    def outcome(self, op: int, name: Name, events: Sequence[Work]) -> Work | None:
        """How a piece of work ended, by its `events`; None where it is still to be done.

        Raises:
            BudgetExhausted: it was refused, or cut at the deadline.
            EngineError: it failed, or the engine lost it as often as it is tried.
            NotRecorded: the plan cancelled it.
        """
        last = events[-1] if events else None
        if last and last.completed:
            if isinstance(last, RefusableWork) and last.refusal:
                raise last.refusal.error()
            return last
        # Of an operation that was refused in part, a sequence may be there and the answer of its probe still missing.
        if name[0] is not AnswerExtracted and (refusal := self.refusal(op)):
            raise refusal
        if self.of(Cancelled, op):
            raise NotRecorded(f"operation {op} was cancelled")
        if not self.source:
            return None
        lost = sum(
            isinstance(event, Dropped) and event.why == "lost" for event in events
        )
        if lost >= ATTEMPTS:
            raise RequestLost(
                f"the recorded request was lost here (tried {lost} times)"
            )
        cut = isinstance(last, Dropped) and last.why == "cancelled"
        if (
            name[0] is Sampled
            and not cut
            and self.ended
            and (refusals := self.of(Refused))
        ):
            # Of sequences that were refused together, or when they were tried again, the trace names one.
            raise refusals[0].error()
        return None

    def refusal(self, op: int) -> BudgetExhausted | None:
        """The refusal that was recorded for an operation."""
        refusals = (event.error() for event in self.of(Refused) if event.op == op)
        return next(refusals, None)


EMPTY: Final = QuestionHistory()
"""The history of a question that is asked for the first time; never written to."""


@runtime_checkable
class RecordedEngine(Protocol):
    """An engine that replays a recorded run."""

    @property
    def budget(self) -> str:
        """The limits of the recorded run. The replay keeps them by doing the same."""

    @property
    def history(self) -> Mapping[str, QuestionHistory]:
        """The history of each question, by its id."""

    def verifier(self) -> Verifier:
        """A verifier that refuses every rating: the recorded ones are in the history."""


def read_histories(
    events: Iterable[Event], *, source: str = ""
) -> dict[str, QuestionHistory]:
    """The history of each question of a trace, by its id; of a finished question only its end and its cost.

    With a `source`, the name of a trace that is replayed, everything is kept.
    """
    histories: dict[str, QuestionHistory] = {}
    for event in events:
        history = histories.setdefault(event.question_id, QuestionHistory(source))
        history.take_in(event)
        if history.finished and not source:
            histories[event.question_id] = history.without_events()
    return histories


def in_order(events: Iterable[Event], file: str, *, advice: str) -> Iterator[Event]:
    """The events of a run, if they are those that were written, each question's in the order of its time.

    Raises:
        TraceError: lines were moved, repeated, left out, or come from another run; the error ends with `advice`.
    """
    last: dict[str, Event] = {}
    counted: Counter[str] = Counter()
    for event in events:
        question_id, before, fault = event.question_id, last.get(event.question_id), ""
        if isinstance(event, Began):
            wrong = isinstance(before, Ended) and before.ended_by != "error"
        else:
            wrong = before is None or isinstance(before, Ended) or event.t < before.t
        if wrong:
            fault = "its lines are not in the order in which they were written"
        elif event == before and not isinstance(event, Began):
            # A session that is killed right after the start and the next one may write the same start.
            fault = "a line is there twice"
        tokens = counted[question_id]
        if isinstance(event, Work):
            counted[question_id] += event.cost.tokens
        elif (
            isinstance(event, Ended)
            and event.ended_by != "error"
            and event.cost.tokens != tokens
        ):
            stated = (
                f"it cost {event.cost.tokens:,} tokens, and its lines say {tokens:,}"
            )
            fault = fault or f"lines are missing or of another run ({stated})"
        if fault:
            raise TraceError(f"{file}: question {question_id!r:.80}: {fault}: {advice}")
        last[question_id] = event
        yield event


def sound(events: Iterable[Event]) -> Iterator[Event]:
    """The events without those that have an impossible count, so that the runner does their work again."""
    for event in events:
        cost = getattr(event, "cost", None)
        limit = MAX_PER_REQUEST if isinstance(event, Work) else MAX_PER_QUESTION
        if not (cost and cost.fault(limit=limit)):
            yield event


def _content(event: Event) -> str:
    """The event as JSON without its time."""
    cost = {"cost": event.cost.taking(0)} if isinstance(event, Proposed) else {}
    return event.model_copy(update={"t": 0.0, **cost}).model_dump_json()
