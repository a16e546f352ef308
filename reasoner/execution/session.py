"""One started engine for many questions: what they share, how they are opened, and a session of single calls."""

import asyncio
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import Any, Final, NamedTuple, Self

from reasoner.answers.equivalence import Equivalence
from reasoner.answers.questions import Question
from reasoner.budget import Budget, Ledger, Prices
from reasoner.engine import Engine, TextPiece, model_of
from reasoner.errors import UsageError
from reasoner.execution.admission import Admission
from reasoner.execution.executor import OperationExecutor
from reasoner.execution.gate import EngineLimits
from reasoner.execution.inputs import Blocks, same_id
from reasoner.execution.launching import cancel_all
from reasoner.execution.order import RunningOperations
from reasoner.execution.plan_runner import PlanRunner
from reasoner.execution.scheduler import Allocation, Scheduler
from reasoner.models.defaults import limits_of, resolve
from reasoner.models.info import ModelInfo
from reasoner.registry import spec_of
from reasoner.solution import Solution
from reasoner.strategy import StopRule, Strategy
from reasoner.trace.events import RunFacts, Sink
from reasoner.trace.history import EMPTY, QuestionHistory
from reasoner.trace.recorder import Recorder
from reasoner.verifier import Verifier, claim_memory

CONCURRENCY: Final = 1024
"""The most questions open at once: as many as the sequences that engines compute at once, if each draws only one."""


class ResolvedStrategy(NamedTuple):
    """A strategy with the sampling parameters that apply to a model, notes on them, and the specs of both."""

    strategy: Strategy
    notes: tuple[str, ...]
    spec: str
    resolved: str
    limits: frozenset[int]
    """The most tokens of its sequences."""


def prepared(strategy: Any, model: ModelInfo) -> ResolvedStrategy:
    """A strategy for a model; done once for each that is a value, which cannot change.

    Raises:
        UsageError: an option does not fit the model.
    """
    value = getattr(type(strategy), "__dataclass_params__", None)
    if value is not None and value.frozen:
        with suppress(TypeError):  # what it holds may have no hash
            return _prepared_once(strategy, model)
    return _prepare(strategy, model)


def _prepare(strategy: Any, model: ModelInfo) -> ResolvedStrategy:
    noted: dict[str, None] = {}
    fitted = resolve(strategy, model, lambda line: noted.update({line: None}))
    return ResolvedStrategy(
        fitted,
        tuple(noted),
        spec_of(strategy),
        spec_of(fitted),
        frozenset(limits_of(fitted)),
    )


_prepared_once = lru_cache(maxsize=256)(_prepare)


def questions_that_fit(capacity: int, prompt: int, max_tokens: int) -> int:
    """How many questions to open on a KV cache of this many tokens, so that searches find their prompts in it.

    A prompt counts twice, as branches grow from it. Of its sequences an eighth of one counts: most end far below
    `max_tokens`, and the engine runs those of earlier questions first where the rest does not fit.
    """
    return 1 + capacity // (2 * prompt + max_tokens // 8 + 1)


