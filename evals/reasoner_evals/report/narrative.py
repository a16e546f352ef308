"""What a report says in words: the verdict of a task, what is unfinished, and methods."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from reasoner.system.printing import counted
from reasoner_evals.report.content import (
    Against,
    BoundedValue,
    Claim,
    Delta,
    Headline,
    Provenance,
    estimate_of,
)

_BASELINES: Final[tuple[Against, ...]] = ("greedy", "cheapest")
"""The baselines of a verdict: the first that the task has."""

NOTHING: Final = "no strategy has been run on all questions and graded"
SHOWN_ARMS: Final = 3
"""Unfinished arms of a run that are named."""
METHODS: Final = tuple(
    (Path(__file__).parent / "methods.txt").read_text(encoding="utf-8").splitlines()
)


def verdict(rows: Sequence[Any]) -> Headline:
    """What a task found, against one greedy sample or what else it has for a baseline.

    A gain or loss is claimed only if its interval excludes 0, its adjusted p-value is below 5 %, and it is as large as
    this many questions can show.
    """
    by_key = {row.key: row for row in rows}
    if not rows:
        return Headline("nothing", f"{capitalized(NOTHING)}.")
    against = next(
        (name for name in _BASELINES if any(name in row.deltas for row in rows)), None
    )
    family = _family(by_key, against) if against else []
    if not family:
        return _alone(max(rows, key=_rank))
    claim, point, delta = _claim(family)
    baseline = by_key[delta.baseline]
    first = baseline.label.removeprefix(f"{point.model}: ")
    ratio = point.tokens / (baseline.tokens or 1.0)
    times = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"
    paid = "as many tokens" if times == "1" else f"{times} times the tokens"
    return Headline(
        claim,
        capitalized(_sentence(claim, point, first, paid, family)),
        point.key,
        baseline.key,
    )


def capitalized(sentence: str) -> str:
    """A sentence with a capital letter."""
    return sentence[:1].upper() + sentence[1:]


def _alone(row: Any) -> Headline:
    value, low, high = estimate_of(row, "acc") or BoundedValue(0.0)
    fits = (
        ""
        if low is None or high is None
        else f" ({100 * low:.0f} to {100 * high:.0f} fit the data)"
    )
    sentence = (
        f"{row.label} gets {100 * value:.0f} of 100 questions right{fits}, for {row.tokens:,.0f} tokens per "
        "question; there is nothing to compare it with."
    )
    return Headline("alone", capitalized(sentence), row.key)


def _rank(row: Any) -> tuple[float, float]:
    """Points by accuracy; of two that are equally accurate, the cheaper ranks higher."""
    return row.acc, -row.tokens


def _family(rows: dict[str, Any], against: Against) -> list[tuple[Any, Delta]]:
    """The differences that the verdict is about: those of the model with the most accurate point, if it has several."""
    family = [
        (row, row.deltas[against]) for row in rows.values() if against in row.deltas
    ]
    best = max(
        (row for point, delta in family for row in (point, rows[delta.baseline])),
        key=_rank,
    )
    return [(row, delta) for row, delta in family if row.model == best.model]


def _claim(family: Sequence[tuple[Any, Delta]]) -> tuple[Claim, Any, Delta]:
    """What is claimed, and about which difference: the most accurate point that it is true of."""
    ranked = sorted(family, key=lambda pair: _rank(pair[0]), reverse=True)
    ahead = [
        pair
        for pair in ranked
        if pair[1].difference.value > 0 and pair[1].excludes_zero
    ]
    if gains := [pair for pair in ahead if pair[1].sure]:
        return "gain", *gains[0]
    if ahead:
        return "leaning", *ahead[0]
    behind = all(delta.difference.value < 0 and delta.sure for _, delta in family)
    return "loss" if behind else "unresolved", *ranked[0]


def _sentence(
    claim: Claim,
    point: Any,
    first: str,
    times: str,
    family: Sequence[tuple[Any, Delta]],
) -> str:
    [delta] = [delta for row, delta in family if row is point]
    asked = counted(delta.questions, "question")
    too_few = f"{asked} {'is' if delta.questions == 1 else 'are'} too few"
    value, low, high = delta.difference
    gets = f"gets {_of_100(value)} of 100 questions right"
    fits = (
        ""
        if low is None or high is None
        else f", and anything from {_of_100(low)} to {_of_100(high)} fits the data"
    )
    paid = f"{point.label} {gets} than {first}, for {times}"
    if claim == "gain" or (claim == "loss" and len(family) == 1):
        return f"{paid}."
    if claim == "leaning":
        return (
            f"{paid}, but{_compared(family)} that may be chance: {too_few} to be sure."
        )
    if claim == "loss":
        return f"Every other strategy is behind {first}: the best of them, {point.label}, {gets}."
    if len(family) == 1:
        return f"{too_few} to tell {point.label} from {first}: it {gets}{fits}."
    differs = any(other.excludes_zero for _, other in family)
    start = (
        f"No strategy is shown to beat {first} with"
        if differs
        else f"No strategy differs clearly from {first} on"
    )
    return f"{start} {asked}: the most accurate, {point.label}, {gets}{fits}."


def _compared(family: Sequence[tuple[Any, Delta]]) -> str:
    """What else a difference was chosen from; empty where it is the only one."""
    curves, count = len({row.series for row, _ in family}), len(family)
    if count == 1:
        return ""
    what = "strategies" if curves == count else "sizes and strategies"
    return f" with {count} {'sizes' if curves == 1 else what} compared"


def _of_100(difference: float) -> str:
    """A difference of shares as questions of 100, such as `12 more`."""
    amount = abs(100 * difference)
    number = f"{amount:.1f}".removesuffix(".0") if amount < 10 else f"{amount:.0f}"
    return (
        "no more"
        if number == "0"
        else f"{number} {'more' if difference > 0 else 'fewer'}"
    )


def signed(difference: float | None) -> str | None:
    """A difference of shares in points, with its sign; never a negative zero."""
    return None if difference is None else f"{100 * difference:+z.1f}".replace("-", "−")


def percent(share: BoundedValue) -> str:
    """A share with its interval, in percent."""
    bounds = (
        ""
        if share.low is None or share.high is None
        else f" ({share.low:.1%} to {share.high:.1%})"
    )
    return f"{share.value:.1%}{bounds}"


def signed_points(difference: BoundedValue) -> str:
    """A difference of shares with its interval, in percentage points."""
    value, low, high = difference
    bounds = (
        ""
        if low is None or high is None
        else f" ({100 * low:+z.1f} to {100 * high:+z.1f})"
    )
    return f"{100 * value:+z.1f} points{bounds}"


def unfinished(runs: Sequence[Provenance]) -> Iterator[str]:
    """The arms of each run that lack questions, and how to continue."""
    for run in runs:
        lacking = [
            f"{run.names[arm.name]} has {state['finished']:,} of {counted(state['asked'], 'question')}"
            for arm, state in run.arms
            if state["finished"] < state["asked"]
        ]
        if lacking:
            more = (
                [f"so do {counted(len(lacking) - SHOWN_ARMS, 'more arm')}"]
                if len(lacking) > SHOWN_ARMS
                else []
            )
            listed = ", ".join([*lacking[:SHOWN_ARMS], *more])
            folder = run.run.folder.path / ("SHARD" if run.run.parts[1:] else "")
            yield f"{listed}; continue with `reasoner eval --resume {shlex.quote(str(folder))}`"
