"""What was measured, question by question: each strategy at each size or budget, as arrays of a value per question."""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reasoner import Cost, Prices
from reasoner.errors import UsageError
from reasoner.models.info import ModelInfo
from reasoner.specs import Spec
from reasoner_evals.runs.naming import ArmName, arm_names, is_greedy
from reasoner_evals.runs.reading import (
    ERROR,
    OUTCOMES,
    RIGHT,
    SILENT,
    UNGRADED,
    ArmData,
    RaggedSlices,
    ReplyArrays,
    RunData,
    TaskItems,
)
from reasoner_evals.runs.records import Arm
from reasoner_evals.stats import Bools, Floats, Ints, mean_of
from reasoner_evals.stats.estimators import best_of_k, coverage_at_k, votes_at_k

ALLOCATED: Final = ", allocated"
"""The end of the name of a series with points that divide one budget among all questions."""
GRADER_FAILED: Final = tuple(
    OUTCOMES.index(status)
    for status in ("too_complex", "grader_timeout", "grader_crash")
)
FIELDS: Final = ("prompt", "cached", "generated", "verifier", "cancelled")
SUMMED: Final = (*FIELDS, "thinking", "probe", "probe_prompt", "probe_cached")
"""The fields, and parts of them: thinking, of the generated and cancelled tokens; what probes computed, their prompts,
and their cached tokens."""
TOKENS: Final = (*SUMMED, "sequential")
"""Also the sequential tokens; those of samples side by side do not add up."""
COMPUTED: Final = ("prompt", "generated", "verifier", "cancelled")
"""The fields that count as tokens; cached prompt tokens are not computed."""


@dataclass(frozen=True, slots=True)
class PoolArrays:
    """Q questions with up to N replies each, as [Q, N]; nan in `right` where no reply counts.

    No reply counts for questions that ended in an error or have a reply without a verdict.
    """

    right: Floats
    answers: Ints
    scores: Floats
    truncated: NDArray[np.bool_]


def sizes_of(pool: int) -> tuple[int, ...]:
    """The sizes at which a pool is reported: powers of two, and the whole pool."""
    return (
        *(1 << power for power in range(pool.bit_length()) if 1 << power < pool),
        pool,
    )


def pool_of(data: ArmData) -> PoolArrays:
    """The pool of an arm that has one."""
    replies, width = data.replies, data.arm.pool
    right = spread(replies, np.where(replies.outcome == RIGHT, 1.0, 0.0), np.nan, width)
    right[
        (data.outcome == ERROR)
        | (replies.per_question(replies.outcome == UNGRADED) > 0)
    ] = np.nan
    return PoolArrays(
        right,
        spread(replies, replies.classes, SILENT, width).astype(np.int64),
        spread(replies, replies.score, np.nan, width),
        spread(
            replies, replies.outcome == OUTCOMES.index("truncated"), 0, width
        ).astype(bool),
    )


def spread(
    replies: ReplyArrays, values: NDArray[np.generic], empty: float, width: int
) -> Floats:
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
    costs = {
        name: np.where(charged, data.costs[name].astype(np.float64), np.nan)
        for name in TOKENS
    }
    return costs | {
        name: np.where(charged, getattr(data, name), np.nan)
        for name in ("flops", "seconds")
    }


def usd(prices: dict[str, float] | None, costs: dict[str, Floats]) -> Floats:
    """[...]: the price of each cost in US dollars, by `reasoner.budget.Prices`; nan without prices."""
    if prices is None:
        return np.full_like(costs["prompt"], np.nan)
    table = Prices(**prices)
    # A price is linear in the tokens of each field, so the price of a million gives the price of one.
    unit = {name: table.usd(Cost(**{f"{name}_tokens": 10**6})) / 1e6 for name in FIELDS}
    return sum(
        (costs[name] * unit[name] for name in FIELDS),
        start=np.zeros_like(costs["prompt"]),
    )


