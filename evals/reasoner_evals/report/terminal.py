"""Results as lines of text: of a task a table, or where a terminal is narrow two lines for each strategy."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from reasoner.cli.terminal import wrapped
from reasoner.system.printing import counted, one_line
from reasoner_evals.report.comparisons import PairedResult
from reasoner_evals.report.content import BoundedValue, Delta, TaskReport, estimate_of
from reasoner_evals.report.narrative import percent, signed, signed_points

_HEADS: Final = ("right, %", "95 %", "tokens", "sequential")


def result_lines(task: TaskReport, width: int) -> Iterator[str]:
    """The heading, each strategy at its largest size, the most accurate first, and the verdict."""
    compared = task.compact
    baselines = {delta.baseline for _, delta in compared if delta}
    against = (
        task.by_key[next(iter(baselines))].label
        if len(baselines) == 1
        else "one sample"
    )
    heading = [f"{task.task}: {counted(task.questions, 'question')}"]
    heading += [f"all with {task.shared}"] if task.shared else []
    heading += [f"difference to {against}"] if baselines else []
    yield from _wrapped("; ".join(heading), width)
    heads = (*_HEADS, "difference, points") if baselines else _HEADS
    rows = [
        (one_line(row.label), _cells(row, delta)[: len(heads)])
        for row, delta in compared
    ]
    # Columns below which the numbers of a strategy stand below its name
    if width < 72:
        for name, cells in rows:
            yield from _wrapped(name, width, 2)
            right, bounds, tokens, sequential, *difference = cells
            points = [f"{value} points" for value in difference if value != "-"]
            parts = [
                f"{right} % ({bounds})",
                f"{tokens} tokens",
                f"{sequential} sequential",
                *points,
            ]
            yield from _wrapped(", ".join(parts), width, 4)
    elif rows:
        yield from _table(rows, heads, width)
    yield from _wrapped(task.verdict.sentence, width)


def compared_rows(result: PairedResult) -> Iterator[tuple[str, str]]:
    """What a comparison of two arms shows, with a label each."""
    delta = result.delta
    holm = (
        f", {delta.p_holm:.3g} after Holm's adjustment over {delta.family}"
        if delta.family > 1
        else ""
    )
    yield (
        "  A",
        f"{result.first}, {result.first_model}: {percent(result.first_acc)}",
    )
    yield (
        "  B",
        f"{delta.baseline}, {result.second_model}: {percent(result.second_acc)}",
    )
    yield "  A - B", signed_points(delta.difference)
    yield "  p", f"{delta.p:.3g} ({delta.test}){holm}"
    yield "  better", f"A on {counted(delta.better, 'question')}, B on {delta.worse:,}"
    if delta.detectable:
        verdict = (
            "the difference is at least that"
            if delta.resolvable
            else "the difference is smaller"
        )
        yield "  detectable", f"{100 * delta.detectable:.1f} points: {verdict}"
    if result.cost_ratio is not None:
        yield "  tokens", f"A costs {_times(result.cost_ratio)}as much as B"
    if result.sequential_ratio is not None:
        times = _times(result.sequential_ratio)
        yield "  latency", f"A takes {times}as many sequential tokens as B"


def _times(ratio: float) -> str:
    """How many times; empty where both are equal."""
    return "" if f"{ratio:.3g}" == "1" else f"{ratio:.3g} times "


def _table(
    rows: Sequence[tuple[str, Sequence[str]]], heads: Sequence[str], width: int
) -> Iterator[str]:
    widths = [
        max(map(len, column))
        for column in zip(heads, *(cells for _, cells in rows), strict=True)
    ]
    room = max(width - sum(widths) - 2 * len(widths), 14)
    first = min(room, max(len(name) for name, _ in rows))
    yield _joined("", first, heads, widths)
    for name, cells in rows:
        *before, last = wrapped(name, 1, "", first + 1).split("\n")
        yield from (line.strip() for line in before)
        yield _joined(last.strip(), first, cells, widths)


def _joined(name: str, first: int, cells: Sequence[str], widths: Sequence[int]) -> str:
    parts = [
        name.ljust(first),
        *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)),
    ]
    return "  ".join(parts).rstrip()


def _cells(row: Any, delta: Delta | None) -> tuple[str, ...]:
    right = estimate_of(row, "acc") or BoundedValue(0.0)
    bounds = (
        "-"
        if right.low is None or right.high is None
        else f"{100 * right.low:.0f}-{100 * right.high:.0f}"
    )
    sequential = (
        "-" if row.sequential_tokens is None else f"{row.sequential_tokens:,.0f}"
    )
    return (
        f"{100 * right.value:.1f}",
        bounds,
        f"{row.tokens:,.0f}",
        sequential,
        _difference(delta),
    )


def _difference(delta: Delta | None) -> str:
    if delta is None:
        return "-"
    value, low, high = map(signed, delta.difference)
    return f"{value} ({low} to {high})" if low and high else str(value)


def _wrapped(text: str, width: int, indent: int = 0) -> list[str]:
    return wrapped(text, indent, "", width).split("\n")
