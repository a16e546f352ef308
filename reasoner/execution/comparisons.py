"""Compares the answers of one question: each comparison is asked for and recorded once."""

from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from reasoner.answers.equivalence import Comparer, ComparisonMeter
from reasoner.answers.questions import Question
from reasoner.errors import NotRecorded
from reasoner.trace.events import BlocksFound, EquivalenceChecked
from reasoner.trace.history import QuestionHistory
from reasoner.trace.recorder import Recorder
from reasoner.types import Answer, AnswerSpace, Blocks
from reasoner.voting import compares_by_model

K = TypeVar("K", bound=Hashable)
A = TypeVar("A")
V = TypeVar("V")
Pairs = Sequence[tuple[Answer, Answer]]
AskModel = Callable[[Pairs], Coroutine[Any, Any, tuple[bool | None, ...]]]


class Comparisons:
    """Looks a comparison up in the history, and asks the comparer for what is not there; or a model, for some spaces.

    A result holds for the rest of the run, including "not decided", so that a replay and a resumed run count the same
    votes.
    """

    def __init__(self, question: Question, comparer: Comparer, recorder: Recorder, history: QuestionHistory) -> None:
        self.question, self.comparer, self.recorder, self.history = question, comparer, recorder, history
        self._meter = ComparisonMeter(question.id)
        self._recorded_blocks, self._recorded_same = history.blocks, history.same
        self._blocks = {} if history.source else {**self._recorded_blocks}
        self.by_model = compares_by_model(question.space)
        """Whether a model compares. Its verdicts are work, which is looked up and booked where it is asked for."""
        self._same = {} if history.source or self.by_model else {**self._recorded_same}

    async def same(self, pairs: Pairs, ask: AskModel | None = None) -> tuple[bool | None, ...]:
        """For each pair whether each answer accepts the other; None if that was not decided.

        `ask` asks the model about those that are not known yet; without it, the comparer is asked.
        """
        keyed = [(frozenset((a.key, b.key)), (a, b)) for a, b in pairs]
        if new := {key: pair for key, pair in keyed if key not in self._same}:
            if ask:
                results = await ask(tuple(new.values()))
            else:
                results = await self._find(new, self._recorded_same, self.comparer.same_many)
            keys = tuple((a.key, b.key) for a, b in new.values())
            self.recorder.write(EquivalenceChecked, pairs=keys, same=results)
            self._same.update(zip(new, results, strict=True))
        return tuple(self._same[key] for key, _ in keyed)

    async def blocks(self, answers: Sequence[Answer]) -> tuple[Blocks | None, ...]:
        """The blocks of each answer; None if they were not found in time."""
        if new := {answer.key: answer for answer in answers if answer.key not in self._blocks}:
            results = await self._find(new, self._recorded_blocks, self.comparer.blocks)
            self.recorder.write(BlocksFound, answers=tuple(new), blocks=results)
            self._blocks.update(zip(new, results, strict=True))
        return tuple(self._blocks[answer.key] for answer in answers)

    async def _find(
        self,
        new: Mapping[K, A],
        recorded: Mapping[K, V],
        ask: Callable[[AnswerSpace, Sequence[A], ComparisonMeter], Coroutine[Any, Any, tuple[V, ...]]],
    ) -> tuple[V, ...]:
        if not self.history.source:
            return await ask(self.question.space, tuple(new.values()), self._meter)
        try:
            return tuple(recorded[key] for key in new)
        except KeyError as error:
            raise NotRecorded(
                f"the trace {self.history.source} does not say which answers are equal: replay with the same strategy "
                "and budget"
            ) from error

    @property
    def notes(self) -> tuple[str, ...]:
        """How much was not decided in time, if anything, and what to do about it."""
        undecided = [*self._same.values(), *self._blocks.values()].count(None)
        if not undecided:
            return ()
        count = "1 comparison was" if undecided == 1 else f"{undecided:,} comparisons were"
        limit, advice = "by the model" if self.by_model else "in time", ""
        if (seconds := getattr(self.question.space, "seconds", None)) is not None:
            limit = f"within {seconds:g} s"
            advice = f"; answer kind {self.question.space.name}:seconds={3 * seconds:g} gives more time"
        return (f"{count} not decided {limit}: those answers count as different{advice}",)
