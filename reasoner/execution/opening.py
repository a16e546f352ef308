"""Opens the questions of a run in input order, no more than the engine can use."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from reasoner.answers.equivalence import Comparer, Equivalence, SlowSpace
from reasoner.answers.questions import Question
from reasoner.budget import MIN_USEFUL_TOKENS, UNITS, Budget, Cost, Ledger
from reasoner.engine import Engine, Replicated, TextPiece
from reasoner.errors import BudgetExhausted, EngineError, UsageError
from reasoner.execution.admission import Admission, Floor, LedgerQueues, new_queues
from reasoner.execution.allocation import PRICE, Allocation
from reasoner.execution.comparisons import Comparisons
from reasoner.execution.executor import OperationExecutor
from reasoner.execution.ids import IdSet, check_ids
from reasoner.execution.inputs import Input, open_input
from reasoner.execution.launching import cancel_all
from reasoner.execution.pace import Pace
from reasoner.execution.plan_runner import PlanRunner
from reasoner.execution.scheduler import Scheduler, competing_unit
from reasoner.models.defaults import resolve
from reasoner.registry import spec_of
from reasoner.solution import Solution
from reasoner.strategy import StopRule, Strategy
from reasoner.trace.events import Sink
from reasoner.trace.history import EMPTY, QuestionHistory
from reasoner.trace.recorder import Recorder, RunFacts
from reasoner.types import Usage
from reasoner.verifier import Verifier

if TYPE_CHECKING:
    from reasoner.execution.kv_limiter import KvCacheLimiter

CONCURRENCY: Final = 1024
"""The most questions open at once: as many as the sequences that engines compute at once, if each draws only one."""
TOGETHER: Final = 16
"""The most questions that begin together: each turn of the event loop costs about as much as an operation."""
KV_SHARE = 0.9
"""The part of the KV cache that may be in flight; beyond it the engine preempts and recomputes."""
NO_BUDGET: Final = Budget(tokens=0)
MAX_FLOOR_TOKENS = 4096
"""The most tokens that are held for a first sample before it is asked for."""
Progress = asyncio.Queue["asyncio.Task[Solution] | None"]
"""Finished questions, and None where another one may be opened."""


@dataclass(slots=True)
class _Floors:
    """Room in the run's budget for the `questions` that are not open yet, so that none is starved.

    Of what is left, each has an equal share. It is kept until the question is one of the next `window`, and half of it
    until the question is opened: the other half is free for samples, as most are shorter than they may be. Of that
    half, a question that is opened holds what its first sample needs, at least the useful minimum. What is kept for all
    is one number. Where the budget is too small for all, the first questions have theirs. If it is not known how many
    follow, `questions` is 0: nothing is kept, and a question that is opened holds the useful minimum.
    """

    run: Ledger
    questions: int
    window: int
    _half: Budget = field(default=NO_BUDGET, init=False)
    _kept: int = field(default=0, init=False)
    """How many halves are kept."""
    _short: bool = False

    def __post_init__(self) -> None:
        if not self.questions:
            return
        bounded = [unit for unit in UNITS if getattr(self.run.budget, unit) is not None and unit != "seconds"]
        amounts: dict[str, Any] = {unit: max(0, self.run.free(unit)) for unit in bounded}
        self._half = Budget(**amounts).divided(2 * self.questions)
        limits = [(getattr(self._half, unit), amount) for unit, amount in amounts.items()]
        self._keep(min((int(limit // half) for half, limit in limits if half), default=0))

    def _keep(self, halves: int) -> None:
        self._kept = max(0, min(halves, self.questions + max(0, self.questions - self.window)))
        self.run.keep(self._half, self._kept)

    def end_of_input(self) -> None:
        """No more questions will be opened: what is kept is free."""
        self.questions = 0
        self._keep(0)

    async def hold(self, executor: OperationExecutor) -> None:
        """Hold room for the next question until its first operation, instead of the share that was held for it."""
        known, self.questions = self.questions > 0, max(0, self.questions - 1)
        if self._short:
            return
        try:
            rendered = await executor.render(executor.question.prompt)
        except EngineError:
            # The question meets the same error, and there it is reported.
            self._keep(self._kept)
            return

        def price(tokens: int) -> Cost:
            return executor.cost(Usage(rendered.tokens, 0, tokens))

        try:
            tokens = Ledger(self._half, prices=self.run.prices).fit(price, max_tokens=MAX_FLOOR_TOKENS)
        except BudgetExhausted:
            tokens = MIN_USEFUL_TOKENS
        self._keep(self._kept)
        while self._kept and self.run.shortfall(price(tokens)):
            self._keep(self._kept - 1)
        try:
            executor.admission.floor = Floor(self.run, price(tokens))
        except BudgetExhausted:
            self._short = known


class Prepared(NamedTuple):
    """A strategy with the sampling parameters as they apply to the model, what was changed for it, and the facts."""

    strategy: Strategy
    notes: tuple[str, ...]
    facts: RunFacts


def prepare(
    strategy: Strategy, engine: Engine, verifier: Verifier | None, *, budget: str, seed: int, bounds: Sequence[Budget]
) -> Prepared:
    """What a run on a started engine needs; `budget` is how the `bounds` are written in a trace.

    Raises:
        UsageError: an option does not fit the model, or a bound cannot be counted with this engine.
    """
    if any(bound.flops is not None for bound in bounds) and engine.model.flops(prompt=1, cached=0, generated=1) is None:
        raise UsageError(f"a flops budget needs the geometry of {engine.model.name}, which the engine does not know")
    noted: dict[str, None] = {}
    resolved = resolve(strategy, engine.model, lambda line: noted.update({line: None}))
    facts = RunFacts(
        strategy=spec_of(strategy),
        resolved=spec_of(resolved),
        verifier=spec_of(verifier) if verifier else "",
        engine=engine.name,
        engine_spec=spec_of(engine),
        model=engine.model,
        notes=(*engine.notes, *noted),
        budget=budget,
        seed=seed,
    )
    return Prepared(resolved, tuple(noted), facts)


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What the questions on one engine wait for: room in a KV cache and in the ledgers above them, and their turn."""

    kv_limiters: "tuple[KvCacheLimiter, ...]"
    """One for each replica of the engine; none where it limits itself."""
    queues: LedgerQueues = field(default_factory=new_queues)
    pace: Pace = field(default_factory=Pace)

    @classmethod
    def of(cls, engine: Engine) -> Self:
        """The limits of a started engine."""
        if not engine.capacity:
            return cls(())
        # NumPy takes a tenth of a second to import.
        from reasoner.execution.kv_limiter import KvCacheLimiter

        replicas = engine.replicas if isinstance(engine, Replicated) else 1
        return cls(tuple(KvCacheLimiter(int(engine.capacity * KV_SHARE)) for _ in range(replicas)))

    def kv_limiter(self, engine: Engine, question: Question) -> "KvCacheLimiter | None":
        """The limiter of the replica that serves this question."""
        if len(self.kv_limiters) > 1 and isinstance(engine, Replicated):
            return self.kv_limiters[engine.replica_of(question.id)]
        return self.kv_limiters[0] if self.kv_limiters else None

    @property
    def crowded(self) -> bool:
        """Whether enough sequences wait before every KV cache to keep it full for a while."""
        return bool(self.kv_limiters) and all(limiter.crowded for limiter in self.kv_limiters)

    @property
    def kv_use(self) -> float | None:
        """The share of the KV cache that what is in flight is expected to need; None where the engine limits itself."""
        capacity = sum(limiter.capacity for limiter in self.kv_limiters)
        return sum(limiter.expected for limiter in self.kv_limiters) / capacity if capacity else None


