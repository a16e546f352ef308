"""Which replica serves which question."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

REMEMBERED: Final = 100_000
"""Questions whose replica is remembered if they are never released."""


class Placement:
    """Gives each question one of the replicas: the one with the fewest questions and requests when it begins.

    A question stays where it is, because its prefixes are in that replica's cache, until `release` or until the
    replica is lost. Of many questions that are never released, those that were used last are remembered.
    """

    def __init__(self, replicas: int) -> None:
        self._lost: set[int] = set()
        self._replicas: OrderedDict[str, int] = OrderedDict()
        self._loads = [0] * replicas
        """Questions and requests of each."""

    def of(self, question_id: str) -> int:
        """The replica of a question, counted from 0."""
        replica = self._replicas.get(question_id)
        if replica is None:
            replica = self._replicas[question_id] = min(self._candidates, key=self._loads.__getitem__)
            self._loads[replica] += 1
            if len(self._replicas) > REMEMBERED:
                self._forget(next(iter(self._replicas)))
        else:
            self._replicas.move_to_end(question_id)
        return replica

    def release(self, question_id: str) -> None:
        """The question has ended. Does nothing for one that is unknown."""
        if question_id in self._replicas:
            self._forget(question_id)

    def lose(self, replica: int) -> None:
        """The replica does not answer: its questions are placed again, among the others as long as there is one."""
        self._lost.add(replica)
        self._vacate()

    def restore(self, replica: int) -> None:
        """The replica answers again, and new questions may go there."""
        self._lost.discard(replica)
        self._vacate()

    def _vacate(self) -> None:
        for question_id in [name for name, replica in self._replicas.items() if replica in self._lost]:
            self._forget(question_id)

    @property
    def lost(self) -> frozenset[int]:
        """The replicas that do not answer."""
        return frozenset(self._lost)

    @property
    def _candidates(self) -> Sequence[int]:
        replicas = range(len(self._loads))
        if not self._lost:
            return replicas
        return [replica for replica in replicas if replica not in self._lost] or replicas

    @contextmanager
    def request(self, question_id: str) -> Iterator[int]:
        """Count one request of a question while it is in flight; yields the replica that gets it."""
        replica = self.of(question_id)
        self._loads[replica] += 1
        try:
            yield replica
        finally:
            self._loads[replica] -= 1

    def _forget(self, question_id: str) -> None:
        self._loads[self._replicas.pop(question_id)] -= 1
