"""Running an evaluation: arm by arm through one engine, resuming where it stopped."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from reasoner import Question, solve_each
from reasoner.answers.equivalence import Equivalence
from reasoner.budget import Budget, Cost, Prices
from reasoner.engine import Engine, reset_caches
from reasoner.errors import EngineDied, EngineUnavailable, RecordError, TraceError
from reasoner.execution.scheduler import Allocation
from reasoner.journal.folder import make_folder
from reasoner.journal.folder import replace as replace_file
from reasoner.journal.lines import JournalWriter
from reasoner.registry import build
from reasoner.solution import INTERRUPTED
from reasoner.specs import Spec
from reasoner.strategy import Strategy
from reasoner.trace.events import (
    AnswerExtracted,
    Began,
    Event,
    Executed,
    Prompted,
    Sampled,
    Scored,
    Thought,
    TraceWriter,
    Work,
    read_trace,
)
from reasoner.trace.history import QuestionHistory, in_order, read_histories, sound
from reasoner.types import FALLBACK, SamplingParams
from reasoner.verifier import Verifier
from reasoner_evals.runs.arms import Subset
from reasoner_evals.runs.manifest import read_manifest
from reasoner_evals.runs.records import (
    Arm,
    ArmFolder,
    ItemRecord,
    Manifest,
    Outcome,
    RecordBuilder,
    RunFolder,
    counted_records,
)
from reasoner_evals.runs.verdicts import VerdictFile, write_grades
from reasoner_evals.tasks import GradedQuestion, TaskData


class Watcher(Protocol):
    """Receives the progress of an evaluation."""

    def arm_started(self, arm: Arm, total: int, done: int) -> None:
        """An arm starts; an earlier session finished `done` of its `total` questions."""

    def samples_kept(self, arm: Arm, samples: int) -> None:
        """Earlier sessions drew `samples` for questions that they did not finish."""

    def spent(self, arm: Arm, cost: Cost) -> None:
        """This session paid for work on a question of an arm."""

    def checked(self, arm: Arm, seconds: float, replies: int) -> None:
        """Rating or grading `replies`, or running a program, took `seconds` of this session, waiting included."""

    def item_done(self, arm: Arm, record: ItemRecord, outcome: Outcome) -> None:
        """A question is finished and graded, in this session or in an earlier one."""

    def arm_finished(self, arm: Arm) -> None:
        """All questions of an arm are done."""


async def evaluate(
    folder: RunFolder,
    manifest: Manifest,
    tasks: Mapping[str, TaskData],
    engine: Engine,
    verifier: Verifier | None,
    watcher: Watcher,
) -> None:
    """Run all arms of a manifest, each from where it stopped; the caller holds the lock of the folder.

    Every arm starts with empty caches, so that no arm profits from another one. Arms that select from the same samples
    share one pool, and each pays for it in full; samples of the run `manifest.reuse` are shared likewise. A question
    that fails is recorded as an error that the next session tries again.

    Raises:
        TraceError: a file cannot be written or read; a later session resumes from what was written until then.
        EngineError: the engine does not answer any more.
    """
    equivalence, prices = (
        Equivalence(),
        Prices(**manifest.prices) if manifest.prices else None,
    )
    verdicts = VerdictFile(folder.verdicts, equivalence)
    shared = []
    if manifest.reuse:
        other = RunFolder(Path(manifest.reuse))
        shared = [(other, arm) for arm in read_manifest(other).arms]
    try:
        for arm in manifest.arms:
            files = folder.arm(arm.name)
            make_folder(files.path)
            session = _ArmSession(
                arm, tasks[arm.task], files, verdicts, watcher, engine, verifier, prices
            )
            try:
                session.open(reused(shared, arm, tasks[arm.task], verifier))
                await session.run()
            finally:
                session.close()
            write_grades(files, arm.task, verdicts.known)
            shared.insert(0, (folder, arm))
    finally:
        verdicts.close()
        await equivalence.close()


def reused(
    shared: Sequence[tuple[RunFolder, Arm]],
    arm: Arm,
    data: TaskData,
    verifier: Verifier | None,
) -> Iterator[Event]:
    """The samples of another arm that this one would draw too, and what was extracted from them; often none.

    Samples are the same if task, seed and sampling options are, and if log-probabilities were kept where the verifier
    reads them. Each arm pays for them in full, as if it had been run alone.
    """
    traces = (
        folder.arm(source.name).trace
        for folder, source in shared
        if shares_samples(source, arm, verifier)
    )
    trace = next(traces, None)
    asked = {item.question.id for item in data.items}
    for event in read_trace(trace) if trace else ():
        if event.question_id not in asked:
            continue
        match event:
            case Began():
                yield event.model_copy(
                    update={
                        "strategy": arm.strategy,
                        "resolved": "",
                        "verifier": arm.verifier,
                    }
                )
            case Prompted():
                yield event
            case Sampled() | Thought() | AnswerExtracted(error="") if (
                event.index < first_samples(arm)
            ):
                yield event


def shares_samples(source: Arm, arm: Arm, verifier: Verifier | None) -> bool:
    """Whether an arm takes its samples from `source`, where that was run before."""
    drawn = first_samples(arm)
    if (
        not drawn
        or first_samples(source) < drawn
        or (source.task, source.seed, source.budget) != (arm.task, arm.seed, arm.budget)
    ):
        return False
    theirs, ours = build("strategy", source.strategy), build("strategy", arm.strategy)
    return sampling_of(theirs) == sampling_of(ours) and _logprobs(
        theirs, verifier
    ) >= _logprobs(ours, verifier)


def first_samples(arm: Arm) -> int:
    """The samples of a question that an arm draws whatever they are; 0 if a budget or a plan decides it."""
    single = Spec.parse(arm.strategy).name == "single" and not arm.limit
    return arm.pool or int(single)


def sampling_of(strategy: Any) -> tuple[SamplingParams, str, tuple[str, ...]]:
    """How it samples, with its own preferences, log-probabilities apart; and what it adds to a prompt."""
    params: SamplingParams = strategy.params
    sampled = params.over(getattr(strategy, "sampling", params), FALLBACK)
    return (
        replace(sampled, logprobs=None),
        getattr(strategy, "instruction", ""),
        getattr(strategy, "shots", ()),
    )


def _logprobs(strategy: Any, verifier: Verifier | None) -> int:
    """How many log-probabilities are kept per token: -1 for none, 0 for the sampled token's own."""
    needs = verifier.logprobs if verifier and strategy.uses_verifier else None
    return max(
        -1 if count is None else count for count in (strategy.params.logprobs, needs)
    )


