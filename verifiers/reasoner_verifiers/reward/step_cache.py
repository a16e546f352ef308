"""Step scores that are never computed twice: with causal attention a score depends on the tokens up to it only."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence

import numpy as np

from reasoner.errors import VerifierError
from reasoner.types import TokenIds

Compute = Callable[[Sequence[int], bool], Awaitable[Sequence[float]]]
"""Given which keys to compute, and whether some were begun before and never came back: their values."""


def step_keys(identity: str, ids: TokenIds, positions: Sequence[int]) -> Iterator[bytes]:
    """One key for each place, in rising order: SHA-256 of `identity` and of all token ids up to and with that place."""
    hashed, done = hashlib.sha256(identity.encode() + b"\0"), 0
    for position in positions:
        hashed.update(np.asarray(ids[done : position + 1], dtype="<i8").tobytes())
        done = position + 1
        yield hashed.copy().digest()


class StepCache:
    """Scores by key, the first one kept, as a later one may differ by the numerics of its batch.

    It is bounded by `size`, the least recently used going first. What several ask for at once is computed once.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.hits = 0
        self.computed = 0
        # None stands for a score that was begun and never came back.
        self._values: OrderedDict[bytes, float | None] = OrderedDict()
        self._flights: dict[bytes, asyncio.Future[None]] = {}

    def clear(self) -> None:
        """Forget all scores; none may be under way."""
        self._values.clear()

    def __len__(self) -> int:
        return len(self._values)

    async def fill(self, keys: Sequence[bytes], compute: Compute) -> tuple[float, ...]:
        """The scores of `keys`, those that nobody has computed by `compute`.

        Raises:
            VerifierError: `compute` gave more or fewer scores than it was asked for.
        """
        scores: dict[int, float] = {}
        while missing := self._look(keys, scores):
            flight = next((self._flights[keys[index]] for index in missing if keys[index] in self._flights), None)
            if flight is None:
                scores |= zip(
                    missing, await self._compute([keys[index] for index in missing], missing, compute), strict=True
                )
                break
            # Not awaited itself, as cancelling this rating would then cancel it for all.
            await asyncio.wait([flight])
        self.hits += len(keys) - len(missing)
        return tuple(scores[index] for index in range(len(keys)))

    def _look(self, keys: Sequence[bytes], scores: dict[int, float]) -> list[int]:
        """Add what is known to `found`; the places of what is not."""
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