def expected_costs(
    info: ModelInfo, data: ArmData, whole_cost: Mapping[str, Floats], ks: Sequence[int]
) -> dict[str, Floats]:
    """What k samples of each pool cost on average, by field, as [Q, K]; nan for questions with fewer.

    The prompt once, as the first reply computed it, k - 1 times the average prompt tokens of the other replies, and k/N
    of everything else; at k = N this is the recorded cost. Seconds are in proportion to the tokens computed. Sequential
    tokens are those of the longest of the k replies, and what followed the longest of all.
    """
    replies, width = data.replies, data.arm.pool
    sizes, drawn = (
        np.asarray(ks, dtype=np.float64),
        replies.rows.length.astype(np.float64),
    )
    prompt = spread(replies, replies.prompt, np.nan, width)
    cached = spread(replies, replies.cached, np.nan, width)
    # The reply that computed most of the prompt is the one that came first.
    first = np.argmax(np.nan_to_num(prompt, nan=-1.0), axis=1)
    enough = drawn[:, None] >= sizes
    shares = {
        "prompt": prompt,
        "cached": cached,
        "flops": _prompt_flops(info, prompt, cached),
    }
    costs = {}
    for name in (*SUMMED, "flops"):
        part = shares.get(name, np.zeros_like(prompt))
        once = np.take_along_axis(part, first[:, None], axis=1)[:, 0]
        whole = np.nansum(part, axis=1)
        again = np.where(drawn > 1, (whole - once) / np.maximum(drawn - 1, 1), 0.0)
        rest = (whole_cost[name] - whole) / np.maximum(drawn, 1)
        total = once[:, None] + again[:, None] * (sizes - 1) + rest[:, None] * sizes
        costs[name] = np.where(enough, total, np.nan)
    tokens, all_tokens = (
        np.sum([costs_of[name] for name in COMPUTED], axis=0)
        for costs_of in (costs, whole_cost)
    )
    costs["seconds"] = (
        tokens / np.maximum(all_tokens, 1)[:, None] * whole_cost["seconds"][:, None]
    )
    lengths = spread(replies, replies.generated, np.nan, width)
    longest = np.nan_to_num(lengths).max(axis=1)
    scale = np.maximum(longest, 1)[:, None]
    mean_longest = best_of_k(lengths / scale, lengths, ks) * scale
    costs["sequential"] = mean_longest + (whole_cost["sequential"] - longest)[:, None]
    return costs


def _prompt_flops(info: ModelInfo, prompt: Floats, cached: Floats) -> Floats:
    """[Q, N]: the FLOPs of computing each reply's prompt; 0 without a geometry, when all FLOPs are per sample."""
    if info.flops(prompt=1, cached=0, generated=0) is None:
        return np.zeros_like(prompt)
    pairs, index = np.unique(
        np.stack([prompt + cached, cached], axis=-1).reshape(-1, 2),
        axis=0,
        return_inverse=True,
    )
    flops = [
        0.0
        if np.isnan(c)
        else float(info.flops(prompt=int(c), cached=int(c0), generated=0) or 0)
        for c, c0 in pairs
    ]
    table: Floats = np.asarray(flops)[index.ravel()].reshape(prompt.shape)
    return table


class ArmReading(NamedTuple):
    """An arm's arrays and the run they belong to."""

    run: RunData
    data: ArmData

    @property
    def name(self) -> str:
        """Its name in a report, `RUN:ARM`."""
        return f"{self.run.name}:{self.data.arm.name}"


def joined(parts: Sequence[ArmReading]) -> ArmReading:
    """One arm of runs that ask different questions of its task, as if one run had asked all of them."""
    (run, data), arms = parts[0], [part.data for part in parts]
    asked = [part.run.tasks[data.arm.task] for part in parts]
    items = TaskItems(
        asked[0].source,
        *(
            tuple(each for items in asked for each in getattr(items, name))
            for name in ("ids", "groups", "subtasks", "digests")
        ),
    )
    replies = [arm.replies for arm in arms]
    before = np.cumsum([0, *(len(each.classes) for each in replies)])
    rows = RaggedSlices(
        np.concatenate(
            [each.rows.start + at for at, each in zip(before, replies, strict=False)]
        ),
        np.concatenate([each.rows.length for each in replies]),
    )
    return ArmReading(
        replace(run, tasks={data.arm.task: items}),
        replace(
            data,
            costs={
                name: np.concatenate([arm.costs[name] for arm in arms])
                for name in data.costs
            },
            replies=ReplyArrays(rows, **_concatenated(replies, "rows")),
            **_concatenated(arms, "arm", "costs", "replies"),
        ),
    )