@dataclass(slots=True)
class _ArmSession:
    """One arm in one session: its files, what they held at the start, and what is added."""

    arm: Arm
    data: TaskData
    files: ArmFolder
    verdicts: VerdictFile
    watcher: Watcher
    engine: Engine
    verifier: Verifier | None
    prices: Prices | None
    history: dict[str, QuestionHistory] = field(default_factory=dict)
    _builder: RecordBuilder = field(init=False)
    _trace: TraceWriter | None = None
    _journal: JournalWriter | None = None
    _items: dict[str, GradedQuestion] = field(default_factory=dict)
    _spent: dict[str, Cost] = field(default_factory=dict)
    """What each ended question cost, where all share a budget."""
    _drawn: Counter[str] = field(default_factory=Counter)
    """The samples of each question that earlier sessions drew."""
    _gradings: set[asyncio.Task[None]] = field(default_factory=set)

    def open(self, reused: Iterator[Event]) -> None:
        """Open the files after their last whole lines and read them; a new trace starts with the `reused` events."""
        self._builder, self._trace = (
            RecordBuilder(self.arm),
            TraceWriter(self.files.trace, resume=True),
        )
        if not self.files.trace.stat().st_size:
            for event in reused:
                self._trace(event)
        advice = f"move {self.files.path} away and resume again: all questions of {self.arm.name} are then asked again"
        written = sound(read_trace(self.files.trace, advice=advice))
        trace = in_order(written, str(self.files.trace), advice=advice)
        # Every session makes the journal again from the trace, so damage to it does not last.
        made = self.files.journal.with_suffix(".new")
        self._journal = JournalWriter(made, "journal", overwrite=True)
        self.history = read_histories(self._recorded(trace))
        self._journal.close()
        replace_file(made, self.files.journal)
        self._journal = JournalWriter(self.files.journal, "journal", resume=True)

    def _recorded(self, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            self._record(event)
            self._drawn[event.question_id] += isinstance(event, Sampled)
            yield event

    def _record(self, event: Event) -> ItemRecord | None:
        """Journal the question that the event ended; its record."""
        record = self._builder.take_in(event)
        if record is None or record.reason == INTERRUPTED:
            return None
        if self.arm.total:
            self._spent[record.question_id] = record.cost
        if self._journal:
            self._journal.write(record)
        return record

    def _sink(self, event: Event) -> None:
        assert self._trace is not None
        self._trace(event)
        if isinstance(event, Work):
            # A sequence that was cut off is drawn again.
            whole = isinstance(event, Sampled)
            self.watcher.spent(
                self.arm, event.cost if whole else replace(event.cost, samples=0)
            )
        if isinstance(event, Scored | Executed):
            self.watcher.checked(self.arm, event.cost.seconds, 1)
        if record := self._record(event):
            self._grade(record)

    async def run(self) -> None:
        """Answer all unfinished questions, and grade all answers."""
        self._items = {item.question.id: item for item in self.data.items}
        done = {
            question_id
            for question_id, history in self.history.items()
            if history.finished
        } & self._items.keys()
        self.watcher.arm_started(self.arm, len(self._items), len(done))
        if kept := sum(
            self._drawn[question_id] for question_id in self._items.keys() - done
        ):
            self.watcher.samples_kept(self.arm, kept)
        for record in counted_records(self.files, done) if done else ():
            self._grade(record, earlier=True)
            # Results of an earlier session that are graded at the same time
            if len(self._gradings) >= 256:
                await self._graded()
        if todo := [
            item.question
            for question_id, item in self._items.items()
            if question_id not in done
        ]:
            await reset_caches(self.engine, self.verifier)
            await self._ask(todo)
        await self._graded()
        self.watcher.arm_finished(self.arm)

    async def _ask(self, questions: list[Question]) -> None:
        """Ask these questions. Raises TraceError, or EngineError if the engine answered none."""
        strategy: Strategy = build("strategy", self.arm.strategy)
        asked, total = {question.id for question in questions}, self.arm.total
        subset = Subset.parse(self.data.source.subset)
        stream = solve_each(
            questions,
            strategy,
            self.engine,
            verifier=self.verifier if strategy.uses_verifier else None,
            budget=subset.part_of(Budget.parse(total)) if total else None,
            each=Budget.parse(self.arm.budget) if self.arm.budget else None,
            allocation=Allocation() if total else None,
            prices=self.prices,
            comparer=self.verdicts.equivalence,
            trace=self._sink,
            seed=self.arm.seed,
            history=self.history,
            spent=sum(
                (
                    cost
                    for question_id, cost in self._spent.items()
                    if question_id not in asked
                ),
                Cost(),
            ),
        )
        unavailable = 0
        async with aclosing(stream):
            async for _, solution in stream:
                if isinstance(solution.error, TraceError) and not isinstance(
                    solution.error, RecordError
                ):
                    raise solution.error
                unavailable += isinstance(
                    solution.error, EngineUnavailable | EngineDied
                )
        if unavailable == len(questions) and solution.error:
            raise solution.error

    def _grade(self, record: ItemRecord, *, earlier: bool = False) -> None:
        async def grade() -> None:
            began = time.monotonic()
            outcome = await self.verdicts.grade(
                self.arm.task, self._items[record.question_id], record
            )
            if not earlier:
                seconds = time.monotonic() - began
                self.watcher.checked(self.arm, seconds, max(len(record.pool), 1))
            self.watcher.item_done(self.arm, record, outcome)

        grading = asyncio.ensure_future(grade())
        self._gradings.add(grading)
        grading.add_done_callback(self._forget)

    def _forget(self, grading: asyncio.Task[None]) -> None:
        """Drop a grading that succeeded; the error of another one is raised by `_graded`."""
        if not grading.cancelled() and grading.exception() is None:
            self._gradings.discard(grading)

    async def _graded(self) -> None:
        """Wait for the gradings. Raises what could not be written."""
        gradings, self._gradings = self._gradings, set()
        await asyncio.gather(*gradings)

    def close(self) -> None:
        """Close the files."""
        for task in self._gradings:
            task.cancel()
        for file in (self._trace, self._journal):
            if file:
                file.close()