@dataclass(slots=True, kw_only=True)
class RunContext:
    """What the questions of one run on a started engine share; opens a question.

    `budget` bounds each question and `ledger` all of them; `stated` is how a trace words both. At most `window`
    questions are open at once. `on_text` receives the first sequence of a question, as in `SampleRequest`.

    Raises:
        UsageError: an option does not fit the model, or a budget cannot be counted with this engine.
    """

    strategy: Strategy
    """Its sampling parameters are those that apply to the model, once this is made."""
    engine: Engine
    verifier: Verifier | None
    stop: StopRule | None
    comparer: Equivalence
    trace: Sink | None
    seed: int
    budget: Budget | None
    ledger: Ledger
    stated: str
    limits: EngineLimits
    history: Mapping[str, QuestionHistory]
    window: int = CONCURRENCY
    on_text: Callable[[TextPiece], None] | None = None
    engine_spec: str = ""
    """The engine's, where it is known."""
    fair: bool = False
    """Whether small questions go before large ones that came earlier."""
    notes: tuple[str, ...] = field(default=(), init=False)
    """What holds for all questions and is not as the user may expect."""
    facts: RunFacts = field(init=False)
    ready: ResolvedStrategy = field(init=False)
    scheduler: Scheduler | None = field(default=None, init=False)
    _progress: "asyncio.Queue[asyncio.Task[Solution] | None]" = field(
        default_factory=asyncio.Queue, init=False
    )
    """Questions that ended, and None where another one may be opened."""
    _awake: bool = field(default=False, init=False)
    _warming: "list[asyncio.Task[None]]" = field(default_factory=list, init=False)
    _started: float = field(default_factory=time.monotonic, init=False)

    def __post_init__(self) -> None:
        model = model_of(self.engine)
        self.ready = ready = prepared(self.strategy, model)
        self.strategy, self.notes = ready.strategy, ready.notes
        self.facts = RunFacts(
            strategy=ready.spec,
            resolved=ready.resolved,
            verifier=spec_of(self.verifier) if self.verifier else "",
            engine=self.engine.name,
            engine_spec=self.engine_spec or spec_of(self.engine),
            model=model,
            notes=(*self.engine.notes, *ready.notes),
            budget=self.stated,
            seed=self.seed,
        )

    def share(self, allocation: Allocation | None, length: int | None) -> None:
        """Divide the run's budget among `length` questions, None if that is unknown."""
        questions, recorded = (
            length or 0,
            sum(history.attempts > 0 for history in self.history.values()),
        )
        self.scheduler = Scheduler(
            allocation or Allocation(),
            self.ledger,
            questions,
            self.wake,
            window=self.window,
            new=max(0, questions - recorded),
        )

    def wake(self) -> None:
        """Have `solutions` look whether another question may be opened."""
        if not self._awake:
            self._awake = True
            self._progress.put_nowait(None)

    def _wake_soon(self) -> None:
        """Call `wake` in the next turn of the event loop."""
        asyncio.get_running_loop().call_soon(self.wake)

    def _may_open(self, opened: int) -> bool:
        """Whether another question may be opened now, beside those that are `opened`; if not yet, `wake` is called."""
        if self.scheduler:
            return not self.scheduler.full
        if opened >= self.window:
            return False
        may = self.limits.turns.take()
        if not may:
            self._wake_soon()
        return may

    def open(self, index: int, question: Question) -> PlanRunner:
        """The question at `index`, ready to run; questions are opened in the order of their indices."""
        history = self.history.get(question.id, EMPTY)
        ledger = self.ledger.child(
            self.budget, elapsed=history.seconds, spent=history.spent
        )
        executor = OperationExecutor(
            question,
            self.engine,
            Admission(
                ledger,
                self.scheduler.shares
                if self.scheduler and not history.attempts
                else None,
            ),
            self.limits,
            RunningOperations(
                history, self.scheduler.add(index, ledger) if self.scheduler else None
            ),
            Recorder(question, self.trace, self._started, history),
            self.seed,
            index,
            history,
            list(self.notes),
            on_text=self.on_text,
            fair=self.fair,
        )
        return PlanRunner(
            self.strategy,
            self.verifier,
            self.stop,
            self.comparer,
            executor,
            self.facts,
            self.ready.limits,
        )

    async def solutions(
        self, questions: Iterable[Question] | AsyncIterable[Question]
    ) -> AsyncGenerator[tuple[int, Solution], None]:
        """Open questions while there is room, and yield each solution with its question's index.

        A few begin in each turn of the event loop, after the requests of those that are open, so that the first ones
        end first also where the engine answers at once. An error of the input is raised when the questions that came
        before it have ended.
        """
        running: dict[asyncio.Task[Solution], int] = {}
        open_ids, source = set[str](), Blocks(questions, self.wake)
        count = 0
        try:
            while True:
                while not source.over and self._may_open(len(running)):
                    question = source.take()
                    if question is None:
                        if source.over and self.scheduler:
                            self.scheduler.end_of_input()
                        break
                    if question.id in open_ids:
                        raise same_id()
                    if not count:
                        await self._narrow(question)
                    open_ids.add(question.id)
                    self._warm(question)
                    task = asyncio.ensure_future(self.open(count, question).solve())
                    task.add_done_callback(self._progress.put_nowait)
                    running[task] = count
                    count += 1
                if not running and source.over:
                    break
                done = await self._progress.get()
                if done is None:
                    self._awake = False
                else:
                    index, solution = running.pop(done), done.result()
                    open_ids.discard(solution.question_id)
                    yield index, solution
        finally:
            await source.close()
            await cancel_all([*running, *self._warming])
        if source.failure:
            raise source.failure

    async def _narrow(self, first: Question) -> None:
        """Open no more questions than keep their prompts in the KV cache, if all are as long as the `first`."""
        if not self.engine.capacity:
            return
        with suppress(Exception):  # it is an error of that question alone
            rendered = await self.engine.render(first.prompt)
            fit = questions_that_fit(
                self.engine.capacity, rendered.tokens, max(self.ready.limits, default=0)
            )
            self.window = min(self.window, fit)

    def _warm(self, question: Question) -> None:
        """Start the processes that compare slow answers: that takes seconds, and the first samples run meanwhile."""
        slow = (
            hasattr(question.space, "find_blocks")
            and not self.history.get(question.id, EMPTY).source
        )
        if slow and not self._warming:
            self._warming.append(asyncio.ensure_future(self.comparer.pool.warm()))


