"""An engine that plays a trace back: same replies, same order of completion, no model."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from reasoner.budget import Cost
from reasoner.equivalence import CompareTab
from reasoner.errors import BudgetExhausted, RequestLost, TraceError
from reasoner.models.card import ModelCard
from reasoner.past import blocks_of
from reasoner.plan import NOT_WEIGHED
from reasoner.protocols import Engine, Rendered, Resourceless, SampleRequest, Tab
from reasoner.trace import (
    Began,
    Blocked,
    Compared,
    Delivered,
    Dropped,
    Ended,
    Event,
    Extended,
    Prompted,
    Refused,
    Sampled,
    Scored,
    Weighed,
    completed,
    read_trace,
)
from reasoner.types import (
    CANCELLED,
    NOT_RATED,
    Answer,
    AnswerSpace,
    Blocks,
    Completion,
    Prompt,
    Question,
    Rating,
    TokenIds,
    Usage,
)

PATIENCE = 200
"""Turns of the event loop without a reply after which what the trace does not hold is not waited for any more."""


class _Key(NamedTuple):
    question_id: str
    prompt: str
    sample: int


_Rated = tuple[str, str, int, tuple[str, int] | None]
"""A candidate, and the other one where two were compared."""


@dataclass(slots=True)
class ReplayEngine:
    """Answers each request with what the trace at `path` holds for it.

    Results are handed over in the recorded order, and what the budget refused is refused again, so that a plan takes
    the same course whatever decided it then: ask the same question with the same strategy and seed. The budget is the
    recorded one. A request that the trace does not hold is a `TraceError`.
    """

    path: str
    name: str = field(default="replay", init=False, repr=False)
    notes: tuple[str, ...] = field(default=("replayed: no model was run",), init=False, repr=False)
    capacity: int | None = field(default=None, init=False, repr=False)
    model: ModelCard = field(default=ModelCard("replay"), init=False, repr=False)
    _records: dict[_Key, deque[Sampled | Dropped]] = field(init=False, repr=False, default_factory=dict)
    _extents: dict[tuple[str, str], int] = field(init=False, repr=False, default_factory=dict)
    _heads: dict[str, Rendered] = field(init=False, repr=False, default_factory=dict)
    _scores: dict[_Rated, deque[Scored]] = field(init=False, repr=False, default_factory=dict)
    _weighed: dict[tuple[str, str, tuple[str, ...]], deque[Weighed]] = field(
        init=False, repr=False, default_factory=dict
    )
    _blocks: defaultdict[str, dict[str, Blocks | None]] = field(
        init=False, repr=False, default_factory=lambda: defaultdict(dict)
    )
    _same: defaultdict[str, dict[frozenset[str], bool | None]] = field(
        init=False, repr=False, default_factory=lambda: defaultdict(dict)
    )
    _spelled: dict[str, TokenIds | None] = field(init=False, repr=False, default_factory=dict)
    _refused: dict[str, Refused] = field(init=False, repr=False, default_factory=dict)
    _ended: set[str] = field(init=False, repr=False, default_factory=set)
    _delivered: defaultdict[str, list[int]] = field(init=False, repr=False, default_factory=lambda: defaultdict(list))
    _replies: int = field(init=False, repr=False, default=0)
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
            case Sampled() | Dropped() | Scored() | Weighed():
                self._file(event)
            case Delivered():
                self._delivered[event.question_id].append(event.op)
            case Extended():
                self._spelled[event.text] = event.token_ids
            case Blocked():
                self._blocks[event.question_id] |= blocks_of(event)
            case Compared():
                told = dict(zip(map(frozenset, event.pairs), event.same, strict=True))
                self._same[event.question_id] |= told
            case Refused():
                self._refused.setdefault(event.question_id, event)
            case Ended():
                self._ended.add(event.question_id)

    def _file(self, event: Sampled | Dropped | Scored | Weighed) -> None:
        match event:
            case Sampled() | Dropped():
                key = _Key(event.question_id, event.prompt, event.index)
                self._records.setdefault(key, deque()).append(event)
                prompt = (event.question_id, event.prompt)
                self._extents[prompt] = max(event.index + 1, self._extents.get(prompt, 0))
            case Scored():
                named = (event.question_id, event.prompt, event.index, event.against)
                self._scores.setdefault(named, deque()).append(event)
            case Weighed():
                asked = (event.question_id, event.prompt, event.texts)
                self._weighed.setdefault(asked, deque()).append(event)

    @property
    def budget(self) -> str:
        """The limits of the recorded run."""
        return self._began[0].budget if self._began else ""

    def deliveries(self, question_id: str) -> Sequence[int]:
        """The started operations whose results the recorded plan was handed, in that order."""
        return self._delivered[question_id]

    def extent(self, question_id: str, digest: str) -> int:
        """One more than the highest index on record of the sequences drawn from a prompt, by its digest; 0 for none."""
        return self._extents.get((question_id, digest), 0)

    async def quiet(self) -> None:
        """Let everything that has a reply have it."""
        await self._idle(PATIENCE // 4)

    async def _idle(self, patience: int) -> None:
        """Wait for so many turns of the event loop in which nothing is replied."""
        turns, seen = 0, self._replies
        while turns < patience:
            await asyncio.sleep(0)
            turns, seen = (turns + 1, seen) if seen == self._replies else (0, self._replies)

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
        records = self._records.get(_Key(request.question_id, request.prompt.digest, request.index))
        if not records:
            await self._missing(request)
            raise AssertionError
        record = records.popleft()
        while records and isinstance(record, Dropped) and record.why == "cancelled":
            # An interruption cut it off, and it was drawn when the run went on.
            record = records.popleft()
        self._replies += 1
        request.meter.usage = record.usage
        if isinstance(record, Dropped):
            if record.why == "deadline":
                raise TimeoutError
            if record.why == "lost":
                raise RequestLost("the recorded request was lost here")
            await self._idle(PATIENCE)
            raise TraceError(
                f"the trace {self.path} holds only a part of sample {request.index} of question {request.question_id}, "
                "which was cancelled: replay with the same strategy, seed and stop rule"
            )
        return completed(request.prompt, record)

    async def weighed(self, question_id: str, prompt: str, texts: tuple[str, ...]) -> Weighed:
        """The record of a weighing, when its turn comes.

        Raises:
            TraceError: it was cancelled, or never asked for.
        """
        records = self._weighed.get((question_id, prompt, texts), deque())
        while len(records) > 1 and records[0].error and not records[0].error.startswith(NOT_WEIGHED):
            # A later attempt went on from there.
            records.popleft()
        if records and (record := records.popleft()).error != CANCELLED:
            self._replies += 1
            return record
        await self._idle(PATIENCE)
        raise TraceError(
            f"the trace {self.path} does not say how likely these texts of question {question_id} are: replay with the "
            "same strategy, seed and stop rule"
        )

    async def _missing(self, request: SampleRequest) -> None:
        """Raises what became of a sample that was not drawn: refused, or not asked for at all."""
        request.meter.usage = Usage()
        refused = self._refused.get(request.question_id)
        if refused and request.question_id in self._ended:
            raise BudgetExhausted(refused.unit, needed=refused.needed, free=refused.free, limit=refused.limit)
        await self._idle(PATIENCE)
        raise TraceError(
            f"the trace {self.path} holds no sample {request.index} of this prompt of question {request.question_id}: "
            "replay with the same strategy and seed"
        )

    def comparer(self) -> "ReplayComparer":
        """The recorded comparisons of answers."""
        return ReplayComparer(self.path, self._blocks, self._same)

    def verifier(self) -> "ReplayVerifier":
        """The recorded ratings as a verifier."""
        return ReplayVerifier(self.path, self._scores, self._idle)


@dataclass(frozen=True, slots=True)
class ReplayComparer:
    """Says of two answers what the trace says."""

    path: str
    _blocks: Mapping[str, Mapping[str, Blocks | None]] = field(repr=False)
    _same: Mapping[str, Mapping[frozenset[str], bool | None]] = field(repr=False)

    async def same_many(
        self, space: AnswerSpace, pairs: Sequence[tuple[Answer, Answer]], tab: CompareTab
    ) -> tuple[bool | None, ...]:
        """The recorded verdicts.

        Raises:
            TraceError: one was never recorded.
        """
        try:
            return tuple(self._same[tab.question_id][frozenset((a.key, b.key))] for a, b in pairs)
        except KeyError as error:
            raise self._missing() from error

    async def blocks(self, space: AnswerSpace, answers: Sequence[Answer], tab: CompareTab) -> tuple[Blocks | None, ...]:
        """The recorded blocks. Raises as `same_many`."""
        try:
            return tuple(self._blocks[tab.question_id][one.key] for one in answers)
        except KeyError as error:
            raise self._missing() from error

    def _missing(self) -> TraceError:
        return TraceError(
            f"the trace {self.path} does not say which answers are the same: replay with the same strategy and budget"
        )

    async def close(self) -> None:
        """Nothing to do."""


@dataclass(frozen=True, slots=True)
class ReplayVerifier(Resourceless):
    """Gives each candidate the rating that the trace holds for it."""

    path: str
    _scores: dict[_Rated, deque[Scored]] = field(repr=False)
    idle: Callable[[int], Awaitable[None]] = field(repr=False)
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
            await self.idle(PATIENCE)
            raise TraceError(f"the trace {self.path} holds no rating of sample {record.index}, which was cancelled")
        return Rating(record.value, record.cost, record.steps, record.error, record.parts)

    def _recorded(self, named: _Rated) -> deque[Scored]:
        records = self._scores.get(named)
        if not records:
            raise TraceError(f"the trace {self.path} holds no rating of sample {named[2]} of {named[0]}")
        while len(records) > 1 and records[0].error == CANCELLED:
            # An interruption cut it off, and it was given when the run went on.
            records.popleft()
        return records


def _rated(question: Question, candidate: Completion, other: Completion | None = None) -> _Rated:
    against = (other.prompt.digest, other.index) if other else None
    return question.id, candidate.prompt.digest, candidate.index, against
