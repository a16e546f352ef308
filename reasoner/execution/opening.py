"""Opens the questions of a run in input order, no more than the engine can use."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from reasoner.answers.equivalence import Comparer, Equivalence, SlowSpace
from reasoner.budget import MIN_USEFUL_TOKENS, UNITS, Budget, Cost, Ledger
from reasoner.engine import Engine, Replicated, TextPiece
from reasoner.errors import BudgetExhausted, EngineError, UsageError, require
from reasoner.execution.admission import Admission, Floor, LedgerQueues, new_queues
from reasoner.execution.allocation import PRICE, Allocation
from reasoner.execution.comparisons import Comparisons
from reasoner.execution.executor import OperationExecutor
from reasoner.execution.launching import cancel_all
from reasoner.execution.plan_runner import PlanRunner
from reasoner.execution.scheduler import Scheduler, competing_unit
from reasoner.models.defaults import resolve
from reasoner.registry import spec_of
from reasoner.solution import Solution
from reasoner.strategy import StopRule, Strategy
from reasoner.trace.events import Sink
from reasoner.trace.history import EMPTY, QuestionHistory
from reasoner.trace.recorder import Recorder, RunFacts
from reasoner.types import Question, Usage
from reasoner.verifier import Verifier

if TYPE_CHECKING:
    from reasoner.execution.kv_limiter import KvCacheLimiter

CONCURRENCY: Final = 1024
"""Questions open at once: as many as the sequences that engines compute at once, if each question draws only one."""
KV_SHARE = 0.9
"""The part of the KV cache that may be in flight; beyond it the engine preempts and recomputes."""
MAX_FLOOR_TOKENS = 4096
"""The most tokens that are held for a first sample before it is asked for."""
Progress = asyncio.Queue["asyncio.Task[Solution] | None"]
"""Finished questions, and None where another one may be opened."""


def check_ids(questions: Iterable[Question], seen_ids: set[str] | None = None) -> None:
    """Check that no two questions have the same id; `seen_ids` has the ids of earlier ones and is extended.

    Raises:
        UsageError: two have.
    """
    seen_ids = set() if seen_ids is None else seen_ids
    for question in questions:
        if question.id in seen_ids:
            problem = "two questions have the same id, which names seeds and trace records"
            raise UsageError(f"{problem}: give each its own, as in Question.of(text, id='q1')")
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

    async def hold(self, executor: OperationExecutor) -> None:
        """Hold room for the next question until its first operation, instead of the share that was held for it."""
        self.questions -= 1
        if self._short:
            return
        try:
            rendered = await executor.render(executor.question.prompt)
        except EngineError:
            # The question meets the same error, and there it is reported.
            self._keep(self._shares)
            return

        def price(tokens: int) -> Cost:
            return executor.cost(Usage(rendered.tokens, 0, tokens))

        try:
            tokens = Ledger(self._share, prices=self.run.prices).fit(price, max_tokens=MAX_FLOOR_TOKENS)
        except BudgetExhausted:
            tokens = MIN_USEFUL_TOKENS
        self._keep(self._shares)
        while self._shares and self.run.shortfall(price(tokens)):
            self._keep(self._shares - 1)
        try:
            executor.admission.floor = Floor(self.run, price(tokens))
        except BudgetExhausted:
            self._short = True


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
    """What the questions on one engine wait for: room in a KV cache, and in the ledgers above them."""

    kv_limiters: "tuple[KvCacheLimiter, ...]"
    """One for each replica of the engine; none where it limits itself."""
    queues: LedgerQueues = field(default_factory=new_queues)

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
    _floors: _Floors | None = None
    _started: float = field(default_factory=time.monotonic)

    def share(self, allocation: Allocation | None, questions: Sequence[Question]) -> None:
        """Divide the run's budget among these questions if there are several, or an allocation."""
        if allocation is None and len(questions) < 2:
            return
        if allocation is None:
            allocation = Allocation(price=PRICE if math.isfinite(competing_unit(self.run.budget)[1]) else 0.0)
        self.scheduler = Scheduler(allocation, self.run, len(questions), lambda: self.progress.put_nowait(None))
        new = sum(question.id not in self.history or not self.history[question.id].attempts for question in questions)
        if str(self.run.budget):
            self._floors = _Floors(self.run, new)

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
        )
        if self._floors and not history.attempts:
            await self._floors.hold(executor)
        scheduled = self.scheduler.add(index, ledger) if self.scheduler else None
        return PlanRunner(self.strategy, self.verifier, self.stop, executor, self.facts, scheduled)


async def open_questions(
    questions: Iterable[Question], context: RunContext, concurrency: int
) -> AsyncGenerator[tuple[int, Solution], None]:
    """Open questions while there is room, and yield each solution with its question's index.

    If they share a budget, all are opened in the end, each after its first draw: any may get another sample.
    """
    require(concurrency, "concurrency", at_least=1)
    indices: dict[asyncio.Task[Solution], int] = {}
    warm_up: asyncio.Task[None] | None = None
    source, seen_ids = enumerate(questions), set[str]()
    over = False
    try:
        while True:
            runners: list[tuple[int, PlanRunner]] = []
            while not over and (
                not context.scheduler.full if context.scheduler else len(indices) + len(runners) < concurrency
            ):
                index, question = next(source, (0, None))
                if question is None:
                    over = True
                    break
                check_ids([question], seen_ids)
                slow = isinstance(question.space, SlowSpace) and not context.history.get(question.id, EMPTY).source
                if warm_up is None and slow and isinstance(context.comparer, Equivalence):
                    # The processes take seconds to start; the first samples run meanwhile.
                    warm_up = asyncio.ensure_future(context.comparer.warm())
                runners.append((index, await context.open(index, question)))
            for index, runner in runners:
                task = asyncio.ensure_future(runner.solve())
                task.add_done_callback(context.progress.put_nowait)
                indices[task] = index
            if not indices:
                return
            if done := await context.progress.get():
                yield indices.pop(done), done.result()
    finally:
        await cancel_all([*indices, *([warm_up] if warm_up else [])])
