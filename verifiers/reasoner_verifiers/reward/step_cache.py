"""A cache of step scores: with causal attention a score depends only on the tokens up to its position."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence

import numpy as np

from reasoner.errors import VerifierError
from reasoner.types import TokenIds

Compute = Callable[[Sequence[int], bool], Awaitable[Sequence[float]]]
"""The values of the keys at these indices; the flag says that some were computed before and lost."""


def step_keys(identity: str, ids: TokenIds, positions: Sequence[int]) -> Iterator[bytes]:
    """A key per position, in rising order: the SHA-256 of `identity` and of all token ids up to the position."""
    hashed, done = hashlib.sha256(identity.encode() + b"\0"), 0
    for position in positions:
        hashed.update(np.asarray(ids[done : position + 1], dtype="<i8").tobytes())
        done = position + 1
        yield hashed.copy().digest()


class StepCache:
    """Scores by key. The first score of a key is kept: a later one may differ by the numerics of its batch.

    It holds `size` scores and drops the least recently used. Concurrent requests for a key share its computation.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.hits = 0
        self.computed = 0
        # None marks a score whose computation did not complete.
        self._values: OrderedDict[bytes, float | None] = OrderedDict()
        self._flights: dict[bytes, asyncio.Future[None]] = {}

    def clear(self) -> None:
        """Drop all scores; no computation may be running."""
        self._values.clear()

    def __len__(self) -> int:
        return len(self._values)

    async def fill(self, keys: Sequence[bytes], compute: Compute) -> tuple[float, ...]:
        """The scores of `keys`; missing ones come from `compute`.

        Raises:
            VerifierError: `compute` returned the wrong number of scores.
        """
        scores: dict[int, float] = {}
        while missing := self._look(keys, scores):
            flight = next((self._flights[keys[index]] for index in missing if keys[index] in self._flights), None)
            if flight is None:
                computed = await self._compute([keys[index] for index in missing], missing, compute)
                scores |= zip(missing, computed, strict=True)
                break
            # Not awaited directly: cancelling this rating must not cancel it for the others.
            await asyncio.wait([flight])
        self.hits += len(keys) - len(missing)
        return tuple(scores[index] for index in range(len(keys)))

    def _look(self, keys: Sequence[bytes], scores: dict[int, float]) -> list[int]:
        """Add the cached scores to `scores`; the indices of the others."""
        for index, key in enumerate(keys):
            value = self._values.get(key)
            if value is not None and index not in scores:
                scores[index] = value
                self._values.move_to_end(key)
        return [index for index in range(len(keys)) if index not in scores]

    async def _compute(self, keys: Sequence[bytes], missing: Sequence[int], compute: Compute) -> Sequence[float]:
        flight: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flights |= dict.fromkeys(keys, flight)
        outcome: Sequence[float | None] = [None] * len(keys)
        try:
            scores = await compute(missing, any(key in self._values for key in keys))
            if len(scores) != len(keys):
                raise VerifierError(f"the reward model gave {len(scores)} scores for {len(keys)} steps")
            outcome = scores
            self.computed += len(scores)
        finally:
            for key, value in zip(keys, outcome, strict=True):
                self._flights.pop(key, None)
                self._values[key] = value
            while len(self._values) > self.size:
                self._values.popitem(last=False)
            flight.set_result(None)
        return scores
