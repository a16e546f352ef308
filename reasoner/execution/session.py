"""One started engine for many callers whose questions come one by one: what a server holds."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from itertools import count
from types import TracebackType
from typing import Final, Self

from reasoner.answers.equivalence import Comparer, Equivalence
from reasoner.answers.questions import Question
from reasoner.budget import Budget, Ledger, Prices
from reasoner.engine import Engine, TextPiece
from reasoner.errors import UsageError
from reasoner.execution.admission import EngineLimits
from reasoner.execution.opening import RunContext
from reasoner.registry import build, spec_of
from reasoner.solution import Solution
from reasoner.strategy import StopRule, Strategy
from reasoner.trace.events import Sink
from reasoner.trace.history import EMPTY, QuestionHistory
from reasoner.verifier import Verifier, claim_memory

NOT_OPEN: Final = "the session is not open: use it as in `async with Session(engine) as session`"


class Session:
    """Answers questions as they come, with one engine, one KV cache and one set of processes that compare answers.

        async with Session("vllm") as session:
            print(await session.solve(Question.of("What is 3 + 4?"), build("strategy", "self_consistency")))

    An engine that is given as text is closed at the end, as are the `verifiers`; an engine that is passed in stays
    open. `verifiers` start with the session, since one with a model of its own claims its memory before the policy
    does. `ledger` bounds all questions together.
    """

    def __init__(
        self,
        engine: Engine | str,
        *,
        verifiers: Sequence[Verifier] = (),
        ledger: Ledger | None = None,
        prices: Prices | None = None,
    ) -> None:
        self.engine: Engine = build("engine", engine) if isinstance(engine, str) else engine
        self.ledger = ledger or Ledger(prices=prices)
        self._verifiers = verifiers
        self._owned = isinstance(engine, str)
        self._stack = AsyncExitStack()
        self._numbers = count()
        self._comparer: Comparer | None = None
        self._limits: EngineLimits | None = None

    async def __aenter__(self) -> Self:
        """Start the engine and the verifiers.

        Raises:
            EngineUnavailable: one of them cannot be started.
        """
        try:
            if self._owned:
                self._stack.push_async_callback(self.engine.close)
            await claim_memory(self.engine, *self._verifiers)
            await self.engine.start()
            for verifier in self._verifiers:
                self._stack.push_async_callback(verifier.close)
                await verifier.start(self.engine)
            comparer = self._comparer = Equivalence()
            self._stack.push_async_callback(comparer.close)
            self._limits = EngineLimits.of(self.engine)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close what the session started."""
        self._limits = None
        await self._stack.aclose()

    @property
    def comparer(self) -> Comparer:
        """What compares slow answers, for a run beside the session that is to start no processes of its own.

        Raises:
            UsageError: the session is not open.
        """
        if self._comparer is None:
            raise UsageError(NOT_OPEN)
        return self._comparer

    @property
    def kv_use(self) -> float | None:
        """The share of the KV cache that what is in flight is expected to need; None where the engine limits itself."""
        return self._limits.kv_use if self._limits else None

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
        history: QuestionHistory = EMPTY,
    ) -> Solution:
        """The solution of one question; many may run at once. Cancelling it aborts its sequences in the engine.

        `ledger`, within which its cost is booked, replaces that of the session. Earlier questions go first. `on_text`
        receives the first sequence piece by piece, where the engine can tell them; see `SampleRequest`. What is in the
        `history` of an interrupted attempt is not generated again; the ledger has booked its cost.

        Raises:
            UsageError: the session is not open, the strategy needs a verifier and none is given, an option does not
                fit the model, or the budget cannot be counted.
        """
        if self._limits is None or self._comparer is None:
            raise UsageError(NOT_OPEN)
        if verifier is None and strategy.uses_verifier:
            raise UsageError(f"{spec_of(strategy)} needs a verifier: give one")
        await self._limits.pace.begin(object())
        context = RunContext(
            strategy=strategy,
            engine=self.engine,
            verifier=verifier,
            stop=stop,
            comparer=self._comparer,
            trace=trace,
            seed=seed,
            budget=budget,
            ledger=ledger or self.ledger,
            stated=f"each {budget}" if budget else "",
            limits=self._limits,
            history={question.id: history},
            on_text=on_text,
        )
        return await (await context.open(next(self._numbers), question)).solve()
