"""What questions cost, field by field, and what a part of a pool would have cost."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from reasoner.budget import Budget, Cost, Prices
from reasoner.models.card import ModelCard
from reasoner_evals.report.pools import spread
from reasoner_evals.runs.arrays import COSTS, ERROR, UNFINISHED, ArmData, Floats

FIELDS: Final = ("prompt", "cached", "generated", "verifier", "cancelled")
COST_RULE: Final = (
    "a size k below a pool of N costs the prompt once, as its first reply computed it, k - 1 times what the other "
    "replies computed of it on average, and k/N of everything else: at k = N this is the recorded cost"
)


def spent(data: ArmData) -> dict[str, Floats]:
    """What each finished question cost in all, nan for those without an accuracy."""
    charged = (data.outcome != UNFINISHED) & (data.outcome != ERROR)
    costs = {name: np.where(charged, data.costs[:, COSTS.index(name)].astype(np.float64), np.nan) for name in FIELDS}
    costs["flops"] = np.where(charged, data.flops, np.nan)
    costs["seconds"] = np.where(charged, data.seconds, np.nan)
    return costs


def usd(prices: dict[str, float] | None, costs: dict[str, Floats]) -> Floats:
    """[...]: the price of each cost in US dollars, by `reasoner.budget.Prices`; nan without prices."""
    if prices is None:
        return np.full_like(costs["prompt"], np.nan)
    table = Prices(**prices)
    # A price is linear in the tokens of each field, so a million of one field tell what one costs.
    unit = {name: table.usd(Cost(**{f"{name}_tokens": 10**6})) / 1e6 for name in FIELDS}
    return sum((costs[name] * unit[name] for name in FIELDS), start=np.zeros_like(costs["prompt"]))


def expected_costs(
    card: ModelCard, data: ArmData, whole_cost: Mapping[str, Floats], ks: Sequence[int]
) -> dict[str, Floats]:
    """What k samples of each pool cost on average, by field, as [Q, K]; see `COST_RULE`. Questions with fewer: nan.

    Seconds go in proportion to the tokens computed.
    """
    replies, width = data.replies, data.arm.pool
    sizes, drawn = np.asarray(ks, dtype=np.float64), replies.rows.length.astype(np.float64)
    prompt = spread(replies, replies.prompt, np.nan, width)
    cached = spread(replies, replies.cached, np.nan, width)
    # The reply that computed most of the prompt is the one that came first.
    first = np.argmax(np.nan_to_num(prompt, nan=-1.0), axis=1)
    enough = drawn[:, None] >= sizes
    shares = {"prompt": prompt, "cached": cached, "flops": _prompt_flops(card, prompt, cached)}
    found = {}
    for name in ("prompt", "cached", "generated", "verifier", "cancelled", "flops"):
        part = shares.get(name, np.zeros_like(prompt))
        once = np.take_along_axis(part, first[:, None], axis=1)[:, 0]
        whole = np.nansum(part, axis=1)
        again = np.where(drawn > 1, (whole - once) / np.maximum(drawn - 1, 1), 0.0)
        rest = (whole_cost[name] - whole) / np.maximum(drawn, 1)
        total = once[:, None] + again[:, None] * (sizes - 1) + rest[:, None] * sizes
        found[name] = np.where(enough, total, np.nan)
    tokens = found["prompt"] + found["generated"] + found["verifier"] + found["cancelled"]
    all_tokens = whole_cost["prompt"] + whole_cost["generated"] + whole_cost["verifier"] + whole_cost["cancelled"]
    found["seconds"] = tokens / np.maximum(all_tokens, 1)[:, None] * whole_cost["seconds"][:, None]
    return found


def _prompt_flops(card: ModelCard, prompt: Floats, cached: Floats) -> Floats:
    """[Q, N]: what computing each reply's prompt took; 0 without a geometry, when all FLOPs go by the sample."""
    if card.flops(prompt=1, cached=0, generated=0) is None:
        return np.zeros_like(prompt)
    pairs, place = np.unique(np.stack([prompt + cached, cached], axis=-1).reshape(-1, 2), axis=0, return_inverse=True)
    flops = [
        0.0 if np.isnan(c) else float(card.flops(prompt=int(c), cached=int(c0), generated=0) or 0) for c, c0 in pairs
    ]
    found: Floats = np.asarray(flops)[place.ravel()].reshape(prompt.shape)
    return found


def overshoots(data: ArmData, prices: dict[str, float] | None) -> int:
    """Finished questions that cost more than their budget, in any unit but seconds, which bound no work in flight.

    1 where all questions together have one, and cost more.
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
