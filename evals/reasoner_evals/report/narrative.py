"""What a report says in words: the verdict of a task, warnings, methods and limits."""

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
    TaskReport,
    estimate_of,
)
from reasoner_evals.runs.naming import is_greedy
from reasoner_evals.stats.intervals import DISCORDANT, minimum_detectable

OFTEN_CUT: Final = 0.05
"""The share of samples cut at `max_tokens` from which a report says so."""
ENOUGH: Final = 0.01
"""A recommended point has at most this much less accuracy than the best one,"""
ENOUGH_CHEAPER: Final = 0.9
"""and at most this share of its tokens."""
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
        capitalized(_advice(claim, point, baseline, rows)),
    )


def capitalized(sentence: str) -> str:
    """A sentence with a capital letter."""
    return sentence[:1].upper() + sentence[1:]


def _advice(claim: Claim, point: Any, baseline: Any, rows: Sequence[Any]) -> str:
    """What to use: after a gain the cheapest point as good as the best one, otherwise the baseline if it costs less."""
    if claim != "gain":
        cheaper = baseline.tokens < point.tokens
        return f"{baseline.label} costs less: {_bought(baseline)}." if cheaper else ""
    own = [
        row
        for row in rows
        if row.model == point.model and row.tokens <= ENOUGH_CHEAPER * point.tokens
    ]
    enough = [
        row for row in own if row.acc >= point.acc - ENOUGH and _is_sure_gain(row)
    ]
    if not enough:
        return f"Nothing cheaper comes within {100 * ENOUGH:.0f} point of {point.label}: {_bought(point)}."
    best = min(enough, key=lambda row: row.tokens)
    return f"{best.label} is enough: {_bought(best)}, {best.tokens / point.tokens:.0%} of the tokens of {point.label}."


def _is_sure_gain(row: Any) -> bool:
    return any(
        delta.sure and delta.difference.value > 0
        for name in _BASELINES
        if (delta := row.deltas.get(name))
    )


def _bought(row: Any) -> str:
    return f"{row.acc:.0%} right for {row.tokens:,.0f} tokens per question"


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


def cut_warnings(rows: Sequence[Any]) -> Iterator[str]:
    """How often samples were cut at `max_tokens`, in one line; it names the strategy with the most."""
    most = {
        row.series: row for row in sorted(rows, key=lambda row: row.samples_cut or 0.0)
    }
    often = [
        row for row in reversed(most.values()) if (row.samples_cut or 0.0) >= OFTEN_CUT
    ]
    if not often:
        return
    worst, *others = often
    thinking = (
        f" ({worst.samples_cut_thinking:.0%} while thinking)"
        if worst.samples_cut_thinking
        else ""
    )
    more = (
        f", and {others[-1].samples_cut:.0%} or more of {counted(len(others), 'other')}"
        if others
        else ""
    )
    share = f"{worst.samples_cut:.0%} of the samples of {worst.series}"
    yield f"{share}{thinking} were cut at max_tokens{more}: raise --max-tokens."


def readings(rows: Sequence[Any]) -> Iterator[str]:
    """How the replies of each strategy were read and what its probes cost, where there are any."""
    largest = {row.series: row for row in sorted(rows, key=lambda row: row.tokens)}
    for row in largest.values():
        if not (row.probe_tokens or row.probe_cached_tokens):
            continue
        shares = (
            row.replies_read_by_form,
            row.replies_read_by_probe,
            row.replies_without_answer,
        )
        form, probe, silent = (f"{share or 0.0:.0%}" for share in shares)
        prompts = row.probe_prompt_tokens + row.probe_cached_tokens
        yield (
            f"{row.label}: {form} of the replies are read by a form, {probe} by a probe, {silent} have no answer. "
            f"Probes cost {row.probe_tokens:,.0f} tokens per question, {row.probe_tokens / (row.tokens or 1):.1%} of "
            f"all; {row.probe_cached_tokens / (prompts or 1):.0%} of their prompts came from the cache."
        )


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


def limits(tasks: Sequence[TaskReport], runs: Sequence[Provenance]) -> Iterator[str]:
    """What the numbers do not show."""
    for task in tasks:
        yield from (f"{task.task}: {limit}" for limit in _task_limits(task))
    for run in runs:
        yield from _run_limits(run)
    yield "Estimates from a pool ignore scheduling and samples in flight; their seconds are in proportion to tokens."
    yield "The best of a table was chosen on the questions it is reported on; confirm it on others."
    yield "Reference answers are taken as they are, and models may have seen the questions in training."


def _task_limits(task: TaskReport) -> Iterator[str]:
    rows = task.rows
    if not rows:
        yield f"{NOTHING}."
        return
    n = min(row.questions for row in rows)
    yield (
        f"with {counted(n, 'question')}, two strategies that differ on {DISCORDANT:.0%} of them show a difference only "
        f"if they are {100 * minimum_detectable(n, DISCORDANT):.1f} points apart."
    )
    if not any("greedy" in row.deltas for row in rows) and len(rows) > 1:
        yield "no greedy sample to compare with; add the strategy single."
    once = {
        row.series
        for row in rows
        if not row.pooled and row.seeds == 1 and not is_greedy(row.strategy)
    }
    if once:
        yield f"run with one seed, so that sampling luck is not averaged out: {', '.join(sorted(once))}."
    if few := {row.series for row in rows if row.few_subsets}:
        yield (
            "above half of a pool, subsets share most of their samples and intervals are too narrow: the largest size "
            f"of {', '.join(sorted(few))}."
        )
    if any(row.grader_failed for row in rows):
        yield "the grader failed on some answers, which count as wrong; see the table."
    if any(row.flops is None for row in rows):
        yield "FLOPs are not known for every point, because the geometry of a model is not known."
    if len({row.model for row in rows}) > 1:
        yield "the models have different tokenizers; compare them by FLOPs, not by tokens."
    if not task.source.shareable:
        yield "its questions and answers are not shown."


def _run_limits(run: Provenance) -> Iterator[str]:
    for arm, state in run.arms:
        name = f"{run.run.name}, {run.names[arm.name]}"
        if state["errors"]:
            failed = counted(state["errors"], "question")
            yield f"{name}: {failed} ended in an error, in no accuracy; --resume tries again."
        if state["ungraded"]:
            ungraded = counted(state["ungraded"], "question")
            yield f"{name}: {ungraded} without a verdict, in no accuracy: run `reasoner runs grade`."
        if state["redrawn"]:
            yield f"{name}: {state['redrawn']:,} tokens of sequences that were cut and drawn again are in no cost."


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
            yield f"{listed}; continue with `reasoner eval --resume {shlex.quote(str(run.run.folder.path))}`"
