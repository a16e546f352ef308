"""A vote over finished chains that is counted as they come in, also where there are very many."""

from dataclasses import dataclass, replace
from typing import Literal

from reasoner.plan import Plan, count, propose
from reasoner.types import Answer, AnswerSpace, Standing
from reasoner.votes import Tally


@dataclass(slots=True)
class RunningVote:
    """The vote of one question, weighted by ratings as `pool.rated_vote` is: unrated, the plain majority.

    `tell` publishes the leader again each time there is a sixteenth more to count: a search of many thousand chains
    then makes a few hundred proposals.
    """

    space: AnswerSpace
    by: Literal["sum", "max"] = "sum"
    seen: int = 0
    """How many chains were looked at, those without an answer among them."""
    answered: bool = False
    _rated: Tally | None = None
    _plain: Tally | None = None
    _told: Standing | None = None
    _news: int = 0
    _next: int = 1

    def look(self, answer: Answer | None, *, order: int) -> None:
        """Count a chain that ended, before it is rated; `order` is its place in launch order."""
        self.seen += 1
        self._news += 1
        if answer is None:
            return
        self.answered = True
        if self._rated is None:
            self._plain = self._plain or Tally(self.space)
            self._plain.add(answer, index=order)

    def rate(self, answer: Answer, value: float | None, *, order: int) -> None:
        """Let a chain that was looked at vote with its rating; without one it votes only where no chain has one."""
        if value is None:
            return
        self._news += 1
        if self._rated is None:
            self._rated, self._plain = Tally(self.space, by=self.by), None
        self._rated.add(answer, index=order, weight=value)

    def standing(self) -> Plan[Standing]:
        """Where the votes stand."""
        counted = yield from count(self._rated or self._plain or Tally(self.space))
        return replace(counted, samples=self.seen)

    def tell(self) -> Plan[None]:
        """Propose the leader, where enough is new."""
        if self.answered and self._news >= self._next:
            self._next = self._news + 1 + self._news // 16
            yield from self.close()

    def close(self) -> Plan[Answer | None]:
        """Propose the leader unless that has been told; the answer."""
        standing = yield from self.standing()
        if standing != self._told:
            yield from propose(standing.leader, standing)
        self._told = standing
        return standing.leader