def _concatenated(
    parts: Sequence[ArmData] | Sequence[ReplyArrays], *but: str
) -> dict[str, Any]:
    return {
        each.name: np.concatenate([getattr(part, each.name) for part in parts])
        for each in fields(parts[0])
        if each.name not in but
    }


Values = dict[str, Floats]
"""Every array is [Q]; nan where a question has no value. Of several seeds, the mean over those with a value.

`right`; `covered`; shares `no_answer`, `truncated`, `timed_out`, `grader_failed`; the shares of replies that
were read by a form or by a probe, and that have no answer or were truncated; the shares of samples cut at `max_tokens`,
`samples_cut`, and while thinking, `samples_cut_thinking`; the tokens of `TOKENS`, and `tokens`, all computed ones;
`flops`, `seconds`, `usd`."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One strategy at one size or budget, question by question; the report's table has a row for it."""

    key: str
    """Unique in the report, such as `model|arithmetic|self_consistency|n=8`."""
    series: str
    """The curve it belongs to, such as `vote`; a series has one colour in every figure."""
    label: str
    """For people, such as `vote of 8`."""
    size: int | None
    """Samples per question, if it is estimated from subsets of one pool; None if it was run as it is."""
    values: Values
    arms: tuple[ArmReading, ...]
    """One per seed."""

    @property
    def arm(self) -> Arm:
        """The arm of the first seed."""
        return self.arms[0].data.arm

    @property
    def model(self) -> str:
        """The name of the model."""
        return self.arms[0].run.manifest.model.name

    @property
    def pooled(self) -> bool:
        """Whether it is estimated from a pool."""
        return self.size is not None

    @property
    def tokens(self) -> float:
        """Computed tokens per question."""
        return mean_of(self.values["tokens"])

    @property
    def questions(self) -> int:
        """The questions that have a value."""
        return int((~np.isnan(self.values["right"])).sum())

    @property
    def is_greedy(self) -> bool:
        """Whether it is one sample of temperature 0."""
        return is_greedy(
            self.arm.strategy,
            thinks=self.arms[0].run.manifest.model.thinking is not None,
        )


def ungraded_rows(data: ArmData) -> Bools:
    """[Q]: whether a question's value is unknown because a verdict is missing."""
    missing = data.outcome == UNGRADED
    if data.arm.pool:
        missing = missing | _any_reply(data, UNGRADED)
    rows: Bools = missing & (data.outcome != ERROR)
    return rows


def _any_reply(data: ArmData, code: int) -> Bools:
    return data.replies.per_question(data.replies.outcome == code) > 0


def as_run(arm: ArmReading) -> Values:
    """The values of an arm as it was run; of a pool, at its whole size."""
    data = arm.data
    costs = spent(data)
    known = ~np.isnan(costs["prompt"])
    outcome, drawn = data.outcome, data.replies.rows.length

    def share(hit: Bools) -> Floats:
        return np.where(known, hit.astype(np.float64), np.nan)

    judged = known & ~_any_reply(data, UNGRADED) & ((drawn > 0) | (outcome != RIGHT))
    several = judged & bool((drawn > 1).any())
    right = np.where(ungraded_rows(data), np.nan, share(outcome == RIGHT))
    cut = _cut_rates(data, known)
    return {
        "right": right,
        "covered": np.where(several, share(_any_reply(data, RIGHT)), np.nan),
        **{
            name: share(outcome == OUTCOMES.index(name))
            for name in ("no_answer", "truncated", "timed_out")
        },
        "grader_failed": share(np.isin(outcome, GRADER_FAILED)),
        **_reply_rates(data, known),
        # Only a pool keeps its truncated replies.
        **({} if data.arm.pool else {"replies_truncated": cut["samples_cut"]}),
        **cut,
        **_with_totals(arm, costs),
    }


