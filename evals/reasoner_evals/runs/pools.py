"""Pools of samples as the estimators take them, and what questions and parts of a pool cost."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reasoner.budget import Budget, Cost, Prices
from reasoner.models.info import ModelInfo
from reasoner_evals.runs.arrays import COSTS, ERROR, OUTCOMES, RIGHT, SILENT, UNGRADED, ArmData, Floats, Ints, Replies

FIELDS: Final = ("prompt", "cached", "generated", "verifier", "cancelled")
TOKENS: Final = (*FIELDS, "thinking")
"""The fields, and the part of the generated and cancelled tokens that is thinking."""
COMPUTED: Final = ("prompt", "generated", "verifier", "cancelled")
"""The fields that count as tokens; cached prompt tokens are not computed."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Q questions with up to N replies each, as [Q, N]; nan in `right` where no reply counts.

    No reply counts for questions that ended in an error or have a reply without a verdict.
    """

    right: Floats
    answers: Ints
    stated: NDArray[np.int8]
    """As in `Replies`."""
    scores: Floats
    truncated: NDArray[np.bool_]


def sizes_of(pool: int) -> tuple[int, ...]:
    """The sizes at which a pool is reported: powers of two, and the whole pool."""
    return (*(1 << power for power in range(pool.bit_length()) if 1 << power < pool), pool)


def pool_of(data: ArmData) -> Pool:
    """The pool of an arm that has one."""
    replies, width = data.replies, data.arm.pool
    right = spread(replies, np.where(replies.outcome == RIGHT, 1.0, 0.0), np.nan, width)
    right[(data.outcome == ERROR) | (replies.per_question(replies.outcome == UNGRADED) > 0)] = np.nan
    return Pool(
        right,
        spread(replies, replies.classes, SILENT, width).astype(np.int64),
        spread(replies, replies.stated, 0, width).astype(np.int8),
        spread(replies, replies.score, np.nan, width),
        spread(replies, replies.outcome == OUTCOMES.index("truncated"), 0, width).astype(bool),
    )


def spread(replies: Replies, values: NDArray[np.generic], empty: float, width: int) -> Floats:
    """One value per reply, laid out as [Q, `width`]; `empty` where a question has fewer replies."""
    start, length = replies.rows
    counts = np.minimum(length, width)
    row = np.repeat(np.arange(len(length)), counts)
    column = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((len(length), width), empty, dtype=np.float64)
    table[row, column] = values[np.repeat(start, counts) + column]
    return table


def spent(data: ArmData) -> dict[str, Floats]:
    """What each finished question cost in all; nan for questions without an accuracy."""
    charged = data.has_result
    costs = {name: np.where(charged, data.costs[:, COSTS.index(name)].astype(np.float64), np.nan) for name in TOKENS}
    return costs | {name: np.where(charged, getattr(data, name), np.nan) for name in ("flops", "seconds")}


def usd(prices: dict[str, float] | None, costs: dict[str, Floats]) -> Floats:
    """[...]: the price of each cost in US dollars, by `reasoner.budget.Prices`; nan without prices."""
    if prices is None:
        return np.full_like(costs["prompt"], np.nan)
    table = Prices(**prices)
    # A price is linear in the tokens of each field, so the price of a million gives the price of one.
    unit = {name: table.usd(Cost(**{f"{name}_tokens": 10**6})) / 1e6 for name in FIELDS}
    return sum((costs[name] * unit[name] for name in FIELDS), start=np.zeros_like(costs["prompt"]))


def expected_costs(
    info: ModelInfo, data: ArmData, whole_cost: Mapping[str, Floats], ks: Sequence[int]
) -> dict[str, Floats]:
    """What k samples of each pool cost on average, by field, as [Q, K]; nan for questions with fewer.

    The prompt once, as the first reply computed it, k - 1 times the average prompt tokens of the other replies, and k/N
    of everything else; at k = N this is the recorded cost. Seconds are in proportion to the tokens computed.
    """
    replies, width = data.replies, data.arm.pool
    sizes, drawn = np.asarray(ks, dtype=np.float64), replies.rows.length.astype(np.float64)
    prompt = spread(replies, replies.prompt, np.nan, width)
    cached = spread(replies, replies.cached, np.nan, width)
    # The reply that computed most of the prompt is the one that came first.
    first = np.argmax(np.nan_to_num(prompt, nan=-1.0), axis=1)
    enough = drawn[:, None] >= sizes
    shares = {"prompt": prompt, "cached": cached, "flops": _prompt_flops(info, prompt, cached)}
    costs = {}
    for name in (*TOKENS, "flops"):
        part = shares.get(name, np.zeros_like(prompt))
        once = np.take_along_axis(part, first[:, None], axis=1)[:, 0]
        whole = np.nansum(part, axis=1)
        again = np.where(drawn > 1, (whole - once) / np.maximum(drawn - 1, 1), 0.0)
        rest = (whole_cost[name] - whole) / np.maximum(drawn, 1)
        total = once[:, None] + again[:, None] * (sizes - 1) + rest[:, None] * sizes
        costs[name] = np.where(enough, total, np.nan)
    tokens, all_tokens = (np.sum([costs_of[name] for name in COMPUTED], axis=0) for costs_of in (costs, whole_cost))
    costs["seconds"] = tokens / np.maximum(all_tokens, 1)[:, None] * whole_cost["seconds"][:, None]
    return costs


def _prompt_flops(info: ModelInfo, prompt: Floats, cached: Floats) -> Floats:
    """[Q, N]: the FLOPs of computing each reply's prompt; 0 without a geometry, when all FLOPs are per sample."""
    if info.flops(prompt=1, cached=0, generated=0) is None:
        return np.zeros_like(prompt)
    pairs, index = np.unique(np.stack([prompt + cached, cached], axis=-1).reshape(-1, 2), axis=0, return_inverse=True)
    flops = [
        0.0 if np.isnan(c) else float(info.flops(prompt=int(c), cached=int(c0), generated=0) or 0) for c, c0 in pairs
    ]
    table: Floats = np.asarray(flops)[index.ravel()].reshape(prompt.shape)
    return table


def overshoots(data: ArmData, prices: dict[str, float] | None) -> int:
    """Finished questions that cost more than their budget, in any unit but seconds, which do not bound running work.

    1 where all questions share one budget and cost more than it.
    """
    if not data.arm.limit:
        return 0
    budget, costs = Budget.parse(data.arm.budget or data.arm.total), spent(data)
    generated = costs["generated"] + costs["cancelled"]
    bounds: Iterable[tuple[float | None, Floats]] = (
        (budget.tokens, costs["prompt"] + generated + costs["verifier"]),
        (budget.generated, generated),
        (budget.samples, data.costs[:, COSTS.index("samples")].astype(np.float64)),
        (budget.flops, costs["flops"]),
        (budget.usd, usd(prices, costs)),
    )
    over = np.zeros(1 if data.arm.total else len(data.outcome), dtype=bool)
    for limit, amount in bounds:
        if limit is not None:
            counted = np.nansum(amount, keepdims=True) if data.arm.total else amount
            over |= counted > limit * (1 + 1e-12)
    return int(over.sum())
