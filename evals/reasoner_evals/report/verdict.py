"""The result of a task in one sentence and three numbers; the sentence claims no more than its table shows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from reasoner.specs import Spec
from reasoner_evals.report.content import Against, Claim, Delta, Estimate, Number, Verdict, estimate_of
from reasoner_evals.report.data.comparisons import LEVEL

if TYPE_CHECKING:
    import pandas as pd

_FAMILIES: Final[tuple[Against, ...]] = ("larger_model", "greedy", "cheapest")
"""The baselines of a verdict: the first that the task has."""


def verdict(points: "pd.DataFrame", deltas: Sequence[Delta]) -> Verdict:
    """What a task found, against one greedy sample or what else it has for a baseline.

    A gain or loss is claimed only if its interval excludes 0, its adjusted p-value is below 5 %, and it is as large as
    so many questions can show.
    """
    rows = {row.key: row for row in points.itertuples()}
    if not rows:
        return Verdict("nothing", "No question has been finished and graded yet.")
    family = _family(rows, deltas)
    if not family:
        best = max(rows.values(), key=_rank)
        return Verdict("alone", _alone(best), best.key, "", (_accuracy(best), *_spent(best)))
    claim, delta = _claim(rows, family)
    point, baseline = rows[delta.key], rows[delta.baseline]
    numbers = (_accuracy(point), _difference(delta, point, baseline), _price(point, baseline, delta))
    return Verdict(claim, _sentence(claim, point, baseline, delta, family), point.key, baseline.key, numbers)


def _rank(row: Any) -> tuple[float, float]:
    """Points by accuracy; of two that are equally accurate, the cheaper ranks higher."""
    return row.accuracy, -row.tokens


def _family(rows: dict[str, Any], deltas: Sequence[Delta]) -> list[Delta]:
    """The differences that the verdict is about: those of the model with the most accurate point, if it has several."""
    known = [delta for delta in deltas if {delta.key, delta.baseline} <= rows.keys()]
    against = next((name for name in _FAMILIES if any(delta.against == name for delta in known)), None)
    family = [delta for delta in known if delta.against == against]
    if against == "larger_model" or not family:
        return family
    best = max((rows[key] for delta in family for key in (delta.key, delta.baseline)), key=_rank)
    return [delta for delta in family if rows[delta.key].model == best.model]


def is_sure(delta: Delta) -> bool:
    """Whether a difference is significant, excludes 0, and is as large as its questions can show."""
    return excludes_zero(delta.difference) and delta.p_holm < LEVEL and delta.resolvable


def excludes_zero(difference: Estimate) -> bool:
    """Whether an interval is known and on one side of 0."""
    return difference.low is not None and difference.high is not None and (difference.low > 0 or difference.high < 0)


def _claim(rows: dict[str, Any], family: Sequence[Delta]) -> tuple[Claim, Delta]:
    """What is claimed, and about which difference: the most accurate point that it is true of."""

    def best(deltas: Sequence[Delta]) -> Delta:
        return max(deltas, key=lambda delta: _rank(rows[delta.key]))

    ahead = [delta for delta in family if delta.difference.value > 0 and excludes_zero(delta.difference)]
    if gains := [delta for delta in ahead if is_sure(delta)]:
        return "gain", best(gains)
    if ahead:
        return "leaning", best(ahead)
    behind = all(delta.difference.value < 0 and is_sure(delta) for delta in family)
    return "loss" if behind else "unresolved", best(family)


def _sentence(claim: Claim, point: Any, baseline: Any, delta: Delta, family: Sequence[Delta]) -> str:
    name, first, asked = _start(point), _reference(point, baseline), f"{delta.questions:,} questions"
    gets = f"gets {_of_100(delta.difference.value)} of 100 questions right"
    paid = f"{name} {gets} than {first}, for {_times(point, baseline, delta)}"
    smaller = delta.against == "larger_model"
    low, high = delta.difference.low, delta.difference.high
    fits = "" if low is None or high is None else f", and anything from {_of_100(low)} to {_of_100(high)} fits the data"
    if claim == "gain" or (claim == "loss" and len(family) == 1):
        return f"{paid}."
    if claim == "leaning":
        return f"{paid}, but that may be chance: {asked} are too few to be sure."
    if claim == "loss":
        others = "smaller model" if smaller else "other strategy"
        return f"Every {others} is behind {first}: the best of them, {point.words}, {gets}."
    if len(family) == 1:
        return f"{name} cannot be told from {first} with {asked}: it {gets}{fits}."
    differs = any(excludes_zero(other.difference) for other in family)
    start = f"No {'smaller model' if smaller else 'strategy'} {'is shown to beat' if differs else 'can be told from'}"
    return f"{start} {first} with {asked}: the most accurate, {point.words}, {gets}{fits}."


def _start(row: Any) -> str:
    """A point as the first words of a sentence; the names of models and strategies are left as they are."""
    name: str = row.words
    given = name.startswith((f"{row.model}: ", Spec.parse(row.strategy).name))
    return name if given else name[:1].upper() + name[1:]


def _reference(point: Any, baseline: Any) -> str:
    """The name of a baseline beside that of a point, of the same model if none is named."""
    name: str = baseline.words
    return name.removeprefix(f"{point.model}: ")


def _of_100(difference: float) -> str:
    """A difference of shares as questions of 100, such as `12 more`."""
    amount = abs(100 * difference)
    number = f"{amount:.1f}".removesuffix(".0") if amount < 10 else f"{amount:.0f}"
    return "no more" if number == "0" else f"{number} {'more' if difference > 0 else 'fewer'}"


def _ratio(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _costs(point: Any, baseline: Any, delta: Delta) -> tuple[str, float, float]:
    if delta.against == "larger_model" and point.flops and baseline.flops:
        return "FLOPs", point.flops, baseline.flops
    return "tokens", point.tokens, baseline.tokens


def _times(point: Any, baseline: Any, delta: Delta) -> str:
    unit, cost, first = _costs(point, baseline, delta)
    ratio = _ratio(cost / first) if first else "?"
    return f"as many {unit}" if ratio == "1" else f"{ratio} times the {unit}"


def _alone(row: Any) -> str:
    accuracy = row.accuracy, row.accuracy_low, row.accuracy_high
    value, low, high = (None if share is None else f"{100 * share:.0f}" for share in accuracy)
    fits = "" if low is None or high is None else f" ({low} to {high} fit the data)"
    return (
        f"{_start(row)} gets {value} of 100 questions right{fits}, for {row.tokens:,.0f} tokens per question; "
        "there is nothing to compare it with."
    )


def _accuracy(row: Any) -> Number:
    return Number(f"{100 * row.accuracy:.1f} %", f"right: {row.words}", _between(estimate_of(row, "accuracy")))


def _between(share: Estimate | None) -> str:
    if share is None or share.low is None or share.high is None:
        return ""
    return f"95 % interval {100 * share.low:.1f} to {100 * share.high:.1f}"


def _difference(delta: Delta, point: Any, baseline: Any) -> Number:
    value, low, high = (None if part is None else f"{100 * part:+.1f}".replace("-", "−") for part in delta.difference)
    interval = "" if low is None or high is None else f"95 % interval {low} to {high}"
    return Number(f"{value}", f"points against {_reference(point, baseline)}", interval)


def _price(point: Any, baseline: Any, delta: Delta) -> Number:
    unit, cost, first = _costs(point, baseline, delta)
    scale = f"{cost:.2g} against {first:.2g} per question" if unit == "FLOPs" else (
        f"{cost:,.0f} against {first:,.0f} per question")  # fmt: skip
    return Number(f"{_ratio(cost / first) if first else '?'} ×", f"the {unit}", scale)


def _spent(row: Any) -> tuple[Number, Number]:
    tokens = Number(
        f"{row.tokens:,.0f}", "tokens per question", f"95 of 100 questions need at most {row.tokens_p95:,.0f}"
    )
    return tokens, Number(f"{row.questions:,}", "questions", "")
