"""What is found out about the answers of one question: which of them are the same, asked and recorded once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from reasoner.equivalence import CompareTab
from reasoner.past import Past
from reasoner.protocols import Comparer
from reasoner.recorder import Recorder
from reasoner.types import Answer, Blocks, Question


@dataclass(slots=True, eq=False)
class Comparisons:
    """Asks the comparer what the plan wants to know of answers, and the record of an interrupted run before that.

    What was found out once holds for the rest of the run, also that something was not decided in time: a replay and a
    resumed run then count the same votes.
    """

    question: Question
    comparer: Comparer
    recorder: Recorder
    past: Past
    _blocks: dict[str, Blocks | None] = field(init=False, repr=False)
    _same: dict[frozenset[str], bool | None] = field(init=False, repr=False)
    _tab: CompareTab = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._blocks, self._same = dict(self.past.blocks), dict(self.past.same)
        self._tab = CompareTab(self.question.id)

    async def same(self, pairs: Sequence[tuple[Answer, Answer]]) -> tuple[bool | None, ...]:
        """For each pair whether each accepts the other; None where that was not decided in time."""
        keys = [frozenset((a.key, b.key)) for a, b in pairs]
        if new := {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in self._same}:
            asked = tuple(new.values())
            found = await self.comparer.same_many(self.question.space, asked, self._tab)
            self.recorder.compared(asked, found)
            self._same.update(zip(new, found, strict=True))
        return tuple(self._same[key] for key in keys)

    async def blocks(self, answers: Sequence[Answer]) -> tuple[Blocks | None, ...]:
        """The blocks of each answer; None where they were not found in time."""
        if new := {answer.key: answer for answer in answers if answer.key not in self._blocks}:
            asked = tuple(new.values())
            found = await self.comparer.blocks(self.question.space, asked, self._tab)
            self.recorder.blocked(asked, found)
            self._blocks.update(zip(new, found, strict=True))
        return tuple(self._blocks[answer.key] for answer in answers)

    @property
    def notes(self) -> tuple[str, ...]:
        """How much was not decided in time, if anything, and what to do about it."""
        undecided = [*self._same.values(), *self._blocks.values()].count(None)
        if not undecided:
            return ()
        what = "1 comparison was" if undecided == 1 else f"{undecided:,} comparisons were"
        limit, way_out = "in time", ""
        if (seconds := getattr(self.question.space, "seconds", None)) is not None:
            limit = f"within {seconds:g} s"
            way_out = f"; answer kind {self.question.space.name}:seconds={3 * seconds:g} gives more time"
        return (f"{what} not decided {limit}: those answers count as different{way_out}",)
