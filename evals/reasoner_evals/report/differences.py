"""Points set against each other, question by question: differences to baselines, and the Pareto frontier."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from reasoner.specs import Spec
from reasoner_evals.report.measures import Measured, greedy, mean
from reasoner_evals.report.points import Delta, FrontMember
from reasoner_evals.report.tables import estimate, known
from reasoner_evals.runs.arrays import Floats
from reasoner_evals.runs.reading import TaskItems
from reasoner_evals.stats.comparison import Comparison, compare, holm

Against = Literal["greedy", "self_consistency", "larger_model"]
LEVEL = 0.05
"""A p-value below this is called significant."""


def paired(items: TaskItems, one: Floats, other: Floats) -> Comparison:
    """One arm's values by question less another's."""
    groups = dict(zip(items.ids, items.groups, strict=True)) if any(items.groups) else None
    first, second = (dict(zip(items.ids, values.tolist(), strict=True)) for values in (one, other))
    return compare(first, second, groups=groups)


def is_greedy(one: Measured) -> bool:
    """Whether a point is one sample of temperature 0."""
    return greedy(one.subject.strategy)


def is_vote(one: Measured) -> bool:
    """Whether a point is plain self-consistency."""
    return Spec.parse(one.subject.strategy).name == "self_consistency"


@dataclass(frozen=True, slots=True)
class _Pair:
    """A point and the baseline that it is set against."""

    one: Measured
    baseline: Measured
    found: Comparison
    mixed: float = 0.0


def deltas(measured: Sequence[Measured], items: TaskItems) -> tuple[Delta, ...]:
    """The differences to greedy and to self-consistency at matched compute, within each model; then across models.

    The p-values of each baseline and model are one family, adjusted together (Holm 1979).
    """
    found: list[Delta] = []
    for model in _models(measured):
        own = [one for one in measured if one.subject.model == model]
        found += _family("greedy", [(one, _greedy(own), 0.0) for one in own if not is_greedy(one)], items)
        found += _family("self_consistency", [(one, *_vote_for(own, one)) for one in own if not is_vote(one)], items)
    return (*found, *_family("larger_model", [(one, large, 0.0) for one, large in _across(measured)], items))


def _greedy(own: Sequence[Measured]) -> Measured | None:
    return next((one for one in own if is_greedy(one)), None)


def _vote_for(own: Iterable[Measured], one: Measured) -> tuple[Measured | None, float]:
    """Self-consistency for as many tokens as `one`, and the share of questions that its next size answers.

    The largest size that costs no more alone would get fewer tokens: which of the two sizes around `one` answers a
    question is drawn by lot, so that the expected cost is the same. Beyond the largest size it is that one.
    """
    votes = sorted((vote for vote in own if is_vote(vote)), key=lambda vote: vote.tokens)
    below = [vote for vote in votes if vote.tokens <= one.tokens]
    if not below:
        return None, 0.0
    smaller = below[-1]
    larger = next((vote for vote in votes[len(below) :] if vote.subject.series == smaller.subject.series), None)
    if larger is None:
        return smaller, 0.0
    share = (one.tokens - smaller.tokens) / (larger.tokens - smaller.tokens)
    right = (1 - share) * smaller.values.right + share * larger.values.right
    return replace(smaller, values=replace(smaller.values, right=right)), share


def _across(measured: Sequence[Measured]) -> Iterable[tuple[Measured, Measured | None]]:
    """Of each curve of a smaller model the dearest point that costs no more FLOPs than a larger model's greedy one."""
    for model in _models(measured):
        large = _greedy([one for one in measured if one.subject.model == model])
        if large is None:
            continue
        limit = mean(large.values.flops)
        smaller = [one for one in measured if _parameters(one) < _parameters(large)]
        for series in dict.fromkeys(one.subject.series for one in smaller):
            fitting = [one for one in smaller if one.subject.series == series and mean(one.values.flops) <= limit]
            if fitting:
                yield max(fitting, key=lambda one: mean(one.values.flops)), large


def _models(measured: Sequence[Measured]) -> list[str]:
    return list(dict.fromkeys(one.subject.model for one in measured))


def _parameters(one: Measured) -> int:
    return one.arms[0].run.manifest.model.parameters


def _family(
    against: Against, pairs: Sequence[tuple[Measured, Measured | None, float]], items: TaskItems
) -> list[Delta]:
    kept = [
        _Pair(one, baseline, paired(items, one.values.right, baseline.values.right), mixed)
        for one, baseline, mixed in pairs
        if baseline is not None and _comparable(one, baseline)
    ]
    adjusted = holm([pair.found.p_value for pair in kept])
    return [_delta(against, pair, p, len(kept)) for pair, p in zip(kept, adjusted, strict=True)]


def _comparable(one: Measured, baseline: Measured) -> bool:
    """Whether any question has a value in both."""
    return bool(np.any(~np.isnan(one.values.right - baseline.values.right)))


def _delta(against: Against, pair: _Pair, p_holm: float, family: int) -> Delta:
    found = pair.found
    harmed = pair.baseline.values.right * (1 - pair.one.values.right)
    return Delta(
        key=pair.one.subject.key,
        baseline=pair.baseline.subject.key,
        against=against,
        questions=found.difference.n,
        difference=estimate(found.difference),
        p=found.p_value,
        p_holm=p_holm,
        family=family,
        test=found.test,
        better=found.better,
        worse=found.worse,
        detectable=known(found.detectable),
        resolvable=found.resolvable,
        backfired=mean(harmed),
        mixed=pair.mixed,
    )


def front(
    measured: Sequence[Measured], items: TaskItems, *, cost: Callable[[Measured], float] = lambda one: one.tokens
) -> tuple[FrontMember, ...]:
    """Each point's standing to the Pareto frontier of cost and accuracy, by point estimates; cheapest first.

    Those behind are a family of comparisons, adjusted together (Holm 1979).
    """
    there = [one for one in measured if not np.isnan(cost(one)) and not np.isnan(mean(one.values.right))]
    ranked = sorted(there, key=lambda one: (cost(one), -mean(one.values.right)))
    best: Measured | None = None
    rows: list[tuple[Measured, bool, Comparison | None]] = []
    for one in ranked:
        ahead = best is None or mean(one.values.right) > mean(best.values.right)
        best = one if ahead or best is None else best
        behind = not ahead and _comparable(one, best)
        rows.append((one, ahead, paired(items, one.values.right, best.values.right) if behind else None))
    adjusted = iter(holm([found.p_value for _, _, found in rows if found]))
    return tuple(_member(one, ahead, found, next(adjusted) if found else 1.0) for one, ahead, found in rows)


def _member(one: Measured, ahead: bool, found: Comparison | None, p: float) -> FrontMember:
    below = found is not None and found.difference.mean < 0 and p < LEVEL
    return FrontMember(one.subject.key, ahead, estimate(found.difference) if found else None, below)