class Session:
    """Answers questions as they come, with one engine, one KV cache and one set of processes that compare answers.

        async with Session(build("engine", "vllm")) as session:
            print(await session.solve(Question.of("What is 3 + 4?"), build("strategy", "self_consistency")))

    The `verifiers` start with the session, since one with a model of its own claims its memory before the policy does,
    and are closed with it; the engine stays open. `ledger` bounds all questions together. `comparer` compares slow
    answers, also for a run beside the session that is to start no processes of its own.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        verifiers: Sequence[Verifier] = (),
        ledger: Ledger | None = None,
        prices: Prices | None = None,
    ) -> None:
        self.engine = engine
        self.ledger = ledger or Ledger(prices=prices)
        self.comparer = Equivalence()
        self._verifiers = verifiers
        self._stack = AsyncExitStack()
        self._numbers = count()
        self._limits: EngineLimits | None = None
        self._engine_spec = ""

    async def __aenter__(self) -> Self:
        """Start the engine and the verifiers.

        Raises:
            EngineUnavailable: one of them cannot be started.
        """
        try:
            self._stack.push_async_callback(self.comparer.close)
            await claim_memory(self.engine, *self._verifiers)
            await self.engine.start()
            for verifier in self._verifiers:
                self._stack.push_async_callback(verifier.close)
                await verifier.start(self.engine)
            self._limits = EngineLimits()
            self._engine_spec = spec_of(self.engine)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_failure: object) -> None:
        """Close what the session started."""
        self._limits = None
        await self._stack.aclose()

    async def solve(
        self,
        question: Question,
        strategy: Strategy,
        *,
        verifier: Verifier | None = None,
        budget: Budget | None = None,
        stop: StopRule | None = None,
        trace: Sink | None = None,
        seed: int = 0,
        ledger: Ledger | None = None,
        on_text: Callable[[TextPiece], None] | None = None,
    ) -> Solution:
        """The solution of one question; many may run at once. Cancelling it aborts its sequences in the engine.

        `ledger`, within which its cost is booked, replaces the session's. Small questions go before large ones.
        `on_text` receives the first sequence piece by piece, where the engine can tell them; see `SampleRequest`.

        Raises:
            UsageError: the session is not open, the strategy needs a verifier and none is given, an option does not
                fit the model, or the budget cannot be counted.
        """
        if self._limits is None:
            raise UsageError(
                "the session is not open: use it as in `async with Session(engine) as session`"
            )
        if verifier is None and strategy.uses_verifier:
            raise UsageError(f"{spec_of(strategy)} needs a verifier: give one")
        context = RunContext(
            strategy=strategy,
            engine=self.engine,
            verifier=verifier,
            stop=stop,
            comparer=self.comparer,
            trace=trace,
            seed=seed,
            budget=budget,
            ledger=ledger or self.ledger,
            stated=f"each {budget}" if budget else "",
            limits=self._limits,
            history={},
            on_text=on_text,
            engine_spec=self._engine_spec,
            fair=True,
        )
        return await context.open(next(self._numbers), question).solve()
