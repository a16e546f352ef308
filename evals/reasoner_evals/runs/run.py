"""Running an evaluation: arm by arm through one engine, from where it was left."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from reasoner import solve_each
from reasoner.budget import Budget, Cost, Prices
from reasoner.catalog import build
from reasoner.controller.allocation import Allocation
from reasoner.equivalence import Equivalence
from reasoner.errors import EngineDied, EngineError, EngineUnavailable, RecordError, TraceError
from reasoner.lines import LineWriter
from reasoner.past import Past, pasts, sound
from reasoner.protocols import Engine, Strategy, Verifier, forget
from reasoner.trace import Event, TraceWriter, read_trace
from reasoner_evals.grading import GradedQuestion
from reasoner_evals.runs.folder import ArmFolder, RunFolder
from reasoner_evals.runs.folding import Folding
from reasoner_evals.runs.journal import journaled, set_aside
from reasoner_evals.runs.labels import write_grades
from reasoner_evals.runs.records import Arm, ItemRecord, Manifest, Outcome
from reasoner_evals.runs.sharing import shared
from reasoner_evals.runs.verdicts import Verdicts
from reasoner_evals.tasks.task import TaskData

PASSES = 2
"""How often a question that failed is tried in one session; another session tries it again."""
INTERRUPTED = "interrupted"
"""How the runner names a question that was cut off from outside; it is gone on with and no result."""


class Watcher(Protocol):
    """Is told how far an evaluation is."""

    def arm_started(self, arm: Arm, total: int, done: int) -> None:
        """An arm is taken up; `done` of its questions were finished in an earlier session."""
        ...

    def item_done(self, arm: Arm, record: ItemRecord, outcome: Outcome) -> None:
        """A question is finished and graded, in this session or in an earlier one."""
        ...

    def arm_finished(self, arm: Arm) -> None:
        """All questions of an arm are done."""
        ...

    def note(self, line: str) -> None:
        """Something that a person should know."""
        ...


async def evaluate(
    folder: RunFolder,
    manifest: Manifest,
    tasks: Mapping[str, TaskData],
    engine: Engine,
    verifier: Verifier | None,
    watcher: Watcher,
) -> None:
    """Run all arms of a manifest, each from where it was left; the caller holds the lock of the folder.

    Every arm starts with empty caches, so that none is paid for by another one; arms that select from the same samples
    share one pool, and each pays for it in full. A question that fails is recorded,
    tried once more, and left as an error that the next session tries again.

    Raises:
        TraceError: something cannot be written or read; what was written until then is gone on with.
        EngineError: the engine answers no question any more.
    """
    equivalence = Equivalence()
    verdicts = Verdicts(folder.verdicts, equivalence)
    verdicts.open()
    try:
        for place, arm in enumerate(manifest.arms):
            files = folder.arm(arm.name)
            _make(files)
            sitting = _Sitting(arm, tasks[arm.task], files, verdicts, watcher)
            try:
                sitting.open(shared(folder, arm, manifest.arms[:place], verifier))
                await sitting.run(engine, verifier, manifest.prices)
            finally:
                sitting.close()
            write_grades(files, arm.task, verdicts)
    finally:
        verdicts.close()
        await equivalence.close()


def _make(files: ArmFolder) -> None:
    try:
        files.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TraceError(f"cannot make the folder {files.path}: {error.strerror}") from error


@dataclass(slots=True)
class _Sitting:
    """One arm in one session: its files, what they held at the start, and what is added."""

    arm: Arm
    data: TaskData
    files: ArmFolder
    verdicts: Verdicts
    watcher: Watcher
    past: dict[str, Past] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    _folding: Folding = field(init=False)
    _trace: TraceWriter | None = None
    _journal: LineWriter | None = None
    _written: set[tuple[str, int]] = field(default_factory=set)
    _ended: dict[str, ItemRecord] = field(default_factory=dict)
    _spent: dict[str, Cost] = field(default_factory=dict)
    _gradings: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._folding = Folding(self.arm)

    def open(self, shared: Iterator[Event]) -> None:
        """Open the files behind their last whole lines and take in what they hold; a new trace begins with `shared`."""
        self._trace = TraceWriter.onto(self.files.trace)
        if not self.files.trace.stat().st_size:
            for event in shared:
                self._trace(event)
        way_out = f"move {self.files.path} away and resume again: all questions of {self.arm.name} are then asked again"
        trace = sound(read_trace(self.files.trace, way_out=way_out))
        self._journal, self._written = self._journaled()
        self.past = pasts(self._folded(trace))
        self.finished = {question for question, past in self.past.items() if past.finished}

    def _journaled(self) -> tuple[LineWriter, set[tuple[str, int]]]:
        """The journal and what it holds: nothing where it was damaged, as it is then made again from the trace."""
        writer = LineWriter.onto(self.files.journal, what="journal")
        written = journaled(self.files)
        if written is not None:
            return writer, written
        writer.close()
        kept = set_aside(self.files)
        self.watcher.note(f"{self.files.journal} was damaged: it is made again from the trace; the old one is {kept}")
        return LineWriter.onto(self.files.journal, what="journal"), set()

    def _folded(self, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            self._fold(event)
            yield event

    def _fold(self, event: Event) -> None:
        """Journal the question that the event ended, unless that was done before its process died."""
        record = self._folding.take_in(event)
        if record is None or record.reason == INTERRUPTED:
            return
        self._ended[record.question_id] = record
        self._spent[record.question_id] = record.cost
        if self._journal and (record.question_id, record.attempt) not in self._written:
            self._journal.write(record)

    def _sink(self, event: Event) -> None:
        assert self._trace is not None
        self._trace(event)
        self._fold(event)

    async def run(self, engine: Engine, verifier: Verifier | None, prices: Mapping[str, float] | None) -> None:
        """Answer what is not finished yet, and grade all."""
        by_id = {item.question.id: item for item in self.data.items}
        done = self.finished & by_id.keys()
        self.watcher.arm_started(self.arm, len(by_id), len(done))
        for question in [*self._ended]:
            record = self._ended.pop(question)
            if question in done:
                self._grade(by_id[question], record)
        todo = [item for name, item in by_id.items() if name not in done]
        if todo:
            await forget(engine, verifier)
        for attempt in range(PASSES):
            failed = await self._pass(todo, engine, verifier, prices, last=attempt + 1 == PASSES)
            await self._graded()
            if not failed:
                break
            todo = [by_id[name] for name in failed]
            again = set(failed)
            self.past |= pasts(event for event in sound(read_trace(self.files.trace)) if event.question_id in again)
        self.watcher.arm_finished(self.arm)

    async def _pass(
        self,
        todo: list[GradedQuestion],
        engine: Engine,
        verifier: Verifier | None,
        prices: Mapping[str, float] | None,
        *,
        last: bool,
    ) -> list[str]:
        """Ask each of these once; the ids of those that failed, whose errors count only after the last pass."""
        strategy: Strategy = build("strategy", self.arm.strategy)
        by_id, failed = {item.question.id: item for item in todo}, list[str]()
        stream = solve_each(
            [item.question for item in todo],
            strategy,
            engine,
            verifier=verifier if strategy.uses_verifier else None,
            budget=Budget.parse(self.arm.total) if self.arm.total else None,
            each=Budget.parse(self.arm.budget) if self.arm.budget else None,
            allocation=Allocation(price=self.arm.price) if self.arm.total else None,
            prices=Prices(**prices) if prices else None,
            comparer=self.verdicts.equivalence,
            trace=self._sink,
            seed=self.arm.seed,
            past=self.past,
            spent=sum((cost for name, cost in self._spent.items() if name not in by_id), Cost()),
        )
        async with aclosing(stream):
            async for _, solution in stream:
                if isinstance(solution.error, TraceError) and not isinstance(solution.error, RecordError):
                    raise solution.error
                record = self._ended.pop(solution.question_id, None)
                if solution.error is not None:
                    failed.append(solution.question_id)
                if record and (solution.error is None or last):
                    self._grade(by_id[solution.question_id], record)
        dead = (EngineUnavailable, EngineDied) if last else EngineError
        if failed and len(failed) == len(todo) and isinstance(solution.error, dead):
            raise solution.error
        return failed

    def _grade(self, item: GradedQuestion, record: ItemRecord) -> None:
        task = asyncio.ensure_future(self._told(item, record))
        self._gradings.add(task)

    async def _told(self, item: GradedQuestion, record: ItemRecord) -> None:
        result = await self.verdicts.grade(self.arm.task, item, record)
        self.watcher.item_done(self.arm, record, result)

    async def _graded(self) -> None:
        """Wait until all that is finished is graded; what could not be written is raised."""
        gradings, self._gradings = self._gradings, set()
        await asyncio.gather(*gradings)

    def close(self) -> None:
        """Close the files."""
        for task in self._gradings:
            task.cancel()
        for file in (self._trace, self._journal):
            if file:
                file.close()
