"""Opens the questions of a run in input order, no more than the engine can use."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from reasoner.admission import Admission, Floor, KvGate, Lines, new_lines
from reasoner.budget import MIN_USEFUL_TOKENS, UNITS, Budget, Cost, Ledger
from reasoner.comparisons import Comparisons
from reasoner.controller.allocation import Allocation
from reasoner.drive import Drive
from reasoner.equivalence import Equivalence, SlowSpace
from reasoner.errors import BudgetExhausted, EngineError, UsageError, require
from reasoner.launching import cancel_all
from reasoner.past import NOTHING, Past
from reasoner.protocols import Comparer, Engine, StopRule, Strategy, Verifier
from reasoner.recorder import Recorder, RunFacts
from reasoner.solution import Solution
from reasoner.trace import Sink
from reasoner.turns import Turns
from reasoner.types import Question, Usage
from reasoner.work import Worker

CONCURRENCY: Final = 1024
"""Questions open at once: as many as the sequences that engines compute at once, if each question draws only one."""
KV_SHARE = 0.9
"""The part of the KV cache that may be in flight; beyond it the engine preempts and recomputes."""
LONGEST_FLOOR = 4096
"""The most tokens that are held for a first sample before it is asked for."""
News = asyncio.Queue["asyncio.Task[Solution] | None"]
"""Finished questions, and None where another one may be opened."""


def check_ids(questions: Iterable[Question], seen_ids: set[str] | None = None) -> None:
    """Check that no two questions have the same id; `seen_ids` has the ids of earlier ones and is extended.

    Raises:
        UsageError: two have.
    """
    seen_ids = set() if seen_ids is None else seen_ids
    for question in questions:
        if question.id in seen_ids:
            raise UsageError("two questions have the same id, which names seeds and trace records: give each its own")
        seen_ids.add(question.id)


@dataclass(slots=True)
class _Floors:
    """Room in the run's budget for the first sample of each question that is not open yet, so that none is starved.

    It is half an equal share per question, or the useful minimum if that is more. The other half lets first samples
    be as long as they may, most of which need less. The shares of questions that are not open are held as one number.
    Where the budget is too small for all, the first questions have theirs.
    """

    run: Ledger
    questions: int
    _share: Budget = field(init=False)
    _shares: int = field(init=False)
    _short: bool = False

    def __post_init__(self) -> None:
        self._share = self.run.budget.divided(2 * max(self.questions, 1))
        limits = [(getattr(self._share, unit), getattr(self.run.budget, unit)) for unit in UNITS]
        self._keep(min((int(limit // share) for share, limit in limits if share), default=0))

    def _keep(self, shares: int) -> None:
        self._shares = max(0, min(shares, self.questions))
        self.run.keep(self._share, self._shares)

    async def hold(self, worker: Worker) -> None:
        """Hold room for the next question until its first operation, instead of the share that was held for it."""
        self.questions -= 1
        if self._short:
            return
        try:
            rendered = await worker.render(worker.question.prompt)
        except EngineError:
            # The question meets the same error, and there it is reported.
            self._keep(self._shares)
            return

        def price(tokens: int) -> Cost:
            return worker.cost(Usage(rendered.tokens, 0, tokens))

        try:
            tokens = Ledger(self._share, prices=self.run.prices).fit(price, most=LONGEST_FLOOR)
        except BudgetExhausted:
            tokens = MIN_USEFUL_TOKENS
        self._keep(self._shares)
        while self._shares and self.run.shortfall(price(tokens)):
            self._keep(self._shares - 1)
        try:
            worker.admission.floor = Floor(self.run, price(tokens))
        except BudgetExhausted:
            self._short = True


@dataclass(slots=True)
class Desk:
    """What the questions of one run share; opens a question."""

    strategy: Strategy
    verifier: Verifier | None
    stop: StopRule | None
    engine: Engine
    comparer: Comparer
    trace: Sink | None
    seed: int
    facts: RunFacts
    each: Budget | None
    run: Ledger
    past: Mapping[str, Past]
    news: News = field(default_factory=asyncio.Queue)
    turns: Turns | None = None
    _floors: _Floors | None = None
    _gate: KvGate | None = field(init=False)
    _lines: Lines = field(default_factory=new_lines)
    _started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        capacity = self.engine.capacity
        self._gate = KvGate(int(capacity * KV_SHARE)) if capacity else None

    def share(self, allocation: Allocation | None, questions: Sequence[Question]) -> None:
        """Divide the run's budget among these questions if there are several, or an allocation."""
        if allocation is None and len(questions) < 2:
            return
        self.turns = Turns(allocation or Allocation(), self.run, len(questions), lambda: self.news.put_nowait(None))
        new = sum(question.id not in self.past or not self.past[question.id].attempts for question in questions)
        if str(self.run.budget):
            self._floors = _Floors(self.run, new)

    async def open(self, index: int, question: Question) -> Drive:
        """The question at `index`, ready to run; questions are opened in the order of their indices."""
        past = self.past.get(question.id, NOTHING)
        ledger = self.run.child(self.each, elapsed=past.seconds, spent=past.spent)
        recorder = Recorder(question, self.trace, self._started, past)
        admission = Admission(ledger, self._lines)
        comparisons = Comparisons(question, self.comparer, recorder, past)
        worker = Worker(question, self.engine, admission, self._gate, recorder, comparisons, self.seed, index, past)
        if self._floors and not past.attempts:
            await self._floors.hold(worker)
        turn = self.turns.turn(index, ledger) if self.turns else None
        return Drive(self.strategy, self.verifier, self.stop, worker, self.facts, turn)


async def opened(
    questions: Iterable[Question], desk: Desk, concurrency: int
) -> AsyncGenerator[tuple[int, Solution], None]:
    """Open questions while there is room, and yield each solution with its question's index.

    If they share a budget, all are opened in the end, each after its first draw: any may get another sample.
    """
    require(concurrency, "concurrency", at_least=1)
    indices: dict[asyncio.Task[Solution], int] = {}
    warming: asyncio.Task[None] | None = None
    source = _numbered(questions)
    over = False
    try:
        while True:
            drives: list[tuple[int, Drive]] = []
            while not over and (not desk.turns.ahead if desk.turns else len(indices) + len(drives) < concurrency):
                index, question = next(source, (0, None))
                if question is None:
                    over = True
                    break
                slow = isinstance(question.space, SlowSpace) and not desk.past.get(question.id, NOTHING).source
                if warming is None and slow and isinstance(desk.comparer, Equivalence):
                    # The processes take seconds to start; the first samples run meanwhile.
                    warming = asyncio.ensure_future(desk.comparer.warm())
                drives.append((index, await desk.open(index, question)))
            for index, drive in drives:
                task = asyncio.ensure_future(drive.solve())
                task.add_done_callback(desk.news.put_nowait)
                indices[task] = index
            if not indices:
                return
            if done := await desk.news.get():
                yield indices.pop(done), done.result()
    finally:
        await cancel_all([*indices, *([warming] if warming else [])])


def _numbered(questions: Iterable[Question]) -> Iterator[tuple[int, Question]]:
    seen_ids: set[str] = set()
    for index, question in enumerate(questions):
        check_ids([question], seen_ids)
        yield index, question
