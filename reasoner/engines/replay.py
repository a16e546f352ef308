"""An engine that plays a trace back: same replies, same order of completion, no model."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from reasoner.budget import Cost
from reasoner.errors import BudgetExhausted, RequestLost, TraceError
from reasoner.models.card import ModelCard
from reasoner.protocols import Engine, Rendered, Resourceless, SampleRequest, Tab
from reasoner.trace import Began, Compared, Dropped, Event, Extended, Prompted, Refused, Sampled, Scored, read_trace
from reasoner.types import (
    CANCELLED,
    NOT_RATED,
    Answer,
    AnswerSpace,
    Completion,
    Prompt,
    Question,
    Rating,
    TokenIds,
    Usage,
)

PATIENCE = 200
"""Turns of the event loop that a reply waits for an earlier one that is not asked for, before it goes ahead."""


class _Key(NamedTuple):
    question_id: str
    prompt: str
    sample: int


_Rated = tuple[str, str, int, tuple[str, int] | None]
"""A candidate, and the other one where two were compared."""


@dataclass(slots=True)
class _Stage:
    """The replies of one question in recorded order, who waits for one, and who for one that was never recorded."""

    order: list[_Key] = field(default_factory=list)
    place: int = 0
    waiting: dict[_Key, asyncio.Future[None]] = field(default_factory=dict)
    held: dict[_Key, asyncio.Future[None]] = field(default_factory=dict)
    pump: "asyncio.Task[None] | None" = None


@dataclass(slots=True)
class ReplayEngine:
    """Answers each request with what the trace at `path` holds for it.

    Replies come in the recorded order, so that a plan that reacts to what finishes first takes the same course; ask the
    same question with the same strategy and budget. A request that the trace does not hold is a `TraceError`.
    """

    path: str
    name: str = field(default="replay", init=False, repr=False)
    notes: tuple[str, ...] = field(default=("replayed: no model was run",), init=False, repr=False)
    capacity: int | None = field(default=None, init=False, repr=False)
    model: ModelCard = field(default=ModelCard("replay"), init=False, repr=False)
    _records: dict[_Key, deque[Sampled | Dropped]] = field(init=False, repr=False, default_factory=dict)
    _heads: dict[str, Rendered] = field(init=False, repr=False, default_factory=dict)
    _scores: dict[_Rated, deque[Scored]] = field(init=False, repr=False, default_factory=dict)
    _same: dict[frozenset[str], bool] = field(init=False, repr=False, default_factory=dict)
    _spelled: dict[str, TokenIds | None] = field(init=False, repr=False, default_factory=dict)
    _late: set[str] = field(init=False, repr=False, default_factory=set)
    _stages: defaultdict[str, _Stage] = field(init=False, repr=False, default_factory=lambda: defaultdict(_Stage))
    _began: list[Began] = field(init=False, repr=False, default_factory=list)

    async def start(self) -> None:
        """Read the trace.

        Raises:
            TraceError: it cannot be read, or holds no run.
        """
        if self._began:
            return
        for event in read_trace(Path(self.path)):
            self._take_in(event)
        if not self._began:
            raise TraceError(f"the trace {self.path} holds no run: it is empty")
        self.model = self._began[0].model

    def _take_in(self, event: Event) -> None:
        match event:
            case Began():
                self._began.append(event)
            case Prompted():
                self._heads[event.prompt] = Rendered((0,) * event.tokens if event.exact else None, event.tokens)
            case Sampled() | Dropped():
                key = _Key(event.question_id, event.prompt, event.index)
                self._records.setdefault(key, deque()).append(event)
                if isinstance(event, Sampled) or event.why == "lost":
                    self._stages[event.question_id].order.append(key)
            case Scored():
                named = (event.question_id, event.prompt, event.index, event.against)
                self._scores.setdefault(named, deque()).append(event)
            case Extended():
                self._spelled[event.text] = event.token_ids
            case Compared():
                self._same |= dict(zip(map(frozenset, event.pairs), event.same, strict=True))
            case Refused() if event.unit == "seconds":
                self._late.add(event.question_id)

    async def close(self) -> None:
        """Nothing to do."""

    async def render(self, prompt: Prompt) -> Rendered:
        """The recorded number of tokens of the head, and what was generated since."""
        head = Prompt(prompt.messages, prompt.raw)
        known_head = self._heads.get(head.digest)
        if known_head is None:
            known = ", ".join(repr(run.text[:60]) for run in self._began[:3])
            raise TraceError(
                f"the trace {self.path} does not hold this prompt: it is of {known}; ask the same question"
            )
        ids = None if known_head.token_ids is None else known_head.token_ids + prompt.token_ids
        return Rendered(ids, known_head.tokens + len(prompt.token_ids))

    async def encode(self, text: str) -> TokenIds | None:
        """The recorded ids of a text that a strategy put into a reply; None for any other: a trace has no tokenizer."""
        return self._spelled.get(text)

    async def sample(self, request: SampleRequest) -> Completion:
        """The recorded reply, when its turn comes. Raises what the recorded request met with."""
        key = _Key(request.question_id, request.prompt.digest, request.index)
        records, stage = self._records.get(key), self._stages[request.question_id]
        if not records:
            request.meter.usage = Usage()
            if request.question_id in self._late:
                raise TimeoutError
            await _turn(stage, key, stage.held)
            raise TraceError(
                f"the trace {self.path} holds no sample {request.index} of this prompt of question "
                f"{request.question_id}: replay with the same strategy, seed and budget"
            )
        record = records.popleft()
        request.meter.usage = record.usage
        if isinstance(record, Dropped) and record.why == "deadline":
            raise TimeoutError
        if isinstance(record, Dropped) and record.why == "cancelled":
            await _turn(stage, key, stage.held)
            raise TraceError(
                f"the trace {self.path} holds only a part of sample {request.index} of question {request.question_id}, "
                "which was cancelled: replay with the same strategy, seed, budget and stop rule"
            )
        # A cancellation came too late for this one when it was recorded: it had ended, and was paid.
        with suppress(asyncio.CancelledError):
            await _turn(stage, key, stage.waiting)
        if isinstance(record, Dropped):
            raise RequestLost("the recorded request was lost here")
        return Completion(
            request.prompt,
            record.text,
            record.token_ids,
            record.finish_reason,
            record.stop,
            record.usage,
            record.logprobs,
            record.index,
            record.seed,
        )

    def comparer(self) -> "ReplayComparer":
        """The recorded comparisons of answers."""
        return ReplayComparer(self.path, self._same)

    def verifier(self) -> "ReplayVerifier":
        """The recorded ratings as a verifier."""
        return ReplayVerifier(self.path, self._scores)


async def _turn(stage: _Stage, key: _Key, line: dict[_Key, asyncio.Future[None]]) -> None:
    ticket = asyncio.get_running_loop().create_future()
    line[key] = ticket
    if stage.pump is None or stage.pump.done():
        stage.pump = asyncio.ensure_future(_pump(stage))
    try:
        await ticket
    finally:
        line.pop(key, None)


async def _pump(stage: _Stage) -> None:
    """Deliver in recorded order; what is never asked for is passed over, and at the end `held` is let go."""
    idle = 0
    while stage.waiting or stage.held:
        due = stage.order[stage.place] if stage.place < len(stage.order) else None
        ticket = stage.waiting.get(due) if due else None
        if ticket is None and idle < PATIENCE:
            idle += 1
            await asyncio.sleep(0)
            continue
        if ticket is None and not stage.waiting:
            for held in stage.held.values():
                if not held.done():
                    held.set_result(None)
            return
        if ticket is None:
            ranks = {key: rank for rank, key in enumerate(stage.order)}
            due = min(stage.waiting, key=lambda key: ranks.get(key, len(ranks)))
            ticket = stage.waiting[due]
            stage.place = max(stage.place, ranks.get(due, stage.place))
        stage.place += 1
        stage.waiting.pop(due, None)  # type: ignore[arg-type]
        idle = 0
        if not ticket.done():
            ticket.set_result(None)
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class ReplayComparer:
    """Says of two answers what the trace says."""

    path: str
    _same: Mapping[frozenset[str], bool] = field(repr=False)

    async def same_many(self, space: AnswerSpace, pairs: Sequence[tuple[Answer, Answer]]) -> tuple[bool, ...]:
        """The recorded verdicts.

        Raises:
            TraceError: one was never recorded.
        """
        try:
            return tuple(self._same[frozenset((a.key, b.key))] for a, b in pairs)
        except KeyError as error:
            raise TraceError(
                f"the trace {self.path} does not say which answers are one: replay with the same strategy and budget"
            ) from error

    async def close(self) -> None:
        """Nothing to do."""


@dataclass(frozen=True, slots=True)
class ReplayVerifier(Resourceless):
    """Gives each candidate the rating that the trace holds for it."""

    path: str
    _scores: dict[_Rated, deque[Scored]] = field(repr=False)
    logprobs: int | None = None

    async def bound(self, question: Question, candidate: Completion, policy: Engine) -> Cost:
        """What the recorded rating cost. Raises `BudgetExhausted` where the recorded ledger refused it."""
        return self._bound(_rated(question, candidate))

    async def score(self, question: Question, candidate: Completion, policy: Engine, tab: Tab) -> Rating:
        """The recorded rating."""
        return await self._rating(_rated(question, candidate))

    async def bound_pair(self, question: Question, a: Completion, b: Completion, policy: Engine) -> Cost:
        """What the recorded comparison cost. Raises as `bound`."""
        return self._bound(_rated(question, a, b))

    async def prefer(self, question: Question, a: Completion, b: Completion, policy: Engine, tab: Tab) -> Rating:
        """The recorded comparison."""
        return await self._rating(_rated(question, a, b))

    def _bound(self, named: _Rated) -> Cost:
        record = self._recorded(named)[0]
        if record.error.startswith(NOT_RATED):
            self._recorded(named).popleft()
            raise BudgetExhausted("tokens", needed=0, free=0, limit=0)
        return record.cost.taking(0)

    async def _rating(self, named: _Rated) -> Rating:
        record = self._recorded(named).popleft()
        if record.error == CANCELLED:
            for _ in range(PATIENCE):
                await asyncio.sleep(0)
            raise TraceError(f"the trace {self.path} holds no rating of sample {record.index}, which was cancelled")
        return Rating(record.value, record.cost, record.steps, record.error, record.parts)

    def _recorded(self, named: _Rated) -> deque[Scored]:
        records = self._scores.get(named)
        if not records:
            raise TraceError(f"the trace {self.path} holds no rating of sample {named[2]} of {named[0]}")
        return records


def _rated(question: Question, candidate: Completion, other: Completion | None = None) -> _Rated:
    against = (other.prompt.digest, other.index) if other else None
    return question.id, candidate.prompt.digest, candidate.index, against