def _with_totals(arm: ArmReading, costs: Values) -> Values:
    """Costs with their sum in tokens and their price."""
    tokens: Floats = np.sum([costs[name] for name in COMPUTED], axis=0)
    return costs | {"tokens": tokens, "usd": usd(arm.run.manifest.prices, costs)}


def _reply_rates(data: ArmData, known: Bools) -> Values:
    """[Q]: the shares of a question's replies that were read by a form or by a probe, have no answer, were cut."""
    replies = data.replies
    hits = {
        "replies_read_by_form": replies.stated == 1,
        "replies_read_by_probe": (replies.classes != SILENT) & (replies.stated == 0),
        "replies_without_answer": replies.outcome == OUTCOMES.index("no_answer"),
        "replies_truncated": replies.outcome == OUTCOMES.index("truncated"),
    }
    return {name: _share_of_replies(data, known, hit) for name, hit in hits.items()}


def _share_of_replies(data: ArmData, known: Bools, hit: Bools) -> Floats:
    length = data.replies.rows.length
    return np.where(
        known & (length > 0),
        data.replies.per_question(hit) / np.maximum(length, 1),
        np.nan,
    )


def _cut_rates(data: ArmData, known: Bools) -> Values:
    """[Q]: the shares of a question's samples that were cut at `max_tokens`, and that were cut while thinking."""
    drawn, cut, thinking = (
        data.costs[name] for name in ("drawn", "cut", "cut_thinking")
    )
    known = known & (drawn > 0)
    shares = {"samples_cut": cut, "samples_cut_thinking": thinking}
    return {
        name: np.where(known, count / np.maximum(drawn, 1), np.nan)
        for name, count in shares.items()
    }


def pooled(arm: ArmReading, ks: Sequence[int]) -> list[Values]:
    """The values of a pool at each size, in expectation over which of its samples are drawn.

    The whole pool is what was run, so its answers are right or wrong as they were given, ties included.
    """
    data, pool = arm.data, pool_of(arm.data)
    usable: Bools = ~np.all(np.isnan(pool.right), axis=1)
    right = selected(data.arm.rule, pool, ks)
    ran = (np.asarray(ks) == data.arm.pool) & ~np.isnan(right)
    right = np.where(ran, as_run(arm)["right"][:, None], right)
    # A subset without an answer is the complement of coverage, of any answer instead of a right one.
    answered, whole = (
        coverage_at_k(
            np.where(np.isnan(pool.right), np.nan, hit.astype(np.float64)), ks
        )
        for hit in (pool.answers >= 0, ~pool.truncated)
    )
    by_size = {
        "right": np.clip(right, 0.0, 1.0),
        "covered": coverage_at_k(pool.right, ks),
        "no_answer": np.clip(whole - answered, 0.0, 1.0),
        "truncated": 1 - whole,
        **_with_totals(
            arm, expected_costs(arm.run.manifest.model, data, spent(data), ks)
        ),
    }
    fixed = {
        "timed_out": np.where(
            usable,
            (data.outcome == OUTCOMES.index("timed_out")).astype(np.float64),
            np.nan,
        ),
        "grader_failed": _share_of_replies(
            data, usable, np.isin(data.replies.outcome, GRADER_FAILED)
        ),
        **_reply_rates(data, usable),
        **_cut_rates(data, usable),
    }
    return [
        {name: table[:, index] for name, table in by_size.items()} | fixed
        for index in range(len(ks))
    ]


def selected(rule: str, pool: PoolArrays, ks: Sequence[int]) -> Floats:
    """[Q, K]: how often the pool's rule selects a right answer."""
    if rule == "best":
        return best_of_k(pool.right, pool.scores, ks)
    return votes_at_k(
        pool.right, pool.answers, ks, pool.scores if rule == "weighted" else None
    )


