"""Which questions of a run are open: no more than the engine can use, in the order of their input."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from reasoner.admission import Admission, KvGate, Lines, new_lines
from reasoner.budget import Budget, Ledger
from reasoner.comparisons import Comparisons
from reasoner.controller.allocation import Allocation
from reasoner.drive import Drive
from reasoner.equivalence import Equivalence, SlowSpace
from reasoner.errors import UsageError, require
from reasoner.floors import Floors
from reasoner.launching import cancel_all
from reasoner.past import NOTHING, Past
from reasoner.protocols import Comparer, Engine, StopRule, Strategy, Verifier
from reasoner.recorder import Recorder, RunFacts
from reasoner.solution import Solution
from reasoner.trace import Sink
from reasoner.turns import Turns
from reasoner.types import Question
from reasoner.work import Worker

CONCURRENCY: Final = 1024
"""Questions that are open at once: as many sequences as engines compute at once, where each question draws but one."""
KV_SHARE = 0.9
"""The part of the KV cache that may be in flight; beyond it the engine preempts and computes again."""
News = asyncio.Queue["asyncio.Task[Solution] | None"]
"""The questions that ended, and None where another one may be opened."""


def check_ids(questions: Iterable[Question], known: set[str] | None = None) -> None:
    """Refuse an id that two questions have; `known` are those of earlier ones and are added to.

    Raises:
        UsageError: there is one.
    """
    known = set() if known is None else known
    for question in questions:
        if question.id in known:
            raise UsageError("two questions have the same id, which names seeds and trace records: give each its own")
        known.add(question.id)


@dataclass(slots=True)
class Desk:
    """All that the questions of one run have in common, and what opens one."""

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
    _floors: Floors | None = None
    _gate: KvGate | None = field(init=False)
    _lines: Lines = field(default_factory=new_lines)
    _started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        capacity = self.engine.capacity
        self._gate = KvGate(int(capacity * KV_SHARE)) if capacity else None

    def share(self, allocation: Allocation | None, questions: Sequence[Question]) -> None:
        """Divide the run's budget among these questions, where there is anything to divide or a price to keep to."""
        if allocation is None and len(questions) < 2:
            return
        self.turns = Turns(allocation or Allocation(), self.run, len(questions), lambda: self.news.put_nowait(None))
        new = sum(question.id not in self.past or not self.past[question.id].attempts for question in questions)
        if str(self.run.budget):
            self._floors = Floors(self.run, new)

    async def open(self, place: int, question: Question) -> Drive:
        """The question at a place, ready to be driven; questions are opened in the order of their places."""
        past = self.past.get(question.id, NOTHING)
        ledger = self.run.child(self.each, elapsed=past.seconds, spent=past.spent)
        recorder = Recorder(question, self.trace, self._started, past)
        admission = Admission(ledger, self._lines)
        comparisons = Comparisons(question, self.comparer, recorder, past)
        worker = Worker(question, self.engine, admission, self._gate, recorder, comparisons, self.seed, place, past)
        if self._floors and not past.attempts:
            await self._floors.hold(worker)
        turn = self.turns.turn(place, ledger) if self.turns else None
        return Drive(self.strategy, self.verifier, self.stop, worker, self.facts, turn)


async def opened(
    questions: Iterable[Question], desk: Desk, concurrency: int
) -> AsyncGenerator[tuple[int, Solution], None]:
    """Open questions while there is room, and yield each solution with its question's place.

    Where they share a budget all are opened in the end, each after its turn to draw first: any may be worth another
    sample.
    """
    require(concurrency, "concurrency", at_least=1)
    places: dict[asyncio.Task[Solution], int] = {}
    warming: asyncio.Task[None] | None = None
    source = _numbered(questions)
    over = False
    try:
        while True:
            drives: list[tuple[int, Drive]] = []
            while not over and (not desk.turns.ahead if desk.turns else len(places) + len(drives) < concurrency):
                place, question = next(source, (0, None))
                if question is None:
                    over = True
                    break
                if warming is None and isinstance(question.space, SlowSpace) and isinstance(desk.comparer, Equivalence):
                    # Starting the processes takes seconds, which the first samples take too.
                    warming = asyncio.ensure_future(desk.comparer.warm())
                drives.append((place, await desk.open(place, question)))
            for place, drive in drives:
                task = asyncio.ensure_future(drive.solve())
                task.add_done_callback(desk.news.put_nowait)
                places[task] = place
            if not places:
                return
            if done := await desk.news.get():
                yield places.pop(done), done.result()
    finally:
        await cancel_all([*places, *([warming] if warming else [])])


def _numbered(questions: Iterable[Question]) -> Iterator[tuple[int, Question]]:
    known: set[str] = set()
    for place, question in enumerate(questions):
        check_ids([question], known)
        yield place, question
