"""Which replica serves which question."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Placement:
    """Gives each question one of the replicas: the one with the fewest questions and requests when it begins.

    A question stays where it is, because its prefixes are in that replica's cache, until `release` or until the
    replica is lost. Of many questions that are never released, those that were used last are remembered.
    """

    def __init__(self, replicas: int) -> None:
        self._replicas: OrderedDict[str, int] = OrderedDict()
        self._loads = [0] * replicas
        """Questions and requests of each."""
        self.lost: set[int] = set()
        """The replicas that do not answer."""

    def of(self, question_id: str) -> int:
        """The replica of a question, counted from 0."""
        replica = self._replicas.get(question_id)
        if replica is None:
            replica = self._replicas[question_id] = min(
                self._candidates, key=self._loads.__getitem__
            )
            self._loads[replica] += 1
            # Questions with a remembered replica, if they are never released
            if len(self._replicas) > 100_000:
                self.release(next(iter(self._replicas)))
        else:
            self._replicas.move_to_end(question_id)
        return replica

    def release(self, question_id: str) -> None:
        """The question has ended. Does nothing for one that is unknown."""
        if question_id in self._replicas:
            self._loads[self._replicas.pop(question_id)] -= 1

    def mark(self, replica: int, *, answers: bool) -> None:
        """Note whether a replica answers. Questions of those that do not are placed again, elsewhere if they can be."""
        (self.lost.discard if answers else self.lost.add)(replica)
        for question_id in [
            name for name, at in self._replicas.items() if at in self.lost
        ]:
            self.release(question_id)

    @property
    def _candidates(self) -> Sequence[int]:
        replicas = range(len(self._loads))
        if not self.lost:
            return replicas
        return [replica for replica in replicas if replica not in self.lost] or replicas

    @contextmanager
    def request(self, question_id: str) -> Iterator[int]:
        """Count one request of a question while it is in flight; yields the replica that gets it."""
        replica = self.of(question_id)
        self._loads[replica] += 1
        try:
            yield replica
        finally:
            self._loads[replica] -= 1