def measure(
    arms: Sequence[ArmReading], *, several_models: bool
) -> Iterator[Measurement]:
    """The points of one task in the order of the arms: seeds of one strategy are one point, a pool is one per size.

    Raises:
        UsageError: two runs hold the same arm with the same seed, or different models have the same name.
    """
    strategies: dict[tuple[str, ...], list[ArmReading]] = {}
    for arm in arms:
        spec = arm.data.arm
        key = (
            arm.run.manifest.model.name,
            spec.strategy,
            spec.verifier,
            spec.limit,
            spec.rule,
            str(spec.pool),
        )
        _check_distinct(strategies.setdefault(key, []), arm)
        strategies[key].append(arm)
    firsts = [seeds[0] for seeds in strategies.values()]
    names = arm_names(
        (
            arm.data.arm.strategy,
            arm.data.arm.verifier,
            arm.run.manifest.model.thinking is not None,
        )
        for arm in firsts
    )
    # Pools of one strategy that differ only in their size would give their points the same names.
    pools = Counter(_line(arm) for arm in firsts if arm.data.arm.pool)
    for seeds in strategies.values():
        own = seeds[0].data.arm
        suffix = f", from {own.pool}" if pools[_line(seeds[0])] > 1 and own.pool else ""
        yield from _points(
            tuple(seeds), names[own.strategy, own.verifier], several_models, suffix
        )


def _check_distinct(others: Sequence[ArmReading], arm: ArmReading) -> None:
    """Refuse arms that would be averaged as two seeds but are not."""
    for other in others:
        if other.data.arm.seed == arm.data.arm.seed:
            raise UsageError(
                f"{other.name} and {arm.name} are the same strategy with the same seed: report runs together that "
                "differ in model, strategy, budget or seed, and compare these with `reasoner compare`"
            )
        if other.run.manifest.model != arm.run.manifest.model:
            raise UsageError(
                f"{other.run.name} and {arm.run.name} used different models that are both called "
                f"{arm.run.manifest.model.name}: report them separately"
            )


def _line(arm: ArmReading) -> tuple[str, str]:
    """A model and the name of a strategy's curve: its spec without the number of samples, and its verifier."""
    own = arm.data.arm
    line = f"{Spec.parse(own.strategy).without('n')}{f' with {own.verifier}' if own.verifier else ''}"
    return arm.run.manifest.model.name, line


def _points(
    seeds: tuple[ArmReading, ...], name: ArmName, several_models: bool, of_pool: str
) -> Iterator[Measurement]:
    arm = seeds[0].data.arm
    model, line = _line(seeds[0])
    prefix = f"{model}: " if several_models else ""
    limit = f", {arm.limit}" if arm.limit else ""
    sizes: Sequence[int | None] = sizes_of(arm.pool) if arm.pool else (None,)
    by_seed = [
        pooled(seed, sizes_of(arm.pool)) if arm.pool else [as_run(seed)]
        for seed in seeds
    ]
    for size, of_seeds in zip(sizes, zip(*by_seed, strict=True), strict=True):
        point = arm.label if size is None else f"{line}, n={size}{of_pool}{limit}"
        yield Measurement(
            key=f"{model}|{arm.task}|{point}",
            series=prefix + name.series + of_pool + (ALLOCATED if arm.total else ""),
            label=prefix + name.at(size) + ("" if size is None else of_pool) + limit,
            size=size,
            values=_averaged(of_seeds),
            arms=seeds,
        )


def _averaged(seeds: Sequence[Values]) -> Values:
    if len(seeds) == 1:
        return seeds[0]
    stacked = {name: np.stack([values[name] for values in seeds]) for name in seeds[0]}
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # questions for which no seed has a value
        means = {name: np.nanmean(table, axis=0) for name, table in stacked.items()}
    # A value that one seed does not know is not known of the mean either.
    means["flops"][np.isnan(stacked["flops"]).any(axis=0)] = np.nan
    return means