@dataclass(slots=True)
class RunContext:
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
    history: Mapping[str, QuestionHistory]
    notes: Sequence[str] = ()
    """What holds for all questions and is not as the user may expect."""
    progress: Progress = field(default_factory=asyncio.Queue)
    scheduler: Scheduler | None = None
    limits: EngineLimits = field(kw_only=True)
    on_text: Callable[[TextPiece], None] | None = None
    window: int = CONCURRENCY
    """The most questions that are open at once."""
    _floors: _Floors | None = None
    _awake: bool = False
    _started: float = field(default_factory=time.monotonic)

    def share(self, allocation: Allocation | None, length: int | None) -> None:
        """Divide the run's budget among `length` questions, None if that is unknown; at most the `window` are open."""
        if allocation is None:
            allocation = Allocation(price=PRICE if math.isfinite(competing_unit(self.run.budget)[1]) else 0.0)
        self.scheduler = Scheduler(allocation, self.run, length or 0, self.wake, window=self.window)
        new = max(0, (length or 0) - sum(history.attempts > 0 for history in self.history.values()))
        if str(self.run.budget):
            self._floors = _Floors(self.run, new, self.window)

    def wake(self) -> None:
        """Have `open_questions` look whether another question may be opened."""
        if not self._awake:
            self._awake = True
            self.progress.put_nowait(None)

    async def ended(self) -> "asyncio.Task[Solution] | None":
        """The next question that ended; None after `wake`."""
        done = await self.progress.get()
        if done is None:
            self._awake = False
        return done

    def may_open(self, opened: int, new: int) -> bool:
        """Whether another question may be opened beside the `opened` ones and the `new` ones, which do not run yet."""
        if self.scheduler:
            return not self.scheduler.full
        return opened + new < self.window and not (opened and self.limits.crowded)

    def end_of_input(self) -> None:
        """There are no more questions."""
        if self._floors:
            self._floors.end_of_input()
        if self.scheduler:
            self.scheduler.end_of_input()

    async def open(self, index: int, question: Question) -> PlanRunner:
        """The question at `index`, ready to run; questions are opened in the order of their indices."""
        history = self.history.get(question.id, EMPTY)
        ledger = self.run.child(self.each, elapsed=history.seconds, spent=history.spent)
        recorder = Recorder(question, self.trace, self._started, history)
        admission = Admission(ledger, self.limits.queues)
        comparisons = Comparisons(question, self.comparer, recorder, history)
        executor = OperationExecutor(
            question,
            self.engine,
            admission,
            self.limits.kv_limiter(self.engine, question),
            recorder,
            comparisons,
            self.seed,
            index,
            history,
            list(self.notes),
            on_text=self.on_text,
            pace=self.limits.pace,
        )
        if self._floors and not history.attempts:
            await self._floors.hold(executor)
        scheduled = self.scheduler.add(index, ledger) if self.scheduler else None
        return PlanRunner(self.strategy, self.verifier, self.stop, executor, self.facts, scheduled)


