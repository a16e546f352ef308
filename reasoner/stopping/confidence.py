"""Group confidence of a sequence, during and after sampling (DeepConf: Fu 2025, 2508.15260)."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Literal

from reasoner.specs import CheckedOptions, Count, Range
from reasoner.types import NO_LOGPROB

GroupMeasure = Literal["lowest", "bottom_10", "tail", "mean"]
"""What the confidences of the tokens of a sequence are reduced to."""
Cut = Callable[[Sequence[float]], bool]
"""Gets the log-probabilities of a token's best alternatives, token by token; True where the sequence must end."""


def measured(rows: Iterable[Sequence[float]]) -> bool:
    """Whether all these log-probabilities were measured, so that a confidence can be computed from them.

    vLLM's servers report -9999 where they have none, for example if another request of the batch watches token ids.
    """
    return all(value > NO_LOGPROB for row in rows for value in row)


def token_confidence(top: Sequence[float]) -> float:
    """The mean of -log p over a token's best alternatives, 0 or more; higher is more confident."""
    return -math.fsum(top) / len(top)


def group_confidences(tokens: Sequence[float], window: int) -> list[float]:
    """The mean over each `window` consecutive tokens, or over all if there are fewer. `tokens` is not empty."""
    if len(tokens) <= window:
        return [math.fsum(tokens) / len(tokens)]
    sums = [0.0, *accumulate(tokens)]
    return [
        (sums[end] - sums[end - window]) / window for end in range(window, len(sums))
    ]


def sequence_confidence(
    tokens: Sequence[float], measure: GroupMeasure, window: int
) -> float:
    """The confidence of a sequence of at least one token.

    It is the confidence of its "lowest" group, the mean of the lowest tenth of its groups ("bottom_10", rounded down as
    in DeepConf's code, at least one), of its last `window` tokens ("tail"), or of all ("mean").
    """
    if measure in ("tail", "mean"):
        chosen = tokens[-window:] if measure == "tail" else tokens
    else:
        groups = sorted(group_confidences(tokens, window))
        chosen = groups[: 1 if measure == "lowest" else max(1, len(groups) // 10)]
    return math.fsum(chosen) / len(chosen)


@dataclass(frozen=True, slots=True)
class ConfidenceFloor(CheckedOptions):
    """Cuts a sequence at the first token at which the last `window` tokens are less confident than `minimum`.

    Nothing is cut before a window is full. The sequence needs the log-probabilities of `top_k` alternatives.
    """

    window: Count
    minimum: float
    top_k: Annotated[int, Range(at_least=1, at_most=20)] = 20

    def watch(self) -> Cut:
        """A new watch over one sequence."""
        group: deque[float] = deque()
        total = 0.0

        def cut(top: Sequence[float]) -> bool:
            nonlocal total
            group.append(token_confidence(top[: self.top_k]))
            total += group[-1]
            if len(group) > self.window:
                total -= group.popleft()
            return len(group) == self.window and total / self.window < self.minimum

        return cut

    def tokens(self, tops: Sequence[Sequence[float]]) -> int:
        """How many tokens of a sequence are kept: all of them if it is not cut."""
        cut = self.watch()
        return next((count for count, top in enumerate(tops, 1) if cut(top)), len(tops))
