"""What is known of the answers of one question: which are the same.

Each verdict is looked up in the history, else asked for and recorded, once. Comparing costs no tokens.
"""

from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from typing import Any, Final, TypeVar

from reasoner.answers.equivalence import ComparisonMeter, Equivalence
from reasoner.errors import NotRecorded
from reasoner.execution.executor import OperationExecutor
from reasoner.trace.events import BlocksFound, EquivalenceChecked
from reasoner.types import Answer, AnswerSpace, Blocks

K = TypeVar("K", bound=Hashable)
A = TypeVar("A")
V = TypeVar("V")
Pairs = Sequence[tuple[Answer, Answer]]
MISSING: Final = (
    "which answers are equal: replay with the same kind of answer, strategy and budget"
)


class QuestionVerdicts:
    """The verdicts on one question's answers.

    A result holds for the rest of the run, including "not decided", so that a replay and a resumed run count the same
    votes.
    """

    def __init__(self, executor: OperationExecutor, comparer: Equivalence) -> None:
        history, space = executor.history, executor.question.space
        self._executor, self._comparer, self._space, self._history = (
            executor,
            comparer,
            space,
            history,
        )
        self._meter = ComparisonMeter()
        self._recorded_blocks, self._recorded_same = history.blocks, history.same
        # A replay writes what it uses again.
        self._blocks = {} if history.source else {**self._recorded_blocks}
        self._same = {} if history.source else {**self._recorded_same}

    async def blocks(self, answers: Sequence[Answer]) -> tuple[Blocks | None, ...]:
        """The blocks of each answer; None if they were not found in time. Raises as `same`."""
        if new := {
            answer.key: answer for answer in answers if answer.key not in self._blocks
        }:
            results = await self._find(
                new, self._recorded_blocks, self._comparer.blocks
            )
            self._executor.recorder.write(
                BlocksFound, answers=tuple(new), blocks=results
            )
            self._blocks.update(zip(new, results, strict=True))
        return tuple(self._blocks[answer.key] for answer in answers)

    async def same(self, pairs: Pairs) -> tuple[bool | None, ...]:
        """For each pair whether each answer accepts the other; None if that was not decided.

        Raises:
            BudgetExhausted: the deadline passed.
            NotRecorded: a replay does not have it.
        """
        keyed = [(frozenset((a.key, b.key)), (a, b)) for a, b in pairs]
        if new := {key: pair for key, pair in keyed if key not in self._same}:
            results = await self._find(
                new, self._recorded_same, self._comparer.same_many
            )
            self._executor.recorder.write(
                EquivalenceChecked,
                pairs=tuple((a.key, b.key) for a, b in new.values()),
                same=results,
            )
            self._same.update(zip(new, results, strict=True))
        return tuple(self._same[key] for key, _ in keyed)

    async def _find(
        self,
        new: Mapping[K, A],
        recorded: Mapping[K, V],
        ask: Callable[
            [AnswerSpace, Sequence[A], ComparisonMeter],
            Coroutine[Any, Any, tuple[V, ...]],
        ],
    ) -> tuple[V, ...]:
        if self._history.source:
            if not recorded.keys() >= new.keys():
                raise NotRecorded(
                    f"the trace {self._history.source} does not say {MISSING}"
                )
            return tuple(recorded[key] for key in new)
        return await self._executor.before_deadline(
            ask(self._space, tuple(new.values()), self._meter)
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """How many comparisons were not decided, and what to do about it."""
        undecided = [*self._same.values(), *self._blocks.values()].count(None)
        if not undecided:
            return ()
        count = (
            "1 comparison was" if undecided == 1 else f"{undecided:,} comparisons were"
        )
        limit, advice = "in time", ""
        if (seconds := getattr(self._space, "seconds", None)) is not None:
            limit = f"within {seconds:g} s"
            advice = f"; answer kind {self._space.name}:seconds={3 * seconds:g} gives more time"
        return (
            f"{count} not decided {limit}: those answers count as different{advice}",
        )
