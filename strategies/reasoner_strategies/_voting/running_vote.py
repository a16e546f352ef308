"""A vote over finished chains that is counted as they arrive, for any number of them."""

from dataclasses import dataclass, replace
from typing import Literal

from reasoner.strategy import Plan, count_votes, propose
from reasoner.types import Answer, AnswerSpace, VoteState
from reasoner.voting import Tally


@dataclass(slots=True)
class RunningVote:
    """The vote of one question, weighted by ratings as `pool.rated_vote` is; without any rating, the plain majority."""

    space: AnswerSpace
    by: Literal["sum", "max"] = "sum"
    seen: int = 0
    """How many chains were counted, those without an answer included."""
    answered: bool = False
    _rated: Tally | None = None
    _plain: Tally | None = None
    _published: VoteState | None = None
    _changes: int = 0
    _publish_at: int = 1

    def count(self, answer: Answer | None, *, order: int) -> None:
        """Count a chain that ended, before it is rated; `order` is its position in launch order."""
        self.seen += 1
        self._changes += 1
        if answer is None:
            return
        self.answered = True
        if self._rated is None:
            self._plain = self._plain or Tally(self.space)
            self._plain.add(answer, index=order)

    def rate(self, answer: Answer, value: float | None, *, order: int) -> None:
        """Let a counted chain vote with its rating; without one it votes only if no chain has one."""
        if value is None:
            return
        self._changes += 1
        if self._rated is None:
            self._rated, self._plain = Tally(self.space, by=self.by), None
        self._rated.add(answer, index=order, weight=value)

    def restart(self) -> None:
        """Forget all chains, but not what was published."""
        self.seen, self.answered, self._rated, self._plain = 0, False, None, None

    def vote_state(self) -> Plan[VoteState]:
        """The vote state of the votes."""
        counted = yield from count_votes(self._rated or self._plain or Tally(self.space))
        return replace(counted, samples=self.seen)

    def publish_sometimes(self) -> Plan[None]:
        """Publish after each further sixteenth of changes: a few hundred times for many thousand chains."""
        if self.answered and self._changes >= self._publish_at:
            self._publish_at = self._changes + 1 + self._changes // 16
            yield from self.publish()

    def publish(self) -> Plan[VoteState]:
        """Propose the leader, unless this vote state was already proposed."""
        vote_state = yield from self.vote_state()
        if vote_state != self._published:
            yield from propose(vote_state.leader, vote_state)
        self._published = vote_state
        return vote_state