@dataclass(slots=True)
class _Opener:
    """Opens the questions of an input in its order."""

    source: Input[Question]
    context: RunContext
    count: int = 0
    """How many were opened."""
    warm_up: asyncio.Task[None] | None = None
    _seen_ids: IdSet = field(default_factory=IdSet)

    async def open(self, opened: int, most: int) -> list[tuple[int, PlanRunner]]:
        """At most so many questions for which there is room beside those that are `opened`, with their indices."""
        runners: list[tuple[int, PlanRunner]] = []
        while len(runners) < most and not self.source.over and self.context.may_open(opened, len(runners)):
            question = self.source.take()
            if question is None:
                if self.source.over:
                    self.context.end_of_input()
                break
            check_ids([question], self._seen_ids)
            self._warm(question)
            runners.append((self.count, await self.context.open(self.count, question)))
            self.count += 1
        return runners

    def _warm(self, question: Question) -> None:
        """Start the processes that compare slow answers: that takes seconds, and the first samples run meanwhile."""
        context = self.context
        slow = isinstance(question.space, SlowSpace) and not context.history.get(question.id, EMPTY).source
        if self.warm_up is None and slow and isinstance(context.comparer, Equivalence):
            self.warm_up = asyncio.ensure_future(context.comparer.warm())


async def open_questions(
    questions: Iterable[Question] | AsyncIterable[Question], context: RunContext
) -> AsyncGenerator[tuple[int, Solution], None]:
    """Open questions while there is room, and yield each solution with its question's index.

    They begin a few at a time, so that the first ones end first also where the engine answers at once; one by one with
    a KV cache, since each shows only then how much of it is needed. An error of the input is raised when the questions
    that came before it have ended.
    """
    indices: dict[asyncio.Task[Solution], int] = {}
    source = open_input(questions, context.wake)
    opener = _Opener(source, context)
    most, resting = 1 if context.limits.kv_limiters else TOGETHER, False
    if context.scheduler:
        # It opens no more than may draw.
        most = context.window

    def turned() -> None:
        nonlocal resting
        resting = False
        context.wake()

    for limiter in context.limits.kv_limiters:
        limiter.on_admitted = context.wake
    try:
        while True:
            source.allow(opener.count - len(indices) + context.window)
            # What is open has its requests first: else the last question would begin before the first one ends.
            rests = resting or (context.scheduler is None and context.limits.pace.busy)
            runners = [] if rests else await opener.open(len(indices), most)
            for index, runner in runners:
                task = asyncio.ensure_future(runner.solve())
                task.add_done_callback(context.progress.put_nowait)
                indices[task] = index
            if runners or (rests and not resting):
                resting = context.scheduler is None
                asyncio.get_running_loop().call_soon(turned)
            if not indices and source.over:
                break
            if done := await context.ended():
                yield indices.pop(done), done.result()
    finally:
        source.close()
        await cancel_all([*indices, *([opener.warm_up] if opener.warm_up else [])])
    if source.failure:
        raise source.failure
